/* How many spare threads there may be. */
#include "server/threadpool/spare_threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/failing_check.h"

static struct worker_slot slots[4];
static struct spare_threads spares;

static int make(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        slots[i].state = SLOT_CLAIMED;
    }
    slots[0].spares_wanted = 0;
    spare_threads_open(&spares, slots, 2, 4);
    return 0;
}

static void test_their_places_are_not_taken(void **state)
{
    (void)state;
    assert_int_equal(slots[1].state, SLOT_CLAIMED);
    assert_int_equal(slots[2].state, SLOT_SPARE);
    assert_int_equal(slots[3].state, SLOT_SPARE);
}

static void test_nobody_is_wanted(void **state)
{
    (void)state;
    assert_false(spare_threads_may_start(&spares));
    assert_false(spare_threads_may_end(&spares));
}

static void test_as_many_start_as_are_wanted(void **state)
{
    (void)state;
    slots[0].spares_wanted = 2;
    assert_true(spare_threads_may_start(&spares));
    assert_true(spare_threads_may_start(&spares));
    assert_false(spare_threads_may_start(&spares));
    assert_false(spare_threads_may_end(&spares));
}

static void test_only_the_surplus_ends(void **state)
{
    (void)state;
    slots[0].spares_wanted = 2;
    spare_threads_may_start(&spares);
    spare_threads_may_start(&spares);
    slots[0].spares_wanted = 1;
    assert_true(spare_threads_may_end(&spares));
    assert_false(spare_threads_may_end(&spares));
    slots[0].spares_wanted = 2;
    assert_true(spare_threads_may_start(&spares));
}

static void test_who_could_not_start_does_not_count(void **state)
{
    (void)state;
    slots[0].spares_wanted = 1;
    assert_true(spare_threads_may_start(&spares));
    spare_threads_failed(&spares);
    assert_true(spare_threads_may_start(&spares));
}

static void start_more_than_there_are_places(void)
{
    slots[0].spares_wanted = 3;
    for (int i = 0; i < 3; i++) {
        spare_threads_may_start(&spares);
    }
}

static void fail_who_did_not_start(void)
{
    spare_threads_failed(&spares);
}

static void test_what_callers_must_not_do(void **state)
{
    (void)state;
    assert_check_fails(start_more_than_there_are_places, "running < spares->places");
    assert_check_fails(fail_who_did_not_start, "before > 0");
}

#define TEST(name) cmocka_unit_test_setup(name, make)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_their_places_are_not_taken),         TEST(test_nobody_is_wanted),
        TEST(test_as_many_start_as_are_wanted),        TEST(test_only_the_surplus_ends),
        TEST(test_who_could_not_start_does_not_count), TEST(test_what_callers_must_not_do),
    };
    return cmocka_run_group_tests_name("spare_threads", tests, NULL, NULL);
}
