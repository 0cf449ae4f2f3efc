#include "server/supervise/respawn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { QUICK_MS = RESPAWN_QUICK_DEATH_MS, LONG_MS = RESPAWN_LONG_LIFE_MS };

static void test_the_first_deaths_are_free(void **state)
{
    (void)state;
    struct respawn respawn = {0};
    for (int i = 0; i < RESPAWN_FREE_DEATHS; i++) {
        assert_int_equal(respawn_delay_ms(&respawn, 0), 0);
    }
    assert_int_equal(respawn_delay_ms(&respawn, 0), RESPAWN_FIRST_DELAY_MS);
}

static void test_delays_double_up_to_a_limit(void **state)
{
    (void)state;
    static const uint64_t delays_ms[] = {0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};
    struct respawn respawn = {0};
    for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
        assert_int_equal(respawn_delay_ms(&respawn, QUICK_MS), delays_ms[i]);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(respawn_delay_ms(&respawn, 1), RESPAWN_LONGEST_DELAY_MS);
    }
}

/* Under load a worker that is killed again and again is no crash loop. */
static void test_who_lived_is_replaced_at_once(void **state)
{
    (void)state;
    struct respawn respawn = {0};
    for (int i = 0; i < 100; i++) {
        assert_int_equal(respawn_delay_ms(&respawn, QUICK_MS + 1), 0);
    }
    assert_int_equal(respawn.quick_deaths, 0);
}

static void test_a_long_life_ends_the_loop(void **state)
{
    (void)state;
    struct respawn respawn = {0};
    for (int i = 0; i < 6; i++) {
        respawn_delay_ms(&respawn, 0);
    }
    assert_int_equal(respawn_delay_ms(&respawn, LONG_MS), 0);
    assert_int_equal(respawn_delay_ms(&respawn, 0), 800); /* that was not long enough */
    assert_int_equal(respawn_delay_ms(&respawn, LONG_MS + 1), 0);
    assert_int_equal(respawn_delay_ms(&respawn, 0), 0);
    assert_int_equal(respawn_delay_ms(&respawn, UINT64_MAX), 0);
    assert_int_equal(respawn.quick_deaths, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_deaths_are_free),
        cmocka_unit_test(test_delays_double_up_to_a_limit),
        cmocka_unit_test(test_who_lived_is_replaced_at_once),
        cmocka_unit_test(test_a_long_life_ends_the_loop),
    };
    return cmocka_run_group_tests_name("respawn", tests, NULL, NULL);
}
