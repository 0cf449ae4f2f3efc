#include "loadtest/prober/timeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static void test_bins(void **state)
{
    (void)state;
    struct timeline timeline = {0};
    timeline_at(&timeline, 0)->ok++;
    timeline_at(&timeline, TIMELINE_BIN_US - 1)->ok++;
    assert_int_equal(timeline.count, 1);
    timeline_at(&timeline, TIMELINE_BIN_US)->failed++;
    assert_int_equal(timeline.count, 2);
    assert_int_equal(timeline.bins[0].ok, 2);
    assert_int_equal(timeline.bins[0].failed, 0);
    assert_int_equal(timeline.bins[1].failed, 1);
    timeline_free(&timeline);
    assert_int_equal(timeline.count, 0);
}

static void test_bins_in_which_nothing_happened_are_zero(void **state)
{
    (void)state;
    enum { FAR = 100000 };
    struct timeline timeline = {0};
    timeline_at(&timeline, 0)->started = 1;
    timeline_at(&timeline, (uint64_t)FAR * TIMELINE_BIN_US)->started = 2;
    assert_int_equal(timeline.count, FAR + 1);
    assert_int_equal(timeline.bins[0].started, 1);
    for (size_t i = 1; i < FAR; i++) {
        assert_int_equal(timeline.bins[i].started + timeline.bins[i].slowest_us, 0);
    }
    assert_int_equal(timeline.bins[FAR].started, 2);
    timeline_free(&timeline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bins),
        cmocka_unit_test(test_bins_in_which_nothing_happened_are_zero),
    };
    return cmocka_run_group_tests_name("timeline", tests, NULL, NULL);
}
