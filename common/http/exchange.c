#include "common/http/exchange.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/http/response_gzip.h"
#include "common/http/uri.h"
#include "common/scoreboard/slot.h"

#include <stdlib.h>

struct http_exchange *http_exchange_create(const struct http_limits *limits)
{
    struct http_exchange *exchange = memory_alloc_zeroed(1, sizeof(*exchange));
    exchange->parser = http_parser_create(limits);
    exchange->response.status = 200;
    return exchange;
}

void http_exchange_destroy(struct http_exchange *exchange)
{
    http_request_free(&exchange->request);
    http_response_free(&exchange->response);
    http_parser_destroy(exchange->parser);
    free(exchange);
}

void http_exchange_reset(struct http_exchange *exchange)
{
    http_request_reset(&exchange->request);
    http_response_reset(&exchange->response);
    http_parser_reset(exchange->parser);
    exchange->route = NULL;
}

/* ---- Those that are spare ---- */

struct http_exchange *http_exchange_take(struct http_exchange_pool *pool,
                                         const struct http_limits *limits)
{
    struct http_exchange *exchange = pool->spare;
    if (exchange == NULL) {
        return http_exchange_create(limits);
    }
    pool->spare = exchange->next;
    pool->count--;
    return exchange;
}

/* Gives back what memory a reset has kept. */
static void strip(struct http_exchange *exchange)
{
    http_request_free(&exchange->request);
    http_response_free(&exchange->response);
}

void http_exchange_give(struct http_exchange_pool *pool, struct http_exchange *exchange)
{
    if (pool->count == HTTP_EXCHANGES_SPARE) {
        http_exchange_destroy(exchange);
        return;
    }
    http_exchange_reset(exchange);
    if (pool->count >= HTTP_EXCHANGES_FULL) {
        strip(exchange);
    }
    exchange->next = pool->spare;
    pool->spare = exchange;
    pool->count++;
}

void http_exchange_pool_free(struct http_exchange_pool *pool)
{
    while (pool->spare != NULL) {
        struct http_exchange *exchange = pool->spare;
        pool->spare = exchange->next;
        http_exchange_destroy(exchange);
    }
    pool->count = 0;
}

/* ---- From the head to the answer ---- */

void http_exchange_keep_head(struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    char *copy = arena_alloc(&request->arena, request->head_bytes);
    memcpy(copy, request->head, request->head_bytes);
    request->head = copy;
}

/* Sets path and query; 0, or the status that refuses the target. */
static unsigned resolve_target(struct http_request *request)
{
    struct uri uri;
    struct span target = http_request_text(request, request->target);
    if (uri_split(target, &uri) != URI_OK) {
        return 400;
    }
    if (target.len > 6 && span_equal_nocase((struct span){target.ptr, 6}, SPAN("https:"))) {
        return 421; /* this connection is not secured (RFC 9110, 7.4) */
    }
    if (uri.authority.ptr != NULL && !http_head_is_host(uri.authority)) {
        return 400;
    }
    request->query = uri.query;
    if (uri_path_is_plain(uri.path)) {
        request->path = uri.path;
        return 0;
    }
    char *copy = arena_alloc(&request->arena, uri.path.len + 1);
    switch (uri_normalize_path(uri.path, copy, &request->path)) {
    case URI_OK:
        return uri_path_is_hidden(request->path) ? 404 : 0;
    case URI_NOT_FOUND:
        return 404;
    case URI_BAD_REQUEST:
        break;
    }
    return 400;
}

/* Sets path and query, too. A target that is the path of a route has nothing to resolve. */
static const struct route *find_route(struct http_request *request, const struct router *router,
                                      unsigned *refusal)
{
    request->path = http_request_text(request, request->target);
    const struct route *route = router_find(router, request->path);
    if (route == NULL) {
        *refusal = resolve_target(request);
        route = router_match(router, request->path);
    }
    return route;
}

/* "OPTIONS *" asks about the server as a whole (RFC 9110, 9.3.7). */
static bool is_server_options(const struct http_request *request)
{
    return request->method == METHOD_OPTIONS &&
           span_equal(http_request_text(request, request->target), SPAN("*"));
}

void http_exchange_route(struct http_exchange *exchange, const struct router *router)
{
    struct http_request *request = &exchange->request;
    struct http_response *response = &exchange->response;
    exchange->route = NULL;
    if (is_server_options(request)) {
        response->status = 204;
        http_response_add_header(response, "Allow", "GET, HEAD, POST, OPTIONS");
        return;
    }
    unsigned refusal = 0;
    const struct route *route = find_route(request, router, &refusal);
    if (refusal != 0) {
        http_response_error(response, refusal);
        response->close = refusal == 400; /* who sends such a target may have more in mind */
        return;
    }
    if (!route_allows(route, request->method)) {
        route_answer_methods(route, request->method, response);
        return;
    }
    request->body_wanted = route->wants_body;
    exchange->route = route;
}

void http_exchange_run(struct http_exchange *exchange, struct handler_context *context)
{
    const struct route *route = exchange->route;
    CHECK(route != NULL);
    slot_note_begin(context->slot,
                    http_request_shown_line(&exchange->request, &exchange->request.arena),
                    exchange->client);
    exchange->slot_index = context->slot_index;
    exchange->response.no_store = !route->cacheable;
    route->handler(&exchange->request, &exchange->response, context, route->data);
    if (context->gzip) {
        response_gzip(&exchange->request, &exchange->response);
    }
    slot_note_end(context->slot);
    slot_add(&context->slot->counters.requests_handled, 1);
}
