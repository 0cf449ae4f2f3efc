/* GET /plaintext: the smallest useful response, by the rules of the TechEmpower benchmarks. */
#include "common/handlers/handlers.h"

static void plaintext(const struct http_request *request, struct http_response *response,
                      struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    (void)data;
    response->content_type = "text/plain";
    response->body = SPAN("Hello, World!");
}

void plaintext_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/plaintext",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .cacheable = true,
                                       .handler = plaintext});
}
