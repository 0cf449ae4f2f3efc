/* What was measured of late. */
#include "server/observe/windows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLOTS = 64 };

static struct windows *windows;
static struct histogram histogram; /* of the server, or of a slot */
static uint64_t now_ms;

static int make(void **state)
{
    (void)state;
    windows = windows_create(SLOTS);
    histogram_clear(&histogram);
    now_ms = 5000;
    return 0;
}

static int discard(void **state)
{
    (void)state;
    windows_destroy(windows);
    return 0;
}

static void note(uint64_t passed_ms)
{
    struct latency_copy sum = {0};
    now_ms += passed_ms;
    histogram_read(&histogram, &sum.requests);
    windows_note(windows, now_ms, &sum);
}

static struct window read_window(uint32_t seconds)
{
    struct window window;
    windows_read(windows, WINDOWS_REQUESTS, seconds, &window);
    return window;
}

static void test_nothing_yet(void **state)
{
    (void)state;
    assert_int_equal(read_window(60).span_ms, 0);
    assert_int_equal(read_window(60).count, 0);
    assert_int_equal(window_per_second(&(struct window){0}), 0);
    histogram_add(&histogram, 1000, 100);
    note(0); /* what was before is of no window */
    assert_int_equal(read_window(1).count, 0);
    assert_null(windows_slot(windows, 3));
    assert_null(windows_slot(windows, SLOTS));
}

static void test_durations(void **state)
{
    (void)state;
    note(0);
    histogram_add(&histogram, 1000000, 990); /* 1 ms */
    histogram_add(&histogram, 50000000, 9);
    histogram_add(&histogram, 800000000, 1);
    note(2000);
    const struct window window = read_window(10);
    assert_int_equal(window.span_ms, 2000);
    assert_int_equal(window.count, 1000);
    assert_int_equal(window_per_second(&window), 500000);
    assert_int_equal(window.mean_us, (990 * 1000 + 9 * 50000 + 800000) / 1000);
    assert_in_range(window.p50_us, 1000, 1063);
    assert_in_range(window.p90_us, 1000, 1063);
    assert_in_range(window.p99_us, 1000, 1063);
    assert_in_range(window.p999_us, 50000, 53200);
    assert_int_equal(window.max_us, 800000);
}

/* Each second is left behind by the windows that are shorter. */
static void test_windows_move_on(void **state)
{
    (void)state;
    note(0);
    for (uint64_t second = 1; second <= 75; second++) {
        histogram_add(&histogram, 1000, second);
        note(1000);
        assert_int_equal(read_window(1).count, second);
    }
    assert_int_equal(read_window(10).count, (66 + 75) * 10 / 2);
    assert_int_equal(read_window(10).span_ms, 10000);
    assert_int_equal(read_window(60).count, (16 + 75) * 60 / 2);
    assert_int_equal(read_window(60).span_ms, 60000);
    for (int i = 0; i < 60; i++) {
        note(1000);
    }
    assert_int_equal(read_window(60).count, 0);
}

static void note_slot(uint32_t slot, uint32_t generation)
{
    struct histogram_copy copy;
    histogram_read(&histogram, &copy);
    windows_note_slot(windows, slot, generation, now_ms, &copy);
}

static void test_a_slot(void **state)
{
    (void)state;
    note_slot(3, 1);
    histogram_add(&histogram, 2000000, 5);
    now_ms += 1000;
    note_slot(3, 1);
    assert_int_equal(windows_slot(windows, 3)->count, 5);
    histogram_add(&histogram, 2000000, 2);
    now_ms += 1000;
    note_slot(3, 1);
    assert_int_equal(windows_slot(windows, 3)->count, 7);
    assert_int_equal(windows_slot(windows, 3)->span_ms, 2000);
    assert_in_range(windows_slot(windows, 3)->p99_us, 2000, 2125);
}

/* A successor is in the slot: what the dead had measured is none of its. */
static void test_another_process_in_a_slot(void **state)
{
    (void)state;
    note_slot(3, 1);
    histogram_add(&histogram, 2000000, 500);
    now_ms += 1000;
    note_slot(3, 1);
    histogram_clear(&histogram);
    histogram_add(&histogram, 1000, 501);
    now_ms += 1000;
    note_slot(3, 2);
    const struct window *window = windows_slot(windows, 3);
    assert_int_equal(window->count, 501);
    assert_int_equal(window->p999_us, 1);
    histogram_clear(&histogram); /* its writer has gone wrong */
    now_ms += 1000;
    note_slot(3, 2);
    assert_int_equal(windows_slot(windows, 3)->count, 501);
}

static void test_memory_is_there_for_slots_in_use(void **state)
{
    (void)state;
    const uint64_t empty_bytes = windows_bytes(windows);
    assert_in_range(empty_bytes, 1, 300000);
    for (uint32_t i = 0; i < SLOTS; i++) {
        note_slot(i, 1);
    }
    assert_in_range(windows_bytes(windows), empty_bytes, 2 * 1024 * 1024);
    now_ms += 1000;
    note_slot(5, 1);
    windows_forget_others(windows, now_ms);
    assert_in_range(windows_bytes(windows), empty_bytes, empty_bytes + 30000);
    assert_null(windows_slot(windows, 4));
    assert_non_null(windows_slot(windows, 5));
}

static void test_whatever_was_measured(void **state)
{
    (void)state;
    note(0);
    for (int byte = 0; byte <= 0xff; byte += 0x11) {
        memset((void *)&histogram, byte, sizeof(histogram));
        note(1000);
        note_slot(1, 1);
        const struct window window = read_window(60);
        assert_true(window.p50_us <= window.p99_us && window.p99_us <= window.max_us);
        windows_slot(windows, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_yet, make, discard),
        cmocka_unit_test_setup_teardown(test_durations, make, discard),
        cmocka_unit_test_setup_teardown(test_windows_move_on, make, discard),
        cmocka_unit_test_setup_teardown(test_a_slot, make, discard),
        cmocka_unit_test_setup_teardown(test_another_process_in_a_slot, make, discard),
        cmocka_unit_test_setup_teardown(test_memory_is_there_for_slots_in_use, make, discard),
        cmocka_unit_test_setup_teardown(test_whatever_was_measured, make, discard),
    };
    return cmocka_run_group_tests_name("windows", tests, NULL, NULL);
}
