/* GET /whoami: which process and thread answers. */
#include "common/handlers/handlers.h"
#include "common/http/response_json.h"

#include <unistd.h>

static void whoami(const struct http_request *request, struct http_response *response,
                   struct handler_context *context, void *data)
{
    (void)request;
    const struct handler_environment *env = data;
    const struct worker_slot *slot = context->slot;
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_text(&json, "server", env->scoreboard->server);
    json_put_text(&json, "model", env->scoreboard->model);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "ppid", getppid());
    json_put_int(&json, "tid", atomic_load(&slot->tid));
    json_put_uint(&json, "slot", context->slot_index);
    json_put_uint(&json, "worker",
                  context->slot_index); /* its name until now, for one release more */
    json_put_uint(&json, "generation", atomic_load(&slot->generation));
    response_json_end(&json);
}

void whoami_register(struct router *router, struct handler_environment *env)
{
    router_add(router, &(struct route){.path = "/whoami",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = whoami,
                                       .data = env});
}
