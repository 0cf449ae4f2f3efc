/* GET /lab/tls[?set=N]: a variable of this thread and a plain global one of its process; set writes
 * both. */
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/response_json.h"
#include "common/http/uri.h"

#include <unistd.h>

static _Thread_local uint64_t of_thread;
static _Atomic uint64_t of_process;

static void tls(const struct http_request *request, struct http_response *response,
                struct handler_context *context, void *data)
{
    (void)data;
    uint64_t value;
    struct span ignored;
    if (!query_uint(request, response, "set", 0, UINT64_MAX, &value)) {
        return;
    }
    if (uri_query_param(request->query, "set", &ignored)) {
        of_thread = value;
        atomic_store(&of_process, value);
    }
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "thread_local", of_thread);
    json_put_uint(&json, "global", atomic_load(&of_process));
    response_json_end(&json);
}

void lab_tls_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){
                           .path = "/lab/tls", .methods = METHOD_BIT(METHOD_GET), .handler = tls});
}
