#include "common/base/decimal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static uint64_t number;

static void test_digits(void **state)
{
    (void)state;
    assert_true(decimal_parse("0", 0, 9, &number));
    assert_int_equal(number, 0);
    assert_true(decimal_parse("007", 0, 9, &number));
    assert_int_equal(number, 7);
    assert_true(decimal_parse("18446744073709551615", 0, UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
}

static void test_nothing_else(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " 1",
                                        "1 ",
                                        "+1",
                                        "-1",
                                        "0x10",
                                        "1e3",
                                        "1.0",
                                        "1\n",
                                        "a",
                                        "18446744073709551616",
                                        "99999999999999999999999999"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(decimal_parse(texts[i], 0, UINT64_MAX, &number));
    }
}

static void test_bounds(void **state)
{
    (void)state;
    assert_false(decimal_parse("4", 5, 7, &number));
    assert_true(decimal_parse("5", 5, 7, &number));
    assert_true(decimal_parse("7", 5, 7, &number));
    assert_false(decimal_parse("8", 5, 7, &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_nothing_else),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
