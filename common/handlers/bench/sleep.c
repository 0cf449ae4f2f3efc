/* GET /sleep?ms=N: blocks its thread for N milliseconds, as a slow disk or database would. */
#include "common/handlers/handlers.h"
#include "common/http/query.h"

#include <errno.h>
#include <time.h>

enum { SLEEP_DEFAULT_MS = 10, SLEEP_MAX_MS = 60000 };

static void block(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

static void sleep_handler(const struct http_request *request, struct http_response *response,
                          struct handler_context *context, void *data)
{
    (void)context;
    (void)data;
    uint64_t ms;
    if (!query_uint(request, response, "ms", SLEEP_DEFAULT_MS, SLEEP_MAX_MS, &ms)) {
        return;
    }
    block(ms);
    response->content_type = "text/plain; charset=utf-8";
    buffer_printf(&response->text, "slept %llu ms\n", (unsigned long long)ms);
}

void sleep_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/sleep",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .blocks = true,
                                       .handler = sleep_handler});
}
