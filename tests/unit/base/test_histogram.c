#include "common/base/histogram.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { US = 1000, LAST = HISTOGRAM_BUCKETS - 1, READS = 2000 };

static struct histogram histogram;
static struct histogram_copy copy;

static int start(void **state)
{
    (void)state;
    memset((void *)&histogram, 0, sizeof(histogram));
    memset(&copy, 0xaa, sizeof(copy));
    return 0;
}

static void add(uint64_t ns)
{
    histogram_add(&histogram, ns, 1);
}

static void read_copy(void)
{
    histogram_read(&histogram, &copy);
}

/* ---- Buckets ---- */

static void test_edges_of_every_bucket(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket_begin_ns(0), 0);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        const uint64_t begin = histogram_bucket_begin_ns(i), end = histogram_bucket_end_ns(i);
        assert_true(begin < end);
        assert_int_equal(histogram_bucket(begin), i);
        assert_int_equal(histogram_bucket(end), i);
        if (i > 0) {
            assert_true(histogram_bucket_end_ns(i - 1) + 1 == begin);
            assert_int_equal(histogram_bucket(begin - 1), i - 1);
        }
    }
    assert_true(histogram_bucket_end_ns(LAST) == UINT64_MAX);
}

/* By its edges alone. */
static unsigned find(uint64_t ns)
{
    unsigned i = 0;
    while (ns > histogram_bucket_end_ns(i)) {
        i++;
    }
    return i;
}

static void test_every_duration_has_its_bucket(void **state)
{
    (void)state;
    for (uint64_t ns = 0; ns < 1 << 15; ns++) {
        assert_int_equal(histogram_bucket(ns), find(ns));
    }
    for (uint64_t ns = 1; ns < UINT64_MAX / 5; ns += ns / 3 + 1) {
        assert_int_equal(histogram_bucket(ns), find(ns));
    }
}

static void test_a_bucket_is_a_sixteenth_wide_at_most(void **state)
{
    (void)state;
    const unsigned first = histogram_bucket(US);
    for (unsigned i = first; i < LAST; i++) {
        const uint64_t begin = histogram_bucket_begin_ns(i);
        assert_true(16 * (histogram_bucket_end_ns(i) + 1 - begin) <= begin);
    }
    assert_true(first > 16);
    assert_true(histogram_bucket(UINT64_C(120000000000)) < LAST);
    assert_int_equal(histogram_bucket(UINT64_C(137438953472)), LAST); /* 2 to the power of 37 */
}

/* ---- Counting ---- */

static void test_empty(void **state)
{
    (void)state;
    read_copy();
    assert_int_equal(copy.count, 0);
    assert_int_equal(copy.sum_ns, 0);
    assert_int_equal(copy.max_ns, 0);
    assert_int_equal(histogram_percentile_ns(&copy, 50, 100), 0);
    assert_int_equal(histogram_percentile_ns(&copy, 1, 1), 0);
    assert_int_equal(histogram_count_up_to(&copy, UINT64_MAX), 0);
}

static void test_what_is_added(void **state)
{
    (void)state;
    add(7 * US);
    histogram_add(&histogram, 3 * US, 4);
    add(0);
    add(UINT64_C(200000000000));
    read_copy();
    assert_int_equal(copy.count, 7);
    assert_true(copy.sum_ns == 7 * US + 12 * US + UINT64_C(200000000000));
    assert_true(copy.max_ns == UINT64_C(200000000000));
    assert_int_equal(copy.buckets[0], 1);
    assert_int_equal(copy.buckets[histogram_bucket(3 * US)], 4);
    assert_int_equal(copy.buckets[histogram_bucket(7 * US)], 1);
    assert_int_equal(copy.buckets[LAST], 1);
    histogram_clear(&histogram);
    read_copy();
    assert_int_equal(copy.count, 0);
    assert_int_equal(copy.max_ns, 0);
}

static void assert_percentile(uint64_t part, uint64_t of, uint64_t exact)
{
    assert_in_range(histogram_percentile_ns(&copy, part, of), exact, exact + exact / 16);
}

static void test_percentiles(void **state)
{
    (void)state;
    for (uint64_t us = 100000; us > 0; us--) {
        add(us * US);
    }
    read_copy();
    assert_int_equal(copy.count, 100000);
    assert_percentile(50, 100, 50000 * US);
    assert_percentile(90, 100, 90000 * US);
    assert_percentile(99, 100, 99000 * US);
    assert_percentile(999, 1000, 99900 * US);
    assert_int_equal(histogram_percentile_ns(&copy, 1, 1), 100000 * US);
}

