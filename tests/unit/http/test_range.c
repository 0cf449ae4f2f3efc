#include "common/http/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { MAX_RANGES = 4 };

#define HUGE_NUMBER "99999999999999999999999999999999999999999"
#define MAX_U64     "18446744073709551615"
#define PAST_U64    "18446744073709551616"

struct range_case {
    const char *header;
    uint64_t size_bytes;
    enum range_result result;
    size_t count;
    struct byte_range ranges[MAX_RANGES];
};

/* Header and ranges lie in memory of exactly their size, so that a sanitizer sees a step too far.
 */
static void check(const struct range_case *c)
{
    size_t count = 99;
    struct byte_range *ranges = malloc(MAX_RANGES * sizeof *ranges);
    assert_non_null(ranges);
    size_t len = strlen(c->header);
    char *header = malloc(len + (len == 0));
    assert_non_null(header);
    memcpy(header, c->header, len);
    enum range_result result =
        range_parse((struct span){header, len}, c->size_bytes, ranges, MAX_RANGES, &count);
    if (result != c->result || count != c->count) {
        fail_msg("\"%s\" of %" PRIu64 ": result %d, count %zu; expected %d, %zu", c->header,
                 c->size_bytes, (int)result, count, (int)c->result, c->count);
    }
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].first != c->ranges[i].first || ranges[i].last != c->ranges[i].last) {
            fail_msg("\"%s\" of %" PRIu64 ": range %zu is %" PRIu64 "-%" PRIu64, c->header,
                     c->size_bytes, i, ranges[i].first, ranges[i].last);
        }
    }
    free(header);
    free(ranges);
}

static void check_all(const struct range_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check(&cases[i]);
    }
}

/* RFC 9110, 14.1.2: a representation of 10000 bytes. */
static void test_examples_of_the_rfc(void **state)
{
    (void)state;
    static const struct range_case CASES[] = {
        {"bytes=0-499", 10000, RANGE_SATISFIABLE, 1, {{0, 499}}},
        {"bytes=500-999", 10000, RANGE_SATISFIABLE, 1, {{500, 999}}},
        {"bytes=-500", 10000, RANGE_SATISFIABLE, 1, {{9500, 9999}}},
        {"bytes=9500-", 10000, RANGE_SATISFIABLE, 1, {{9500, 9999}}},
        {"bytes=0-0,-1", 10000, RANGE_SATISFIABLE, 2, {{0, 0}, {9999, 9999}}},
        {"bytes= 0-0, 4500-5499, -1000",
         10000,
         RANGE_SATISFIABLE,
         3,
         {{0, 0}, {4500, 5499}, {9000, 9999}}},
        {"bytes=500-600,601-999", 10000, RANGE_SATISFIABLE, 2, {{500, 600}, {601, 999}}},
        {"bytes=500-700,601-999", 10000, RANGE_SATISFIABLE, 2, {{500, 700}, {601, 999}}},
    };
    check_all(CASES, COUNT(CASES));
}

