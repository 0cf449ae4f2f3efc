#include "common/http/exchange.h"

#include "common/scoreboard/scoreboard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { LONG_BYTES = 1000 };

static const struct http_limits limits = {
    .request_line_bytes = 8192, .header_bytes = 32768, .headers = 100, .body_bytes = 1000};
static struct router *router;
static struct http_exchange *exchange;
static struct scoreboard *scoreboard;
static struct request_copy seen; /* the note while the handler ran */

static void handler(const struct http_request *request, struct http_response *response,
                    struct handler_context *context, void *data)
{
    assert_ptr_equal(request, &exchange->request);
    assert_string_equal(data, "mine");
    assert_true(slot_note_read(context->slot, &seen));
    response->status = 404;
}

static void be_long(const struct http_request *request, struct http_response *response,
                    struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    (void)data;
    response->content_type = "text/plain";
    for (int i = 0; i < LONG_BYTES; i++) {
        buffer_append(&response->text, "a", 1);
    }
}

static int make(void **state)
{
    (void)state;
    router = router_create();
    router_add(router, &(struct route){.methods = METHOD_BIT(METHOD_GET)});
    router_add(router, &(struct route){.path = "/get",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = handler,
                                       .data = "mine"});
    router_add(router, &(struct route){
                           .path = "/long", .methods = METHOD_BIT(METHOD_GET), .handler = be_long});
    router_add(
        router,
        &(struct route){.path = "/post", .methods = METHOD_BIT(METHOD_POST), .wants_body = true});
    exchange = http_exchange_create(&limits);
    scoreboard = scoreboard_create(1);
    return exchange == NULL || scoreboard == NULL;
}

static int discard(void **state)
{
    (void)state;
    http_exchange_destroy(exchange);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    return 0;
}

/* Reads the head and routes it, as a connection does: what the parser refuses is answered too. text
 * must stay. */
static void route(const char *text)
{
    http_exchange_reset(exchange);
    if (http_parser_feed_head(exchange->parser, &exchange->request, text, strlen(text)) ==
        HTTP_PARSE_HEAD) {
        http_exchange_route(exchange, router);
    } else {
        http_response_error(&exchange->response, http_parser_refusal(exchange->parser).status);
    }
}

static void route_target(const char *method, const char *target)
{
    static char text[512];
    snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: a\r\n\r\n", method, target);
    route(text);
}

static void assert_routed(const char *target, const char *route_path, const char *path,
                          const char *query)
{
    route_target("GET", target);
    assert_non_null(exchange->route);
    assert_int_equal(exchange->response.status, 200);
    if (route_path == NULL) {
        assert_null(exchange->route->path);
    } else {
        assert_string_equal(exchange->route->path, route_path);
    }
    assert_true(span_equal(exchange->request.path, span_of(path)));
    assert_true(span_equal(exchange->request.query, span_of(query)));
}

static void assert_answered(const char *method, const char *target, unsigned status,
                            const char *allow)
{
    route_target(method, target);
    if (exchange->route != NULL || exchange->response.status != status) {
        fail_msg("%s %s: %s, %u", method, target, exchange->route == NULL ? "answered" : "routed",
                 exchange->response.status);
    }
    const struct buffer *headers = &exchange->response.headers;
    assert_true(span_equal((struct span){headers->data, headers->len}, span_of(allow)));
}

static void test_routes(void **state)
{
    (void)state;
    assert_routed("/get", "/get", "/get", "");
    assert_routed("/get?a=b&c", "/get", "/get", "a=b&c");
    assert_routed("/get?", "/get", "/get", "");
    assert_routed("/%67et?x%20", "/get", "/get", "x%20");
    assert_routed("//get", "/get", "/get", "");
    assert_routed("/x/../get", "/get", "/get", "");
    assert_routed("/./get", "/get", "/get", "");
    assert_routed("/get/", NULL, "/get/", "");
    assert_routed("/", NULL, "/", "");
    assert_routed("/other%20file", NULL, "/other file", "");
}

static void test_absolute_form(void **state)
{
    (void)state;
    assert_routed("http://other.example/get?q", "/get", "/get", "q");
    assert_routed("http://other.example:8080/get", "/get", "/get", "");
    assert_routed("HTTP://a/get", "/get", "/get", "");
    assert_routed("http://a", NULL, "/", "");
    assert_routed("http://a?q", NULL, "/", "q");
}

/* The authority replaces Host, so it has to be as good as one (RFC 9112, 3.2.2). */
static void test_bad_authority(void **state)
{
    (void)state;
    static const char *const bad[] = {"http://a\"b/get", "http://<a>/get", "http://a\\b/get",
                                      "http://a{b}/get", "http://a|b/get", "http://a^b/get",
                                      "http://a`b`/get"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_answered("GET", bad[i], 400, "");
    }
}

/* An https target is for a secured connection; what only looks like one is not. */
static void test_https_target(void **state)
{
    (void)state;
    assert_answered("GET", "https://a/get", 421, "");
    assert_answered("GET", "HTTPS://a/", 421, "");
    assert_answered("POST", "https://a/post", 421, "");
    assert_routed("http://https:80/get", "/get", "/get", "");
    assert_routed("/https://a/get", NULL, "/https:/a/get", "");
}

