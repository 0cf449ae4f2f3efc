#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLACK_MS = 5000 }; /* a busy machine may stop us between two looks at the clock */

static uint64_t read_ms(clockid_t id)
{
    struct timespec now;
    assert_int_equal(clock_gettime(id, &now), 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void test_monotonic(void **state)
{
    (void)state;
    uint64_t before_ms = read_ms(CLOCK_MONOTONIC);
    uint64_t ms = clock_monotonic_ms();
    uint64_t us = clock_monotonic_us();
    uint64_t ns = clock_monotonic_ns();
    uint64_t after_ms = read_ms(CLOCK_MONOTONIC);
    assert_in_range(ms, before_ms, after_ms);
    assert_in_range(us / 1000, ms, after_ms);
    assert_in_range(ns / 1000, us, (after_ms + 1) * 1000);
    assert_true(clock_monotonic_ns() >= ns);
}

static void test_realtime(void **state)
{
    (void)state;
    uint64_t before_ms = read_ms(CLOCK_REALTIME);
    uint64_t ms = clock_realtime_ms();
    assert_in_range(ms, before_ms - SLACK_MS, before_ms + SLACK_MS);
}

static uint64_t in_ns(struct timespec time)
{
    assert_in_range(time.tv_nsec, 0, 999999999);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void test_after(void **state)
{
    (void)state;
    static const uint64_t waits_ms[] = {0, 1, 500, 999, 1000, 61999};
    for (size_t i = 0; i < sizeof(waits_ms) / sizeof(waits_ms[0]); i++) {
        uint64_t before_ns = clock_monotonic_ns();
        uint64_t until_ns = in_ns(clock_after(CLOCK_MONOTONIC, waits_ms[i]));
        uint64_t after_ns = clock_monotonic_ns();
        assert_true(until_ns >= before_ns + waits_ms[i] * 1000000);
        assert_true(until_ns <= after_ns + waits_ms[i] * 1000000);
    }
}

static void assert_rendered(uint64_t ms, const char *expected)
{
    char text[CLOCK_ISO8601_BYTES];
    memset(text, 'x', sizeof(text));
    clock_format_iso8601(ms, text);
    assert_string_equal(text, expected);
}

static void test_iso8601(void **state)
{
    (void)state;
    assert_rendered(0, "1970-01-01T00:00:00.000Z");
    assert_rendered(1, "1970-01-01T00:00:00.001Z");
    assert_rendered(951827696099u, "2000-02-29T12:34:56.099Z");
    assert_rendered(1795222923456u, "2026-11-21T01:02:03.456Z");
    assert_rendered(1798761599999u, "2026-12-31T23:59:59.999Z");
    assert_rendered(253402300799999u, "9999-12-31T23:59:59.999Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic),
        cmocka_unit_test(test_realtime),
        cmocka_unit_test(test_after),
        cmocka_unit_test(test_iso8601),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
