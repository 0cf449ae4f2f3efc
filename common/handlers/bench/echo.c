/* POST /echo: the request's body comes back. */
#include "common/handlers/handlers.h"

static void echo(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)context;
    (void)data;
    response->content_type = "application/octet-stream";
    struct span type = http_request_field(request, HTTP_FIELD_CONTENT_TYPE);
    if (type.len > 0) {
        response->content_type = NULL;
        buffer_append_span(&response->headers, SPAN("Content-Type: "));
        buffer_append_span(&response->headers, type);
        buffer_append_span(&response->headers, SPAN("\r\n"));
    }
    /* Whatever type a client asks for, a browser must not guess another one. */
    http_response_add_header(response, "X-Content-Type-Options", "nosniff");
    response->body = (struct span){request->body.data, request->body.len};
}

void echo_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/echo",
                                       .methods = METHOD_BIT(METHOD_POST),
                                       .wants_body = true,
                                       .repeatable = true,
                                       .handler = echo});
}