static void test_bad_targets(void **state)
{
    (void)state;
    static const char *const bad[] = {"*",      "get",  "?a",         "/%zz",        "/a%",
                                      "/a%0",   "/%00", "/..",        "/../get",     "/a/../../b",
                                      "/#a",    "/%0a", "http:///a",  "http://u@a/", "ftp://a/",
                                      "/%7f/a", "a:80", "/%2e%2e/get"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_answered("GET", bad[i], 400, "");
    }
    assert_true(exchange->response.text.len > 0);
}

static void test_nothing_can_have_that_name(void **state)
{
    (void)state;
    static const char *const hidden[] = {"/.git",   "/.git/config", "/a/.htaccess",
                                         "/%2egit", "/a%2fb",       "/a/.well-known/x"};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        assert_answered("GET", hidden[i], 404, "");
    }
    assert_routed("/.well-known/x", NULL, "/.well-known/x", "");
}

static void test_methods(void **state)
{
    (void)state;
    static const char get[] = "Allow: GET, HEAD, OPTIONS\r\n";
    static const char post[] = "Allow: POST, OPTIONS\r\n";
    assert_answered("POST", "/get", 405, get);
    assert_answered("DELETE", "/get?x", 405, get);
    assert_answered("TRACE", "/get", 405, get);
    assert_answered("PATCH", "/some/file", 405, get);
    assert_answered("GET", "/post", 405, post);
    assert_answered("HEAD", "/post", 405, post);
    assert_answered("OPTIONS", "/post", 204, post);
    assert_answered("OPTIONS", "/get", 204, get);
    assert_answered("OPTIONS", "/some/file", 204, get);
    assert_answered("OPTIONS", "*", 204, "Allow: GET, HEAD, POST, OPTIONS\r\n");
    route_target("HEAD", "/get");
    assert_string_equal(exchange->route->path, "/get");
    route_target("POST", "/post");
    assert_string_equal(exchange->route->path, "/post");
}

static void test_body_wanted(void **state)
{
    (void)state;
    route_target("POST", "/post");
    assert_true(exchange->request.body_wanted);
    route_target("GET", "/get");
    assert_false(exchange->request.body_wanted);
    route_target("POST", "/get");
    assert_false(exchange->request.body_wanted);
}

static void test_keep_head(void **state)
{
    (void)state;
    static const char text[] = "POST /post?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                               "Content-Type: x/y\r\n\r\n";
    char *moving = malloc(sizeof(text));
    memcpy(moving, text, sizeof(text));
    http_exchange_reset(exchange);
    assert_int_equal(
        http_parser_feed_head(exchange->parser, &exchange->request, moving, strlen(text)),
        HTTP_PARSE_HEAD);
    http_exchange_keep_head(exchange);
    memset(moving, 'x', sizeof(text));
    free(moving);
    http_exchange_route(exchange, router);
    assert_string_equal(exchange->route->path, "/post");
    assert_true(span_equal(exchange->request.query, SPAN("q")));
    assert_true(
        span_equal(http_request_field(&exchange->request, HTTP_FIELD_CONTENT_TYPE), SPAN("x/y")));
}

static void test_run(void **state)
{
    (void)state;
    struct handler_context context = {.slot = &scoreboard->slots[0]};
    struct client_address client = {{0}};
    struct request_copy copy;
    exchange->client = &client;
    route_target("GET", "/get?x");
    http_exchange_run(exchange, &context);
    assert_int_equal(exchange->response.status, 404);
    assert_string_equal(seen.line, "GET /get?x HTTP/1.1");
    assert_string_equal(seen.client, "unknown");
    assert_false(slot_note_read(context.slot, &copy)); /* over */
    assert_int_equal(context.slot->counters.requests_handled, 1);
    assert_true(exchange->response.no_store); /* unless the route says otherwise */
    http_exchange_run(exchange, &context);
    assert_int_equal(context.slot->counters.requests_handled, 2);
    exchange->route = &(struct route){.handler = handler, .cacheable = true, .data = "mine"};
    http_exchange_run(exchange, &context);
    assert_false(exchange->response.no_store);
}

/* Whoever reads the note finds a URI. */
static void test_8_bit_target_is_noted_escaped(void **state)
{
    (void)state;
    struct handler_context context = {.slot = &scoreboard->slots[0]};
    struct client_address client = {{0}};
    exchange->client = &client;
    route("GET /get?\xc3\xa4\xff HTTP/1.1\r\nHost: a\r\n\r\n");
    http_exchange_run(exchange, &context);
    assert_string_equal(seen.line, "GET /get?%C3%A4%FF HTTP/1.1");
}

