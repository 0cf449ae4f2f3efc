#include "loadtest/prober/fine_histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct fine_histogram histogram;

static int start(void **state)
{
    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    return 0;
}

static void assert_percentile(uint64_t part, uint64_t of, uint64_t exact)
{
    uint64_t value = fine_histogram_percentile(&histogram, part, of);
    assert_in_range(value, exact, exact + exact / FINE_HISTOGRAM_STEPS);
}

static void test_small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < FINE_HISTOGRAM_LINEAR; value++) {
        assert_int_equal(fine_histogram_bucket_end(fine_histogram_bucket(value)), value);
    }
}

/* Where buckets change their width, and in between. */
static void test_large_values_are_kept_to_a_thousandth(void **state)
{
    (void)state;
    for (unsigned bit = FINE_HISTOGRAM_STEP_BITS + 1;
         bit <= FINE_HISTOGRAM_STEP_BITS + FINE_HISTOGRAM_DOUBLINGS; bit++) {
        uint64_t base = (uint64_t)1 << bit;
        const uint64_t values[] = {base - 1, base, base + 1, base + base / 3, 2 * base - 1};
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            uint64_t end = fine_histogram_bucket_end(fine_histogram_bucket(values[i]));
            assert_in_range(end, values[i], values[i] + values[i] / FINE_HISTOGRAM_STEPS);
        }
    }
}

static void test_buckets_follow_each_other(void **state)
{
    (void)state;
    for (unsigned bucket = 0; bucket + 1 < FINE_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t end = fine_histogram_bucket_end(bucket);
        assert_int_equal(fine_histogram_bucket(end), bucket);
        assert_int_equal(fine_histogram_bucket(end + 1), bucket + 1);
    }
}

static void test_empty(void **state)
{
    (void)state;
    assert_int_equal(fine_histogram_percentile(&histogram, 50, 100), 0);
    assert_int_equal(fine_histogram_percentile(&histogram, 1, 1), 0);
}

static void test_percentiles(void **state)
{
    (void)state;
    for (uint64_t value = 100000; value > 0; value--) {
        fine_histogram_add(&histogram, value);
    }
    assert_int_equal(histogram.count, 100000);
    assert_percentile(50, 100, 50000);
    assert_percentile(90, 100, 90000);
    assert_percentile(99, 100, 99000);
    assert_percentile(999, 1000, 99900);
    assert_int_equal(fine_histogram_percentile(&histogram, 1, 1), 100000);
}

static void test_ranks_are_rounded_up(void **state)
{
    (void)state;
    fine_histogram_add(&histogram, 1);
    assert_int_equal(fine_histogram_percentile(&histogram, 50, 100), 1);
    fine_histogram_add(&histogram, 2);
    assert_int_equal(fine_histogram_percentile(&histogram, 50, 100), 1);
    assert_int_equal(fine_histogram_percentile(&histogram, 51, 100), 2);
    fine_histogram_add(&histogram, 3);
    assert_int_equal(fine_histogram_percentile(&histogram, 50, 100), 2);
}

static void test_no_percentile_exceeds_the_largest_value(void **state)
{
    (void)state;
    fine_histogram_add(&histogram, 1000001);
    assert_int_equal(fine_histogram_percentile(&histogram, 50, 100), 1000001);
}

static void test_values_beyond_the_last_bucket(void **state)
{
    (void)state;
    assert_int_equal(fine_histogram_bucket(UINT64_MAX), FINE_HISTOGRAM_BUCKETS - 1);
    fine_histogram_add(&histogram, UINT64_MAX);
    fine_histogram_add(&histogram, 1);
    assert_int_equal(fine_histogram_percentile(&histogram, 50, 100), 1);
    assert_true(fine_histogram_percentile(&histogram, 99, 100) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_small_values_are_exact, start),
        cmocka_unit_test_setup(test_large_values_are_kept_to_a_thousandth, start),
        cmocka_unit_test_setup(test_buckets_follow_each_other, start),
        cmocka_unit_test_setup(test_empty, start),
        cmocka_unit_test_setup(test_percentiles, start),
        cmocka_unit_test_setup(test_ranks_are_rounded_up, start),
        cmocka_unit_test_setup(test_no_percentile_exceeds_the_largest_value, start),
        cmocka_unit_test_setup(test_values_beyond_the_last_bucket, start),
    };
    return cmocka_run_group_tests_name("fine_histogram", tests, NULL, NULL);
}
