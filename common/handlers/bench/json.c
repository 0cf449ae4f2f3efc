/* GET /json: an object serialised for each request, by the rules of the TechEmpower benchmarks. */
#include "common/base/json_writer.h"
#include "common/handlers/handlers.h"

static void json(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    (void)data;
    struct json_writer writer;
    json_init(&writer, &response->text);
    json_object_begin(&writer);
    json_put_string(&writer, "message", SPAN("Hello, World!"));
    json_object_end(&writer);
    response->content_type = "application/json";
}

void json_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/json",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .cacheable = true,
                                       .handler = json});
}