/* Texts are compressed for a thread that is set to do so. */
static void test_run_with_gzip(void **state)
{
    (void)state;
    struct client_address client = {{0}};
    for (int gzip = 0; gzip <= 1; gzip++) {
        struct handler_context context = {.slot = &scoreboard->slots[0], .gzip = gzip};
        route("GET /long HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
        assert_non_null(exchange->route);
        exchange->client = &client;
        http_exchange_run(exchange, &context);
        const struct buffer *headers = &exchange->response.headers;
        struct span written = {headers->data, headers->len};
        assert_true(span_equal(
            written, span_of(gzip ? "Vary: Accept-Encoding\r\nContent-Encoding: gzip\r\n" : "")));
        assert_int_equal(http_response_body_bytes(&exchange->response) < LONG_BYTES, gzip);
    }
}

static void test_reset(void **state)
{
    (void)state;
    route_target("GET", "/get");
    http_response_error(&exchange->response, 500);
    http_exchange_reset(exchange);
    assert_null(exchange->route);
    assert_int_equal(exchange->response.status, 200);
    assert_int_equal(exchange->response.text.len, 0);
    assert_int_equal(exchange->request.field_count, 0);
    assert_routed("/get", "/get", "/get", "");
}

/* ---- Those that are spare ---- */

static struct http_exchange_pool pool;

static int empty_pool(void **state)
{
    (void)state;
    http_exchange_pool_free(&pool);
    assert_int_equal(pool.count, 0);
    http_exchange_pool_free(&pool); /* of nothing is nothing */
    return 0;
}

/* Of many that come back most keep nothing, whatever they have been through. */
static void test_what_exchanges_keep(void **state)
{
    (void)state;
    enum { MANY = HTTP_EXCHANGES_FULL + 2 };
    static struct http_exchange *exchanges[MANY];
    for (size_t i = 0; i < MANY; i++) {
        exchanges[i] = http_exchange_take(&pool, &limits);
        buffer_append(&exchanges[i]->response.text, "text", 4);
        buffer_append(&exchanges[i]->response.headers, "line", 4);
        buffer_append(&exchanges[i]->request.body, "body", 4);
        arena_alloc(&exchanges[i]->request.arena, 10);
        arena_alloc(&exchanges[i]->response.arena, 10);
    }
    for (size_t i = 0; i < MANY; i++) {
        bool keeps = i < HTTP_EXCHANGES_FULL;
        struct http_exchange *given = exchanges[i];
        http_exchange_give(&pool, given);
        assert_int_equal(given->response.text.capacity > 0, keeps);
        assert_int_equal(given->response.headers.capacity > 0, keeps);
        assert_int_equal(given->request.body.capacity > 0, keeps);
        assert_int_equal(given->request.arena.newest != NULL, keeps);
        assert_int_equal(given->response.arena.newest != NULL, keeps);
        assert_int_equal(given->response.status, 200);
    }
}

static void test_an_exchange_comes_back_reset(void **state)
{
    (void)state;
    struct http_exchange *first = http_exchange_take(&pool, &limits);
    first->response.status = 404;
    first->request.body_bytes = 5;
    buffer_append(&first->response.text, "secret", 6);
    http_exchange_give(&pool, first);
    struct http_exchange *second = http_exchange_take(&pool, &limits);
    assert_ptr_equal(second, first);
    assert_int_equal(second->response.status, 200);
    assert_int_equal(second->request.body_bytes, 0);
    assert_int_equal(second->response.text.len, 0);
    struct http_exchange *third = http_exchange_take(&pool, &limits);
    assert_ptr_not_equal(third, second);
    http_exchange_give(&pool, second);
    http_exchange_give(&pool, third);
}

/* After a rush most of its memory goes back to the system; the leak check sees the rest. */
static void test_how_many_exchanges_are_kept(void **state)
{
    (void)state;
    enum { RUSH = HTTP_EXCHANGES_SPARE + 3 };
    static struct http_exchange *exchanges[RUSH];
    for (size_t i = 0; i < RUSH; i++) {
        exchanges[i] = http_exchange_take(&pool, &limits);
    }
    assert_int_equal(pool.count, 0);
    for (size_t i = 0; i < RUSH; i++) {
        http_exchange_give(&pool, exchanges[i]);
        assert_int_equal(pool.count, i < HTTP_EXCHANGES_SPARE ? i + 1 : HTTP_EXCHANGES_SPARE);
    }
    for (size_t i = HTTP_EXCHANGES_SPARE; i > 0; i--) { /* the warmest first */
        struct http_exchange *taken = http_exchange_take(&pool, &limits);
        assert_ptr_equal(taken, exchanges[i - 1]);
        http_exchange_destroy(taken);
    }
    assert_null(pool.spare);
}

#define POOL_TEST(name) cmocka_unit_test_teardown(name, empty_pool)
#define TEST(name)      cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_routes),
        TEST(test_absolute_form),
        TEST(test_bad_authority),
        TEST(test_https_target),

        TEST(test_bad_targets),
        TEST(test_nothing_can_have_that_name),
        TEST(test_methods),
        TEST(test_body_wanted),
        TEST(test_keep_head),
        TEST(test_run),
        TEST(test_8_bit_target_is_noted_escaped),
        TEST(test_run_with_gzip),
        TEST(test_reset),
        POOL_TEST(test_what_exchanges_keep),
        POOL_TEST(test_an_exchange_comes_back_reset),
        POOL_TEST(test_how_many_exchanges_are_kept),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
