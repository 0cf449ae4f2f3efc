#include "common/http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { ROUTES = 2000, PATH_BYTES = 32 };

static struct router *router;
static char paths[ROUTES][PATH_BYTES];

static int make(void **state)
{
    (void)state;
    router = router_create();
    router_add(router, &(struct route){.methods = METHOD_BIT(METHOD_GET), .blocks = true});
    return 0;
}

static int discard(void **state)
{
    (void)state;
    router_destroy(router);
    return 0;
}

static void test_fallback(void **state)
{
    (void)state;
    static const char *const any[] = {"", "/", "/x", "/plaintext", "/a/long/path.html"};
    for (size_t i = 0; i < sizeof(any) / sizeof(any[0]); i++) {
        const struct route *route = router_match(router, span_of(any[i]));
        assert_null(route->path);
        assert_true(route->blocks);
        assert_null(router_find(router, span_of(any[i])));
    }
}

/* Many share a bucket: every one is found, and nothing beside them. */
static void test_many_routes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROUTES; i++) {
        snprintf(paths[i], PATH_BYTES, "/%zx%c", i * 2654435761u % 100003, 'a' + (int)(i % 3));
        struct route route = {.path = paths[i], .wants_body = true, .data = paths[i]};
        router_add(router, &route);
        memset(&route, 0, sizeof(route)); /* a copy was taken */
    }
    for (size_t i = 0; i < ROUTES; i++) {
        char path[PATH_BYTES];
        size_t bytes = strlen(paths[i]);
        memcpy(path, paths[i], bytes);
        path[bytes] = 'x'; /* no NUL behind it */
        const struct route *route = router_match(router, (struct span){path, bytes});
        assert_ptr_equal(route->data, paths[i]);
        assert_true(route->wants_body);
        path[1] = 'Z';
        assert_null(router_match(router, (struct span){path, bytes})->path);
    }
}

static void test_exact_paths(void **state)
{
    (void)state;
    static const char *const others[] = {"/", "/exac", "/exact/", "/exactly", "/Exact", "exact"};
    router_add(router, &(struct route){.path = "/exact"});
    assert_string_equal(router_match(router, SPAN("/exact"))->path, "/exact");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_null(router_match(router, span_of(others[i]))->path);
    }
    router_add(router, &(struct route){.path = "/"});
    assert_string_equal(router_match(router, SPAN("/"))->path, "/");
}

static void test_allowed_methods(void **state)
{
    (void)state;
    struct route route = {.methods = METHOD_BIT(METHOD_GET)};
    for (int method = 0; method <= METHOD_UNKNOWN; method++) {
        bool allowed = method == METHOD_GET || method == METHOD_HEAD;
        assert_int_equal(route_allows(&route, (enum http_method)method), allowed);
    }
    route.methods = METHOD_BIT(METHOD_POST) | METHOD_BIT(METHOD_PUT);
    for (int method = 0; method <= METHOD_UNKNOWN; method++) {
        bool allowed = method == METHOD_POST || method == METHOD_PUT;
        assert_int_equal(route_allows(&route, (enum http_method)method), allowed);
    }
}

static void assert_answer(unsigned methods, enum http_method method, unsigned status,
                          const char *allow, const char *text)
{
    struct http_response response = {0};
    http_response_reset(&response);
    route_answer_methods(&(struct route){.methods = methods}, method, &response);
    assert_int_equal(response.status, status);
    assert_true(
        span_equal((struct span){response.headers.data, response.headers.len}, span_of(allow)));
    assert_int_equal(response.text.len, strlen(text));
    assert_true(response.text.len == 0 || memcmp(response.text.data, text, response.text.len) == 0);
    http_response_free(&response);
}

static void test_answers(void **state)
{
    (void)state;
    static const char refused[] = "Method Not Allowed\n";
    unsigned get = METHOD_BIT(METHOD_GET), post = METHOD_BIT(METHOD_POST);
    assert_answer(get, METHOD_POST, 405, "Allow: GET, HEAD, OPTIONS\r\n", refused);
    assert_answer(get, METHOD_OPTIONS, 204, "Allow: GET, HEAD, OPTIONS\r\n", "");
    assert_answer(post, METHOD_GET, 405, "Allow: POST, OPTIONS\r\n", refused);
    assert_answer(post, METHOD_HEAD, 405, "Allow: POST, OPTIONS\r\n", refused);
    assert_answer(get | post, METHOD_DELETE, 405, "Allow: GET, HEAD, POST, OPTIONS\r\n", refused);
    assert_answer(get | post, METHOD_OPTIONS, 204, "Allow: GET, HEAD, POST, OPTIONS\r\n", "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fallback),        TEST(test_many_routes), TEST(test_exact_paths),
        TEST(test_allowed_methods), TEST(test_answers),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
