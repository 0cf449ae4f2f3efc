/* GET /lab/tls[?set=N]: a variable of this thread and a plain global one of its process; set writes
 * both. */
#include "common/base/json_writer.h"
#include "common/handlers/handlers.h"
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
    if (!uri_query_uint(request->query, "set", 0, UINT64_MAX, &value)) {
        http_response_text(response, 400, "set must be a number");
        return;
    }
    if (uri_query_param(request->query, "set", &ignored)) {
        of_thread = value;
        atomic_store(&of_process, value);
    }
    struct json_writer json;
    json_init(&json, &response->text);
    json_object_begin(&json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "thread_local", of_thread);
    json_put_uint(&json, "global", atomic_load(&of_process));
    json_object_end(&json);
    response->content_type = "application/json";
}

void lab_tls_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){
                           .path = "/lab/tls", .methods = METHOD_BIT(METHOD_GET), .handler = tls});
}
