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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_numbers, discard),
        cmocka_unit_test_teardown(test_anything_else_is_refused, discard),
    };
    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
