/* GET /json: an object serialised for each request, by the rules of the TechEmpower benchmarks. */
#include "common/handlers/handlers.h"
#include "common/http/response_json.h"

static void json(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    (void)data;
    struct json_writer writer;
    response_json_begin(response, &writer);
    json_put_string(&writer, "message", SPAN("Hello, World!"));
    response_json_end(&writer);
}

void json_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/json",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .cacheable = true,
                                       .handler = json});
}
