#include "common/net/endpoint.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct endpoint of(const char *text)
{
    struct endpoint endpoint;
    assert_true(endpoint_parse(&endpoint, text));
    return endpoint;
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *given, *text, *url, *note;
    } cases[] = {
        {"10.1.2.3:8080", "10.1.2.3:8080", "10.1.2.3:8080", ""},
        {"[2001:db8::1]:65535", "[2001:db8::1]:65535", "[2001:db8::1]:65535", ""},
        {"[::ffff:10.1.2.3]:80", "10.1.2.3:80", "10.1.2.3:80", ""},
        {"*:80", "*:80", "localhost:80", " (every IPv4 and IPv6 address)"},
        {"[::]:80", "*:80", "localhost:80", " (every IPv4 and IPv6 address)"},
        {"0.0.0.0:80", "0.0.0.0:80", "127.0.0.1:80", " (every IPv4 address)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[ENDPOINT_TEXT_BYTES];
        struct endpoint endpoint = of(cases[i].given);
        endpoint_format(&endpoint, text);
        assert_string_equal(text, cases[i].text);
        endpoint_format_for_url(&endpoint, text);
        assert_string_equal(text, cases[i].url);
        assert_string_equal(endpoint_note(&endpoint), cases[i].note);
    }
    struct endpoint v6_alone = of("[::]:80");
    char text[ENDPOINT_TEXT_BYTES];
    v6_alone.takes_both = false;
    endpoint_format(&v6_alone, text);
    assert_string_equal(text, "[::]:80");
    endpoint_format_for_url(&v6_alone, text);
    assert_string_equal(text, "[::1]:80");
    assert_string_equal(endpoint_note(&v6_alone), " (every IPv6 address)");
}

static void test_what_is_no_number(void **state)
{
    (void)state;
    static const char *const names[] = {"localhost:80", "a.example:80", ":80",
                                        "80",           "[]:80",        "[1.2.3.4]:80"};
    struct endpoint endpoint;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_false(endpoint_parse(&endpoint, names[i]));
    }
    const struct sockaddr elsewhere = {.sa_family = AF_UNIX};
    assert_false(endpoint_from(&endpoint, &elsewhere));
}

static void test_ports(void **state)
{
    (void)state;
    struct endpoint v4 = of("127.0.0.1:0"), v6 = of("[::1]:1");
    endpoint_set_port(&v4, 8080);
    endpoint_set_port(&v6, 8081);
    assert_int_equal(endpoint_port(&v4), 8080);
    assert_int_equal(endpoint_port(&v6), 8081);
}

static void test_two_of_them(void **state)
{
    (void)state;
    static const struct {
        const char *one, *other;
        bool covers, overlaps;
    } cases[] = {
        {"*:80", "127.0.0.1:80", true, true},
        {"*:80", "[::1]:80", true, true},
        {"*:80", "0.0.0.0:80", true, true},
        {"0.0.0.0:80", "*:80", false, true},
        {"127.0.0.1:80", "*:80", false, true},
        {"0.0.0.0:80", "10.0.0.1:80", true, true},
        {"0.0.0.0:80", "[::1]:80", false, false},
        {"127.0.0.1:80", "127.0.0.1:80", true, true},
        {"127.0.0.1:80", "127.0.0.2:80", false, false},
        {"127.0.0.1:80", "[::1]:80", false, false},
        {"*:80", "127.0.0.1:81", false, false},
        {"*:0", "127.0.0.1:0", false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct endpoint one = of(cases[i].one), other = of(cases[i].other);
        assert_int_equal(endpoint_covers(&one, &other), cases[i].covers);
        assert_int_equal(endpoint_overlaps(&one, &other), cases[i].overlaps);
        assert_int_equal(endpoint_overlaps(&other, &one), cases[i].overlaps);
    }
}

static void assert_settled(const char *given, const char *expected)
{
    struct endpoints endpoints = {0};
    char copy[256], settled[256] = "";
    snprintf(copy, sizeof(copy), "%s", given);
    for (char *text = strtok(copy, ","); text != NULL; text = strtok(NULL, ",")) {
        struct endpoint endpoint = of(text);
        assert_true(endpoints_add(&endpoints, &endpoint));
    }
    endpoints_settle(&endpoints);
    for (size_t i = 0; i < endpoints.count; i++) {
        char text[ENDPOINT_TEXT_BYTES];
        endpoint_format(&endpoints.list[i], text);
        strcat(strcat(settled, i == 0 ? "" : ","), text);
    }
    assert_string_equal(settled, expected);
}

static void test_settling(void **state)
{
    (void)state;
    assert_settled("127.0.0.1:80,[::1]:80", "127.0.0.1:80,[::1]:80");
    assert_settled("127.0.0.1:80,127.0.0.1:80,127.0.0.1:81", "127.0.0.1:80,127.0.0.1:81");
    assert_settled("127.0.0.1:80,*:80,[::1]:80", "*:80");
    assert_settled("*:80,*:443", "*:80,*:443");
    assert_settled("[::]:80", "*:80");
    assert_settled("0.0.0.0:80,[::]:80", "0.0.0.0:80,[::]:80");
    assert_settled("[::]:80,0.0.0.0:80", "[::]:80,0.0.0.0:80");
    assert_settled("[::]:80,127.0.0.1:80,[::1]:80", "[::]:80,127.0.0.1:80");
    assert_settled("[::]:80,127.0.0.1:81", "*:80,127.0.0.1:81");
    assert_settled("127.0.0.1:0,127.0.0.1:0", "127.0.0.1:0,127.0.0.1:0");
}

static void test_too_many(void **state)
{
    (void)state;
    struct endpoints endpoints = {0};
    struct endpoint endpoint = of("127.0.0.1:0");
    for (int i = 0; i < ENDPOINTS_MOST; i++) {
        assert_true(endpoints_add(&endpoints, &endpoint));
    }
    assert_false(endpoints_add(&endpoints, &endpoint));
    assert_int_equal(endpoints.count, ENDPOINTS_MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),    cmocka_unit_test(test_what_is_no_number),
        cmocka_unit_test(test_ports),    cmocka_unit_test(test_two_of_them),
        cmocka_unit_test(test_settling), cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
