#include "server/observe/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "common/http/head.h"

static char text[1024];
static struct http_request request;
static const char *names; /* by which it may be called, too */

/* Reads a request with these fields. */
static void ask(const char *fields)
{
    const struct http_limits limits = {1024, 1024, 20, 0};
    struct http_head head = {0};
    struct http_refusal refusal;
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s\r\n", fields);
    request = (struct http_request){.head = text};
    assert_int_equal(http_head_scan(&head, text, strlen(text), &limits, &request, &refusal),
                     HTTP_HEAD_DONE);
}

static bool passes(const char *fields)
{
    ask(fields);
    return guard_refusal(&request, names) == NULL;
}

static bool host_passes(const char *host)
{
    char fields[512];
    snprintf(fields, sizeof(fields), "Host: %s\r\n", host);
    return passes(fields);
}

/* Every number, but no name: names are what a trick is made of. The port may have been forwarded.
 */
static void test_hosts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "127.0.0.1:8090", "localhost:8090", "LocalHost:8090",     "127.0.0.1",
        "localhost",      "127.0.0.1:",     "localhost:18090",    "192.0.2.1:8090",
        "[::1]:8090",     "[::1]",          "[2001:db8::1]:8090",
    };
    static const char *const bad[] = {
        "example.com", "example.com:8090", "localhost.com:8090", "",
        ":8090",       "127.0.0.1.com",    "127.1:8090",         "0:8090",
        "8090",        "localhost.:8090",  "a.localhost:8090",   "*:8090",
        "127.0.0.1.",  "0x7f.0.0.1",       "twinhttpd:8090",     "[::1",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (!host_passes(good[i])) {
            fail_msg("\"%s\" is refused", good[i]);
        }
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (host_passes(bad[i])) {
            fail_msg("\"%s\" passes", bad[i]);
        }
    }
    assert_true(passes("")); /* HTTP/1.0 */
}

static void test_names_that_are_listed(void **state)
{
    (void)state;
    static const char *const good[] = {"web", "web:8090",    "Web.Example:1",
                                       "a-b", "localhost:1", "192.0.2.1"};
    static const char *const bad[] = {"we",    "webb", "web.example.com", "web,web.example", "",
                                      ":8090", ",",    "example"};
    names = "web,web.example,a-b";
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(host_passes(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(host_passes(bad[i]));
    }
    assert_true(passes("Host: web:8090\r\nOrigin: http://web:8090\r\n"));
    assert_false(passes("Host: web:8090\r\nOrigin: http://web.example:8090\r\n"));
    names = NULL;
}

static void test_origins(void **state)
{
    (void)state;
    assert_true(passes("Host: 127.0.0.1:8090\r\nOrigin: http://127.0.0.1:8090\r\n"));
    assert_true(passes("Host: localhost:8090\r\norigin:  http://localhost:8090 \r\n"));
    static const char *const bad[] = {
        "http://127.0.0.1:8080",
        "http://localhost:8090",
        "https://127.0.0.1:8090",
        "null",
        "",
        "http://example.com",
        "http://",
        "127.0.0.1:8090",
        "http://127.0.0.1:8090.example.com",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char fields[256];
        snprintf(fields, sizeof(fields), "Host: 127.0.0.1:8090\r\nX: y\r\nOrigin: %s\r\n", bad[i]);
        if (passes(fields)) {
            fail_msg("\"%s\" passes", bad[i]);
        }
    }
    assert_false(passes("Origin: http://127.0.0.1:8090\r\n"));
}

static bool has_token(const char *value)
{
    char fields[256];
    snprintf(fields, sizeof(fields), "Host: a\r\nAuthorization: %s\r\n", value);
    ask(fields);
    return guard_has_token(&request, "0123456789abcdef");
}

static void test_tokens(void **state)
{
    (void)state;
    assert_true(has_token("Bearer 0123456789abcdef"));
    assert_true(has_token("bearer 0123456789abcdef"));
    static const char *const bad[] = {
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdeF",
        "Bearer 0123456789abcde",
        "Bearer 0123456789abcdef0",
        "Bearer 1123456789abcdef",
        "0123456789abcdef",
        "Basic  0123456789abcdef",
        "Bearer: 0123456789abcdef",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (has_token(bad[i])) {
            fail_msg("\"%s\" is taken for the token", bad[i]);
        }
    }
    ask("Host: a\r\n");
    assert_false(guard_has_token(&request, "0123456789abcdef"));
    assert_false(guard_has_token(&request, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_names_that_are_listed),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
