/* GET /lab/fdleak?count=N: opens N file descriptors and forgets them, or as many as there still
 * are. */
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/response_json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FDLEAK_MAX = 1000000 };

static void fdleak(const struct http_request *request, struct http_response *response,
                   struct handler_context *context, void *data)
{
    (void)data;
    uint64_t count, leaked = 0;
    int error = 0;
    if (!query_uint(request, response, "count", 1, FDLEAK_MAX, &count)) {
        return;
    }
    while (leaked < count && error == 0) {
        if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) {
            error = errno;
        } else {
            leaked++;
        }
    }
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "leaked", leaked);
    json_put_text(&json, "error", error == 0 ? NULL : strerror(error));
    response_json_end(&json);
}

void lab_fdleak_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/lab/fdleak",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = fdleak});
}