static void test_single_ranges(void **state)
{
    (void)state;
    static const struct range_case CASES[] = {
        {"bytes=0-", 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=0-0", 100, RANGE_SATISFIABLE, 1, {{0, 0}}},
        {"bytes=0-0", 1, RANGE_SATISFIABLE, 1, {{0, 0}}},
        {"bytes=99-99", 100, RANGE_SATISFIABLE, 1, {{99, 99}}},
        {"bytes=99-", 100, RANGE_SATISFIABLE, 1, {{99, 99}}},
        {"bytes=99-100", 100, RANGE_SATISFIABLE, 1, {{99, 99}}},
        {"bytes=0-99", 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=0-100", 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=007-008", 100, RANGE_SATISFIABLE, 1, {{7, 8}}},
        {"bytes=-1", 100, RANGE_SATISFIABLE, 1, {{99, 99}}},
        {"bytes=-99", 100, RANGE_SATISFIABLE, 1, {{1, 99}}},
        {"bytes=-100", 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=-101", 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"BYTES=0-1", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
        {"Bytes=0-1", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
        {"bytes=0-1 ", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
        {"bytes=\t0-1", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
    };
    check_all(CASES, COUNT(CASES));
}

static void test_unsatisfiable_ranges(void **state)
{
    (void)state;
    static const struct range_case CASES[] = {
        {"bytes=100-", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=100-100", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=1000-2000", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=-0", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=-000", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=100-,200-300,-0", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=0-0", 0, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=-1", 0, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=-0", 0, RANGE_UNSATISFIABLE, 0, {{0}}},
    };
    check_all(CASES, COUNT(CASES));
}

static void test_lists(void **state)
{
    (void)state;
    static const struct range_case CASES[] = {
        {"bytes=0-1,4-5", 100, RANGE_SATISFIABLE, 2, {{0, 1}, {4, 5}}},
        {"bytes=0-1 , 4-5", 100, RANGE_SATISFIABLE, 2, {{0, 1}, {4, 5}}},
        {"bytes=0-1\t,\t \t4-5", 100, RANGE_SATISFIABLE, 2, {{0, 1}, {4, 5}}},
        {"bytes=,0-1", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
        {"bytes=0-1,", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
        {"bytes=, ,,0-1,, ,\t,4-5,,", 100, RANGE_SATISFIABLE, 2, {{0, 1}, {4, 5}}},
        /* the order of the request, and touching or overlapping ranges, are kept */
        {"bytes=4-5,0-1", 100, RANGE_SATISFIABLE, 2, {{4, 5}, {0, 1}}},
        {"bytes=0-9,0-9", 100, RANGE_SATISFIABLE, 2, {{0, 9}, {0, 9}}},
        {"bytes=0-49,50-99", 100, RANGE_SATISFIABLE, 2, {{0, 49}, {50, 99}}},
        /* what lies behind the end is dropped */
        {"bytes=0-1,100-", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
        {"bytes=100-,0-1", 100, RANGE_SATISFIABLE, 1, {{0, 1}}},
        {"bytes=200-300,-0,98-200,100-", 100, RANGE_SATISFIABLE, 1, {{98, 99}}},
    };
    check_all(CASES, COUNT(CASES));
}

static void test_what_is_ignored(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "",
        "b",
        "bytes",
        "bytes=",
        "bytes= ",
        "bytes=,",
        "bytes=, ,",
        "bytes=-",
        "bytes=--1",
        "bytes=-1-",
        "bytes=-1-2",
        "bytes=0",
        "bytes=0--1",
        "bytes=0-1-2",
        "bytes=0-1-",
        "bytes=1-0",
        "bytes=200-100",
        "bytes=a-b",
        "bytes=0-b",
        "bytes=0x0-1",
        "bytes=0-0x1",
        "bytes=+0-1",
        "bytes=0-+1",
        "bytes=0 -1",
        "bytes=0- 1",
        "bytes=- 1",
        "bytes=0.5-1",
        "bytes=0-1;4-5",
        "bytes=0-1 4-5",
        "bytes=*",
        "bytes=0-*",
        "bytes 0-1",
        "bytes 0-1/100",
        "bytes =0-1",
        "bytes:0-1",
        "bytes==0-1",
        " bytes=0-1",
        "byte=0-1",
        "bytess=0-1",
        "items=0-1",
        "none=0-1",
        "seconds=0-1",
        "=0-1",
        "0-1",
        "bytes=/-1",
        "bytes=:-1",
        "bytes=0-/",
        "bytes=\xb1-\xb2",
        /* one bad member spoils the list, wherever it stands */
        "bytes=0-1,x",
        "bytes=x,0-1",
        "bytes=0-1,5-4",
        "bytes=5-4,0-1",
        "bytes=200-,5-4",
        "bytes=0-1,-",
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        check(&(struct range_case){CASES[i], 100, RANGE_NONE, 0, {{0}}});
    }
}

static void test_absent_header(void **state)
{
    (void)state;
    struct byte_range ranges[MAX_RANGES];
    size_t count = 99;
    assert_int_equal(range_parse((struct span){NULL, 0}, 100, ranges, MAX_RANGES, &count),
                     RANGE_NONE);
    assert_int_equal(count, 0);
}

static void test_the_length_of_the_header_counts(void **state)
{
    (void)state;
    struct byte_range range;
    size_t count = 99;
    assert_int_equal(range_parse((struct span){"bytes=0-123", 9}, 100, &range, 1, &count),
                     RANGE_SATISFIABLE);
    assert_int_equal(range.last, 1);
    assert_int_equal(range_parse(SPAN("bytes=0-1\0"), 100, &range, 1, &count), RANGE_NONE);
}

static void test_numbers_that_do_not_fit(void **state)
{
    (void)state;
    static const struct range_case CASES[] = {
        {"bytes=0-" MAX_U64, 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=0-" PAST_U64, 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=0-" HUGE_NUMBER, 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=-" MAX_U64, 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=-" PAST_U64, 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=-" HUGE_NUMBER, 100, RANGE_SATISFIABLE, 1, {{0, 99}}},
        {"bytes=" MAX_U64 "-", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=" PAST_U64 "-", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=" HUGE_NUMBER "-", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=" HUGE_NUMBER "-" HUGE_NUMBER, 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=" PAST_U64 "-5", 100, RANGE_NONE, 0, {{0}}},
        {"bytes=" HUGE_NUMBER "-5", 100, RANGE_NONE, 0, {{0}}},
        /* 2^64 + 5 is not 5 */
        {"bytes=18446744073709551621-", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=184467440737095516150-", 100, RANGE_UNSATISFIABLE, 0, {{0}}},
        /* sizes at the edge */
        {"bytes=0-", UINT64_MAX, RANGE_SATISFIABLE, 1, {{0, UINT64_MAX - 1}}},
        {"bytes=18446744073709551614-",
         UINT64_MAX,
         RANGE_SATISFIABLE,
         1,
         {{UINT64_MAX - 1, UINT64_MAX - 1}}},
        {"bytes=18446744073709551609-18446744073709551610",
         UINT64_MAX,
         RANGE_SATISFIABLE,
         1,
         {{18446744073709551609u, 18446744073709551610u}}},
        {"bytes=" MAX_U64 "-", UINT64_MAX, RANGE_UNSATISFIABLE, 0, {{0}}},
        {"bytes=-" MAX_U64, UINT64_MAX, RANGE_SATISFIABLE, 1, {{0, UINT64_MAX - 1}}},
        {"bytes=0-,0-", UINT64_MAX, RANGE_NONE, 0, {{0}}},
    };
    check_all(CASES, COUNT(CASES));
}

static void test_more_than_the_caller_wants(void **state)
{
    (void)state;
    static const struct range_case CASES[] = {
        {"bytes=0-0,1-1,2-2,3-3", 100, RANGE_SATISFIABLE, 4, {{0, 0}, {1, 1}, {2, 2}, {3, 3}}},
        {"bytes=0-0,,1-1,,2-2,,3-3,,", 100, RANGE_SATISFIABLE, 4, {{0, 0}, {1, 1}, {2, 2}, {3, 3}}},
        {"bytes=0-0,1-1,2-2,3-3,4-4", 100, RANGE_NONE, 0, {{0}}},
        /* dropped members count: a list of thousands is not read to its end */
        {"bytes=0-0,1-1,2-2,3-3,100-", 100, RANGE_NONE, 0, {{0}}},
        {"bytes=100-,101-,102-,103-,104-", 100, RANGE_NONE, 0, {{0}}},
    };
    check_all(CASES, COUNT(CASES));
    struct byte_range range;
    size_t count = 99;
    assert_int_equal(range_parse(SPAN("bytes=0-0,1-1"), 100, &range, 1, &count), RANGE_NONE);
    assert_int_equal(range_parse(SPAN("bytes=0-0"), 100, &range, 0, &count), RANGE_NONE);
    assert_int_equal(count, 0);
}

/* CVE-2011-3192: many overlapping ranges must not send the file many times. */
static void test_ranges_longer_than_the_file_together(void **state)
{
    (void)state;
    static const struct range_case CASES[] = {
        {"bytes=0-,0-", 100, RANGE_NONE, 0, {{0}}},
        {"bytes=0-,-1", 100, RANGE_NONE, 0, {{0}}},
        {"bytes=0-50,50-99", 100, RANGE_NONE, 0, {{0}}},
        {"bytes=0-49,50-99", 100, RANGE_SATISFIABLE, 2, {{0, 49}, {50, 99}}},
        {"bytes=0-49,50-99,100-", 100, RANGE_SATISFIABLE, 2, {{0, 49}, {50, 99}}},
        {"bytes=0-49,50-99,5-5", 100, RANGE_NONE, 0, {{0}}},
        {"bytes=0-0,-1", 1, RANGE_NONE, 0, {{0}}},
        {"bytes=0-0,-1", 2, RANGE_SATISFIABLE, 2, {{0, 0}, {1, 1}}},
    };
    check_all(CASES, COUNT(CASES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_of_the_rfc),
        cmocka_unit_test(test_single_ranges),
        cmocka_unit_test(test_unsatisfiable_ranges),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_what_is_ignored),
        cmocka_unit_test(test_absent_header),
        cmocka_unit_test(test_the_length_of_the_header_counts),
        cmocka_unit_test(test_numbers_that_do_not_fit),
        cmocka_unit_test(test_more_than_the_caller_wants),
        cmocka_unit_test(test_ranges_longer_than_the_file_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
