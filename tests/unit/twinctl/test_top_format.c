#include "server/twinctl/top_format.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

typedef void (*format_fn)(double number, char out[TOP_CELL_BYTES]);

static void assert_shown(format_fn format, double number, const char *expected)
{
    char cell[TOP_CELL_BYTES];
    format(number, cell);
    assert_string_equal(cell, expected);
}

static void test_times(void **state)
{
    (void)state;
    assert_shown(top_format_time, 0, "0us");
    assert_shown(top_format_time, 87, "87us");
    assert_shown(top_format_time, 999.4, "999us");
    assert_shown(top_format_time, 999.5, "1.0ms");
    assert_shown(top_format_time, 2140, "2.1ms");
    assert_shown(top_format_time, 9960, "10ms");
    assert_shown(top_format_time, 999.6e3, "1.0s");
    assert_shown(top_format_time, 60e6, "60s");
    assert_shown(top_format_time, 7380e6, "123m");
    assert_shown(top_format_time, 100 * 3600e6, "100h");
    assert_shown(top_format_time, 500 * 86400e6, "500d");
}

static void test_rates(void **state)
{
    (void)state;
    assert_shown(top_format_rate, 0.25, "0.2");
    assert_shown(top_format_rate, 99.96, "100");
    assert_shown(top_format_rate, 28540.4, "28540");
    assert_shown(top_format_rate, 120000, "120k");
    assert_shown(top_format_rate, 1e9, "1000M");
}

static void test_shares(void **state)
{
    (void)state;
    assert_shown(top_format_share, 0, "0.0%");
    assert_shown(top_format_share, 0.025, "2.5%");
    assert_shown(top_format_share, 0.0996, "10%");
    assert_shown(top_format_share, 1.8, "180%");
}

static void test_memory(void **state)
{
    (void)state;
    assert_shown(top_format_memory, 512, "512K");
    assert_shown(top_format_memory, 5120, "5.0M");
    assert_shown(top_format_memory, 128 * 1024, "128M");
    assert_shown(top_format_memory, 1.25 * 1048576, "1.2G");
    assert_shown(top_format_memory, 64.0 * 1048576, "64G");
}

static void test_counts(void **state)
{
    (void)state;
    assert_shown(top_format_count, 0, "0");
    assert_shown(top_format_count, 999, "999");
    assert_shown(top_format_count, 1000, "1,000");
    assert_shown(top_format_count, 1234567, "1,234,567");
    assert_shown(top_format_count, 1.8e19, "18,000,000,000,000,000,000");
    assert_shown(top_format_count, 1e300, "-");
}

static void test_what_is_not_known(void **state)
{
    (void)state;
    const format_fn all[] = {top_format_time, top_format_rate, top_format_share, top_format_memory,
                             top_format_count};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_shown(all[i], (double)NAN, "-");
        assert_shown(all[i], (double)INFINITY, "-");
        assert_shown(all[i], -1, "-");
    }
}

/* A column keeps its width up to numbers that no server reaches. */
static void test_cells_are_narrow(void **state)
{
    (void)state;
    char cell[TOP_CELL_BYTES];
    for (double number = 0.001; number < 1e13; number *= 1.07) {
        top_format_time(number, cell);
        assert_true(strlen(cell) <= 5);
        top_format_memory(number < 1e9 ? number : 1e9, cell);
        assert_true(strlen(cell) <= 5);
        top_format_rate(number < 9e9 ? number : 9e9, cell);
        assert_true(strlen(cell) <= 6);
    }
}

static void test_texts_are_harmless(void **state)
{
    (void)state;
    char out[8];
    top_format_harmless("a\x1b[2J\x9b", out, sizeof(out));
    assert_string_equal(out, "a?[2J?");
    top_format_harmless("0123456789", out, sizeof(out));
    assert_string_equal(out, "0123456");
    top_format_harmless(NULL, out, sizeof(out));
    assert_string_equal(out, "");
}

static void assert_folded(const char *text, size_t width, const char *line, const char *rest)
{
    size_t next;
    size_t bytes = top_format_fold(text, strlen(text), width, &next);
    assert_int_equal(bytes, strlen(line));
    assert_memory_equal(text, line, bytes);
    assert_string_equal(text + next, rest);
}

static void test_lines_are_folded(void **state)
{
    (void)state;
    assert_folded("one two", 7, "one two", "");
    assert_folded("one two", 6, "one", "two");
    assert_folded("one two", 3, "one", "two");
    assert_folded("one two", 2, "on", "e two");
    assert_folded("one\ntwo", 80, "one", "two");
    assert_folded("one\n", 3, "one", "");
    assert_folded("\none", 3, "", "one");
    assert_folded(" one", 2, " o", "ne");
    assert_folded("abc", 1, "a", "bc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_what_is_not_known),
        cmocka_unit_test(test_cells_are_narrow),
        cmocka_unit_test(test_texts_are_harmless),
        cmocka_unit_test(test_lines_are_folded),
    };
    return cmocka_run_group_tests_name("top_format", tests, NULL, NULL);
}
