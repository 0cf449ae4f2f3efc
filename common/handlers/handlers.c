#include "common/handlers/handlers.h"

void handlers_register(struct router *router, struct handler_environment *environment)
{
    static_files_register(router);
    plaintext_register(router);
    json_register(router);
    cpu_register(router);
    sleep_register(router);
    echo_register(router);
    counter_register(router, environment);
    whoami_register(router, environment);
    status_register(router, environment);
    if (environment->faults) {
        fault_register(router, environment);
    }
}
