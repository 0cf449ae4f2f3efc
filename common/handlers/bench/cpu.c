/* GET /cpu?us=N: keeps a CPU busy for N microseconds of the thread's own CPU time, so that the work
 * is the same however many share the CPU. */
#include "common/handlers/handlers.h"
#include "common/http/query.h"

#include <time.h>

enum { CPU_DEFAULT_US = 1000, CPU_MAX_US = 10000000, CPU_STEPS = 200 };

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* Something the compiler cannot leave out. */
static uint64_t work(uint64_t seed)
{
    for (int i = 0; i < CPU_STEPS; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
    }
    return seed;
}

static void cpu(const struct http_request *request, struct http_response *response,
                struct handler_context *context, void *data)
{
    (void)context;
    (void)data;
    uint64_t us;
    if (!query_uint(request, response, "us", CPU_DEFAULT_US, CPU_MAX_US, &us)) {
        return;
    }
    uint64_t end_ns = thread_cpu_ns() + us * 1000;
    volatile uint64_t result = 88172645463325252u;
    while (thread_cpu_ns() < end_ns) {
        result = work(result);
    }
    response->content_type = "text/plain; charset=utf-8";
    buffer_printf(&response->text, "burned %llu us of CPU time\n", (unsigned long long)us);
}

void cpu_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/cpu",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .blocks = true,
                                       .handler = cpu});
}
