/* When a process is replaced; time and memory are the test's. */
#include "server/master/master_internal.h"
#include "server/master/proc.h"
#include "tests/unit/failing_call.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLOTS = 4, PID = 4711, START_MS = 1000000, LIMIT = 1000 };

static struct server server;
static struct master master;
static struct child children[2]; /* of two threads each */
static uint64_t now_ms;
static uint64_t memory_kib;
static int why_unreadable;
static int replaced[2]; /* times */

WRAPPED(uint64_t, clock_monotonic_ms, void)
{
    return now_ms;
}

WRAPPED(uint64_t, clock_monotonic_ns, void)
{
    return now_ms * 1000000;
}

WRAPPED(uint64_t, proc_pss_kib, pid_t pid)
{
    errno = why_unreadable;
    return pid == PID ? memory_kib : 1;
}

WRAPPED(bool, rolling_request, struct master *of, struct child *child)
{
    assert_ptr_equal(of, &master);
    replaced[child - children]++;
    return true;
}

static int make(void **state)
{
    (void)state;
    now_ms = START_MS;
    memory_kib = LIMIT;
    replaced[0] = replaced[1] = 0;
    server = (struct server){.scoreboard = scoreboard_create(SLOTS)};
    log_set_level(LOG_ERROR + 1);
    master = (struct master){.server = &server};
    TAILQ_INIT(&master.children);
    for (uint32_t i = 0; i < 2; i++) {
        children[i] = (struct child){.pid = PID + (pid_t)i,
                                     .first_slot = 2 * i,
                                     .slot_count = 2,
                                     .started_ns = START_MS * UINT64_C(1000000),
                                     .ready = true};
        TAILQ_INSERT_TAIL(&master.children, &children[i], link);
    }
    return 0;
}

static int discard(void **state)
{
    (void)state;
    scoreboard_destroy(server.scoreboard);
    return 0;
}

static void pass(uint64_t ms)
{
    for (uint64_t end_ms = now_ms + ms; now_ms < end_ms;) {
        now_ms += 100;
        recycling_run(&master);
    }
}

static void assert_replaced(bool first, bool second)
{
    assert_int_equal(replaced[0] > 0, first);
    assert_int_equal(replaced[1] > 0, second);
}

static void test_jitter(void **state)
{
    (void)state;
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (uint64_t chance = 0; chance < LIMIT; chance++) {
        uint64_t limit = recycling_jitter(LIMIT, chance);
        least = limit < least ? limit : least;
        most = limit > most ? limit : most;
    }
    assert_int_equal(least, 900);
    assert_int_equal(most, 1000);
    assert_int_equal(recycling_jitter(1, UINT64_MAX), 1);
    assert_int_equal(recycling_jitter(0, 5), 0);
}

static void test_off(void **state)
{
    (void)state;
    server.scoreboard->slots[0].counters.requests_started = 1000000;
    memory_kib = 1000000;
    pass(100000);
    assert_replaced(false, false);
    assert_int_equal(recycling_due_ms(&master), 0);
}

static void test_by_requests(void **state)
{
    (void)state;
    server.config.recycle_after_requests = LIMIT;
    server.scoreboard->slots[0].counters.requests_started = LIMIT / 2;
    server.scoreboard->slots[1].counters.requests_started = LIMIT * 2 / 5 - 1;
    server.scoreboard->slots[3].counters.requests_started = LIMIT;
    pass(1000);
    assert_replaced(false, true);
    server.scoreboard->slots[1].counters.requests_started = LIMIT / 2;
    pass(1000);
    assert_replaced(true, true);
    assert_in_range(recycling_due_ms(&master), now_ms + 1, now_ms + 1000);
}

static void test_by_age(void **state)
{
    (void)state;
    server.config.recycle_after_s = 10;
    children[0].started_ns -= UINT64_C(5000000000);
    pass(3900);
    assert_replaced(false, false);
    pass(2000);
    assert_replaced(true, false);
    pass(5000);
    assert_replaced(true, true);
}

static void test_by_memory(void **state)
{
    (void)state;
    server.config.recycle_above_pss_kib = LIMIT;
    pass(20000);
    assert_replaced(false, false);
    memory_kib = LIMIT + 1;
    pass(4000);
    assert_replaced(true, false);
}

static void test_memory_that_cannot_be_read(void **state)
{
    (void)state;
    server.config.recycle_above_pss_kib = 1;
    memory_kib = 0;
    why_unreadable = ESRCH; /* it has just ended */
    pass(20000);
    assert_false(master.recycling.blind);
    why_unreadable = EACCES;
    pass(20000);
    assert_replaced(false, false);
    assert_true(master.recycling.blind);
}

static void test_a_young_process_may_be_large(void **state)
{
    (void)state;
    server.config.recycle_above_pss_kib = LIMIT;
    memory_kib = LIMIT + 1;
    pass(4900);
    assert_replaced(false, false);
    pass(4000);
    assert_replaced(true, false);
}

static void test_who_retires_or_is_not_ready_is_left_alone(void **state)
{
    (void)state;
    server.config.recycle_after_s = 1;
    children[0].retiring = true;
    children[1].ready = false;
    pass(5000);
    assert_replaced(false, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jitter),
        TEST(test_off),
        TEST(test_by_requests),
        TEST(test_by_age),
        TEST(test_by_memory),
        TEST(test_memory_that_cannot_be_read),
        TEST(test_a_young_process_may_be_large),
        TEST(test_who_retires_or_is_not_ready_is_left_alone),
    };
    return cmocka_run_group_tests_name("recycling", tests, NULL, NULL);
}
