#include "server/master/respawn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { QUICK_MS = RESPAWN_QUICK_DEATH_MS, START_MS = 1000000 };

/* The chance that leaves a delay as it is, for delays whose jitter reaches so far. */
static uint64_t no_jitter(uint64_t delay_ms)
{
    return delay_ms * RESPAWN_JITTER_PERCENT / 100;
}

static void die(struct respawn *respawn, unsigned times, uint64_t now_ms)
{
    for (unsigned i = 0; i < times; i++) {
        respawn_delay_ms(respawn, 0, now_ms, 0);
    }
}

static void test_the_first_deaths_are_free(void **state)
{
    (void)state;
    struct respawn respawn = {0};
    for (int i = 0; i < RESPAWN_FREE_DEATHS; i++) {
        assert_int_equal(respawn_delay_ms(&respawn, 0, START_MS, 7), 0);
    }
    assert_int_equal(respawn_delay_ms(&respawn, 0, START_MS, no_jitter(RESPAWN_FIRST_DELAY_MS)),
                     RESPAWN_FIRST_DELAY_MS);
}

static void test_delays_double_up_to_a_limit(void **state)
{
    (void)state;
    static const uint64_t delays_ms[] = {0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};
    struct respawn respawn = {0};
    for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
        assert_int_equal(respawn_delay_ms(&respawn, QUICK_MS, START_MS, no_jitter(delays_ms[i])),
                         delays_ms[i]);
    }
    die(&respawn, 1000, START_MS);
    assert_int_equal(respawn_delay_ms(&respawn, 1, START_MS, no_jitter(RESPAWN_LONGEST_DELAY_MS)),
                     RESPAWN_LONGEST_DELAY_MS);
}

static void test_jitter_stays_in_its_bounds_and_reaches_them(void **state)
{
    (void)state;
    uint64_t least_ms = UINT64_MAX;
    uint64_t most_ms = 0;
    for (uint64_t chance = 0; chance < 1000; chance++) {
        struct respawn respawn = {0};
        die(&respawn, RESPAWN_FREE_DEATHS, START_MS);
        uint64_t delay_ms = respawn_delay_ms(&respawn, 0, START_MS, chance);
        least_ms = delay_ms < least_ms ? delay_ms : least_ms;
        most_ms = delay_ms > most_ms ? delay_ms : most_ms;
    }
    assert_int_equal(least_ms, 80);
    assert_int_equal(most_ms, 120);
}

/* Under load a worker that is killed again and again is no crash loop. */
static void test_who_lived_is_replaced_at_once(void **state)
{
    (void)state;
    struct respawn respawn = {0};
    for (int i = 0; i < 100; i++) {
        assert_int_equal(respawn_delay_ms(&respawn, QUICK_MS + 1, START_MS, 0), 0);
    }
    assert_int_equal(respawn_delay_ms(&respawn, UINT64_MAX, START_MS, 0), 0);
    assert_int_equal(respawn.quick_deaths, 0);
}

static void test_a_quiet_minute_ends_the_loop(void **state)
{
    (void)state;
    struct respawn respawn = {0};
    die(&respawn, 6, START_MS);
    uint64_t chance = no_jitter(800);
    assert_int_equal(respawn_delay_ms(&respawn, 0, START_MS + RESPAWN_QUIET_MS - 1, chance), 800);
    /* A long life alone does not end it: the last quick death counts. */
    assert_int_equal(respawn_delay_ms(&respawn, 1000, START_MS + RESPAWN_QUIET_MS, chance), 0);
    assert_int_equal(respawn.quick_deaths, 7);
    assert_int_equal(
        respawn_delay_ms(&respawn, 0, START_MS + 2 * (uint64_t)RESPAWN_QUIET_MS, chance), 0);
    assert_int_equal(respawn.quick_deaths, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_deaths_are_free),
        cmocka_unit_test(test_delays_double_up_to_a_limit),
        cmocka_unit_test(test_jitter_stays_in_its_bounds_and_reaches_them),
        cmocka_unit_test(test_who_lived_is_replaced_at_once),
        cmocka_unit_test(test_a_quiet_minute_ends_the_loop),
    };
    return cmocka_run_group_tests_name("respawn", tests, NULL, NULL);
}
