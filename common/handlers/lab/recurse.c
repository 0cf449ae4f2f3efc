/* GET /lab/recurse?depth=N: calls itself N times, with a kilobyte on the stack each time, and says
 * how much stack that took, unless there was less. */
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/response_json.h"

#include <unistd.h>

enum { RECURSE_DEFAULT = 100, RECURSE_MAX = 10000000, RECURSE_FRAME_BYTES = 1024 };

/* The address of the deepest frame. Using its own frame after the call keeps it a call. */
__attribute__((noinline, no_sanitize("address", "undefined"))) static uintptr_t
recurse(uint64_t depth) /* NOLINT(misc-no-recursion) */
{
    volatile char frame[RECURSE_FRAME_BYTES];
    frame[0] = 0;
    uintptr_t deepest = depth == 0 ? (uintptr_t)frame : recurse(depth - 1);
    return deepest + (uintptr_t)frame[0];
}

static void recurse_handler(const struct http_request *request, struct http_response *response,
                            struct handler_context *context, void *data)
{
    (void)data;
    uint64_t depth;
    if (!query_uint(request, response, "depth", RECURSE_DEFAULT, RECURSE_MAX, &depth)) {
        return;
    }
    /* Not the address of a variable: AddressSanitizer may keep those in a stack of its own. */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), deepest = recurse(depth);
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "depth", depth);
    json_put_uint(&json, "stack_bytes", here - deepest);
    response_json_end(&json);
}

void lab_recurse_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/lab/recurse",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = recurse_handler});
}