static void test_ranks_are_rounded_up(void **state)
{
    (void)state;
    add(100 * US);
    add(200 * US);
    read_copy();
    assert_percentile(50, 100, 100 * US);
    assert_percentile(51, 100, 200 * US);
    add(300 * US);
    read_copy();
    assert_percentile(50, 100, 200 * US);
}

static void test_no_percentile_exceeds_the_largest(void **state)
{
    (void)state;
    add(1000001);
    read_copy();
    assert_int_equal(histogram_percentile_ns(&copy, 50, 100), 1000001);
    start(NULL);
    add(UINT64_MAX);
    add(US);
    read_copy();
    assert_int_equal(histogram_percentile_ns(&copy, 50, 100), histogram_bucket_end_ns(find(US)));
    assert_true(histogram_percentile_ns(&copy, 99, 100) == UINT64_MAX);
}

static void test_count_up_to(void **state)
{
    (void)state;
    const uint64_t end = histogram_bucket_end_ns(histogram_bucket(100 * US));
    add(10 * US);
    add(100 * US);
    add(UINT64_MAX);
    read_copy();
    assert_int_equal(histogram_count_up_to(&copy, 0), 0);
    assert_int_equal(histogram_count_up_to(&copy, end - 1), 1);
    assert_int_equal(histogram_count_up_to(&copy, end), 2);
    assert_int_equal(histogram_count_up_to(&copy, UINT64_MAX - 1), 2);
    assert_int_equal(histogram_count_up_to(&copy, UINT64_MAX), 3);
}

/* ---- Sums and windows ---- */

static void test_sum(void **state)
{
    (void)state;
    struct histogram_copy sum = {0};
    add(5 * US);
    add(9 * US);
    read_copy();
    histogram_sum(&sum, &copy);
    start(NULL);
    add(5 * US);
    read_copy();
    histogram_sum(&sum, &copy);
    assert_int_equal(sum.count, 3);
    assert_int_equal(sum.sum_ns, 19 * US);
    assert_int_equal(sum.max_ns, 9 * US);
    assert_int_equal(sum.buckets[histogram_bucket(5 * US)], 2);
    histogram_write(&histogram, &sum);
    read_copy();
    assert_memory_equal(&copy, &sum, sizeof(sum));
}

static void test_window(void **state)
{
    (void)state;
    struct histogram_copy earlier, window;
    add(50 * US);
    add(US);
    histogram_read(&histogram, &earlier);
    add(20 * US);
    add(20 * US + 1);
    read_copy();
    histogram_window(&copy, &earlier, &window);
    assert_int_equal(window.count, 2);
    assert_int_equal(window.sum_ns, 40 * US + 1);
    assert_int_equal(window.buckets[histogram_bucket(20 * US)], 2);
    assert_int_equal(window.max_ns, histogram_bucket_end_ns(histogram_bucket(20 * US)));
    add(60 * US + 3);
    read_copy();
    histogram_window(&copy, &earlier, &window);
    assert_int_equal(window.max_ns, 60 * US + 3);
    histogram_window(&copy, &earlier, &copy); /* in place */
    assert_memory_equal(&copy, &window, sizeof(copy));
}

static void test_nothing_happens_in_a_window(void **state)
{
    (void)state;
    struct histogram_copy window;
    add(50 * US);
    read_copy();
    histogram_window(&copy, &copy, &window);
    assert_int_equal(window.count, 0);
    assert_int_equal(window.sum_ns, 0);
    assert_int_equal(window.max_ns, 0);
}

/* One more of the longest: no largest is longer than the largest of all. */
static void test_window_of_the_last_bucket(void **state)
{
    (void)state;
    struct histogram_copy earlier, window;
    add(UINT64_C(150000000000));
    histogram_read(&histogram, &earlier);
    add(UINT64_C(140000000000));
    read_copy();
    histogram_window(&copy, &earlier, &window);
    assert_int_equal(window.count, 1);
    assert_true(window.max_ns == UINT64_C(150000000000));
}

