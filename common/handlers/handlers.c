#include "common/handlers/handlers.h"

/* What demonstrations need, and nobody else should have. */
static void register_demonstrations(struct router *router, struct handler_environment *environment)
{
    fault_register(router, environment);
    scribble_register(router, environment);
    lab_layout_register(router);
    lab_peek_register(router);
    lab_park_register(router);
    lab_tls_register(router);
    lab_recurse_register(router);
    lab_heap_register(router);
    lab_cache_register(router);
    lab_fdleak_register(router);
}

/* What benchmarks and comparisons ask for. A few requests to /sleep or /cpu take all workers away,
 * so strangers are not to have them either. */
static void register_bench(struct router *router, struct handler_environment *environment)
{
    plaintext_register(router);
    json_register(router);
    cpu_register(router);
    sleep_register(router);
    echo_register(router);
    counter_register(router, environment);
    whoami_register(router, environment);
}

void handlers_register(struct router *router, struct handler_environment *environment)
{
    static_files_register(router);
    status_register(router, environment);
    if (environment->bench) {
        register_bench(router, environment);
    }
    if (environment->faults) {
        register_demonstrations(router, environment);
    }
}
