/* GET /: the page that shows the server live, with its present state as a table for those without
 * JavaScript. GET /servers.json: which servers the page shows; an observer has one, the laboratory
 * may have several. */
#include "server/observe/observer.h"

#include "common/http/content_coding.h"
#include "common/http/head.h"
#include "server/observe/page/page.h"
#include "server/observe/sampler.h"
#include "server/observe/state_html.h"

static bool likes_gzip(const struct http_request *request, struct arena *arena)
{
    return content_coding_choose(http_head_field_list(request, HTTP_FIELD_ACCEPT_ENCODING, arena),
                                 CODING_BIT(CODING_GZIP)) == CODING_GZIP;
}

static void front(const struct http_request *request, struct http_response *response,
                  struct handler_context *context, void *data)
{
    const struct observer_environment *environment = data;
    const bool gzip = likes_gzip(request, &response->arena);
    struct buffer table = {0};
    (void)context;
    response->content_type = "text/html; charset=utf-8";
    http_response_add_header(response, "Content-Security-Policy", page_content_security_policy());
    http_response_add_header(response, "Vary", "Accept-Encoding");
    if (gzip) {
        http_response_add_header(response, "Content-Encoding", "gzip");
    }
    state_html_put(&table, sampler_look(environment->sampler));
    page_render((struct span){table.data, table.len}, gzip, &response->text);
    buffer_free(&table);
}

static void servers(const struct http_request *request, struct http_response *response,
                    struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    (void)data;
    response->content_type = "application/json";
    response->body = SPAN("{\"servers\":[{\"name\":\"\",\"base\":\"\",\"wrk\":false}],"
                          "\"presets\":[]}\n");
}

void front_register(struct router *router, struct observer_environment *environment)
{
    static const struct {
        const char *path;
        handler_fn handler;
    } routes[] = {{"/", front}, {"/servers.json", servers}};
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        observer_route(router, environment,
                       &(struct route){.path = routes[i].path,
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = routes[i].handler,
                                       .data = environment});
    }
}