/* The writer has been replaced between the two. */
static void test_a_window_is_never_negative(void **state)
{
    (void)state;
    struct histogram_copy earlier, window;
    histogram_add(&histogram, 50 * US, 100);
    histogram_read(&histogram, &earlier);
    start(NULL);
    histogram_add(&histogram, 50 * US, 3);
    histogram_add(&histogram, 10 * US, 2);
    read_copy();
    histogram_window(&copy, &earlier, &window);
    assert_int_equal(window.count, 2);
    assert_int_equal(window.max_ns, histogram_bucket_end_ns(histogram_bucket(10 * US)));
    assert_in_range(window.sum_ns, 0, 2 * window.max_ns);
}

/* ---- What somebody else has written there ---- */

static void assert_sound(const struct histogram_copy *told)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        assert_true(told->buckets[i] < HISTOGRAM_MOST);
        count += told->buckets[i];
    }
    assert_true(told->count == count);
    assert_true(told->max_ns == 0 || told->buckets[histogram_bucket(told->max_ns)] > 0);
    assert_true(count > 0 || (told->sum_ns == 0 && told->max_ns == 0));
    assert_true(told->max_ns == 0 || told->sum_ns / told->max_ns <= count);
}

static void test_scribbles(void **state)
{
    (void)state;
    static const uint8_t scribbles[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < sizeof(scribbles); i++) {
        memset((void *)&histogram, scribbles[i], sizeof(histogram));
        read_copy();
        assert_sound(&copy);
        atomic_store(&histogram.buckets[3], 5); /* all else is a lie */
        read_copy();
        assert_sound(&copy);
    }
}

static void test_lies_about_sum_and_largest(void **state)
{
    (void)state;
    histogram_add(&histogram, 10 * US, 6);
    atomic_store(&histogram.max_ns, UINT64_MAX);
    atomic_store(&histogram.sum_ns, UINT64_MAX);
    read_copy();
    assert_int_equal(copy.max_ns, histogram_bucket_end_ns(histogram_bucket(10 * US)));
    assert_int_equal(copy.sum_ns, 6 * copy.max_ns);
    atomic_store(&histogram.max_ns, 0);
    read_copy();
    assert_int_equal(copy.max_ns, histogram_bucket_begin_ns(histogram_bucket(10 * US)));
}

/* As many as can be believed, of many processes. */
static void test_sums_do_not_overflow(void **state)
{
    (void)state;
    struct histogram_copy sum = {0};
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        atomic_store(&histogram.buckets[i], HISTOGRAM_MOST - 1);
    }
    read_copy();
    for (int i = 0; i < 1000; i++) {
        uint64_t before = sum.count;
        histogram_sum(&sum, &copy);
        assert_true(sum.count > before);
    }
}

/* ---- While the writer goes on ---- */

static void *write_durations(void *stop)
{
    for (uint64_t i = 0; !atomic_load((_Atomic bool *)stop); i++) {
        add(i % 1000 * US);
    }
    return NULL;
}

static void test_reading_while_it_is_written(void **state)
{
    (void)state;
    static _Atomic bool stop;
    pthread_t writer;
    uint64_t count = 0;
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&writer, NULL, write_durations, &stop), 0);
    for (int i = 0; i < READS; i++) {
        read_copy();
        assert_sound(&copy);
        assert_true(copy.count >= count);
        count = copy.count;
    }
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_edges_of_every_bucket, start),
        cmocka_unit_test_setup(test_every_duration_has_its_bucket, start),
        cmocka_unit_test_setup(test_a_bucket_is_a_sixteenth_wide_at_most, start),
        cmocka_unit_test_setup(test_empty, start),
        cmocka_unit_test_setup(test_what_is_added, start),
        cmocka_unit_test_setup(test_percentiles, start),
        cmocka_unit_test_setup(test_ranks_are_rounded_up, start),
        cmocka_unit_test_setup(test_no_percentile_exceeds_the_largest, start),
        cmocka_unit_test_setup(test_count_up_to, start),
        cmocka_unit_test_setup(test_sum, start),
        cmocka_unit_test_setup(test_window, start),
        cmocka_unit_test_setup(test_nothing_happens_in_a_window, start),
        cmocka_unit_test_setup(test_window_of_the_last_bucket, start),
        cmocka_unit_test_setup(test_a_window_is_never_negative, start),
        cmocka_unit_test_setup(test_scribbles, start),
        cmocka_unit_test_setup(test_lies_about_sum_and_largest, start),
        cmocka_unit_test_setup(test_sums_do_not_overflow, start),
        cmocka_unit_test_setup(test_reading_while_it_is_written, start),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
