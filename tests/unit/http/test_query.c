#include "common/http/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct http_request request;
static struct http_response response;
static uint64_t number;

static int discard(void **state)
{
    (void)state;
    http_response_free(&response);
    response = (struct http_response){0};
    return 0;
}

static bool read_ms(const char *query)
{
    request.query = (struct span){query, strlen(query)};
    return query_uint(&request, &response, "ms", 10, 60000, &number);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_true(read_ms("ms=60000&x=1"));
    assert_int_equal(number, 60000);
    assert_true(read_ms("x=1"));
    assert_int_equal(number, 10);
    assert_true(read_ms("ms=0"));
    assert_int_equal(number, 0);
}

static void assert_refused(const char *query)
{
    static const char expected[] = "ms must be a number from 0 to 60000";
    http_response_reset(&response);
    assert_false(read_ms(query));
    assert_int_equal(response.status, 400);
    assert_true(response.text.len >= sizeof(expected) - 1);
    assert_memory_equal(response.text.data, expected, sizeof(expected) - 1);
}

static void test_anything_else_is_refused(void **state)
{
    (void)state;
    assert_refused("ms=60001");
    assert_refused("ms=");
    assert_refused("ms=-1");
    assert_refused("ms=ten");
}

static const char *text_of(const char *query)
{
    static char text[8];
    strcpy(text, "nobody");
    request.query = (struct span){query, strlen(query)};
    http_response_reset(&response);
    return query_text(&request, &response, "name", text, sizeof(text)) ? text : NULL;
}

static void test_text_is_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        const char *text;
    } cases[] = {{"name=you", "you"},       {"a=b&name=J%C3%B6rg", "J\xc3\xb6rg"},
                 {"name=a+b%2Bc", "a b+c"}, {"name=%2F&name=x", "/"},
                 {"name=a%26b%3D", "a&b="}, {"name=1234567", "1234567"},
                 {"names=x", "nobody"},     {"name", ""},
                 {"name=%2525", "%25"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(text_of(cases[i].query), cases[i].text);
    }
}

static void test_what_is_no_text_is_refused(void **state)
{
    (void)state;
    static const char expected[] = "name must be percent-encoded text of at most 7 bytes";
    static const char *const queries[] = {"name=12345678", "name=%",   "name=%4",
                                          "name=%zz",      "name=%00", "name=a%0Ab"};
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        assert_null(text_of(queries[i]));
        assert_int_equal(response.status, 400);
        assert_memory_equal(response.text.data, expected, sizeof(expected) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_numbers, discard),
        cmocka_unit_test_teardown(test_anything_else_is_refused, discard),
        cmocka_unit_test_teardown(test_text_is_decoded, discard),
        cmocka_unit_test_teardown(test_what_is_no_text_is_refused, discard),
    };
    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
