/* How many tell at a time, and what becomes of the others; processes and time are the test's. */
#include "server/crash/tellers.h"

#include "common/base/log.h"
#include "common/base/memory.h"
#include "tests/unit/failing_call.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { FIRST_PID = 4711 };

static struct scoreboard *const board = (void *)&(char){0}; /* handed on, and not looked at */
static struct tellers tellers;
static uint64_t now_ms;
static pid_t next_pid; /* -1: none can be forked */
static unsigned told;  /* by the master itself */
static pid_t killed;

WRAPPED(uint64_t, clock_monotonic_ms, void)
{
    return now_ms;
}

WRAPPED(pid_t, fork, void)
{
    return next_pid < 0 ? -1 : next_pid++;
}

WRAPPED(int, kill, pid_t pid, int number)
{
    assert_int_equal(number, SIGKILL);
    killed = pid;
    return 0;
}

static void resolve(struct tale *tale)
{
    (void)tale;
    fail_msg("names are for tellers");
}

static void tell(const struct tale *tale, struct scoreboard *scoreboard)
{
    (void)tale;
    assert_ptr_equal(scoreboard, board);
    told++;
}

static const struct tale_kind kind = {"test", resolve, tell};

static int make(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR + 1);
    now_ms = 1000000;
    next_pid = FIRST_PID;
    told = 0;
    killed = 0;
    tellers_open(&tellers, board);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    tellers_close(&tellers);
    return 0;
}

static void add(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct tale *tale = memory_alloc_zeroed(1, sizeof(*tale));
        tale->kind = &kind;
        tellers_add(&tellers, tale);
    }
}

static unsigned started(void)
{
    return (unsigned)(next_pid - FIRST_PID);
}

static void test_nothing_to_tell(void **state)
{
    (void)state;
    tellers_run(&tellers);
    assert_int_equal(started(), 0);
    assert_int_equal(tellers_due_ms(&tellers), 0);
    assert_false(tellers_reap(&tellers, FIRST_PID, 0));
}

static void test_so_many_at_a_time(void **state)
{
    (void)state;
    add(5);
    for (int i = 0; i < 10; i++) {
        tellers_run(&tellers);
    }
    assert_int_equal(started(), TELLERS);
    assert_true(tellers_reap(&tellers, FIRST_PID, 0));
    assert_false(tellers_reap(&tellers, FIRST_PID, 0)); /* once */
    tellers_run(&tellers);
    assert_int_equal(started(), TELLERS + 1);
    assert_int_equal(told, 0);
}

static void test_who_hangs_is_killed(void **state)
{
    (void)state;
    add(1);
    tellers_run(&tellers);
    uint64_t due_ms = tellers_due_ms(&tellers);
    assert_int_equal(due_ms, now_ms + TELLER_OVERDUE_S * 1000);
    now_ms = due_ms - 1;
    tellers_run(&tellers);
    assert_int_equal(killed, 0);
    now_ms = due_ms;
    tellers_run(&tellers);
    assert_int_equal(killed, FIRST_PID);
    assert_true(tellers_due_ms(&tellers) > now_ms); /* no busy loop meanwhile */
    assert_int_equal(told, 0);
    assert_true(tellers_reap(&tellers, FIRST_PID, SIGKILL));
    assert_int_equal(told, 1);
    assert_int_equal(tellers_due_ms(&tellers), 0);
}

/* It ends itself when it takes too long, and a damaged file ends it. */
static void test_what_a_teller_has_not_told_is_told(void **state)
{
    (void)state;
    static const int failures[] = {SIGALRM, SIGSEGV, 1 << 8};
    add(sizeof(failures) / sizeof(failures[0]));
    for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        tellers_run(&tellers);
        assert_true(tellers_reap(&tellers, FIRST_PID + (pid_t)i, failures[i]));
        assert_int_equal(told, i + 1);
    }
}

static void test_without_a_process_it_is_told_at_once(void **state)
{
    (void)state;
    next_pid = -1;
    add(3);
    tellers_run(&tellers);
    tellers_run(&tellers);
    assert_int_equal(told, 3);
    assert_int_equal(tellers_due_ms(&tellers), 0);
}

static void test_of_too_many_the_oldest_are_given_up(void **state)
{
    (void)state;
    add(TALES_WAITING + 7);
    assert_int_equal(tellers.waiting_count, TALES_WAITING);
    assert_int_equal(tellers.given_up, 7);
    tellers_run(&tellers);
    assert_int_equal(tellers.given_up, 0); /* in the log */
}

static void test_what_waits_at_the_end_is_told(void **state)
{
    (void)state;
    add(4);
    tellers_close(&tellers);
    assert_int_equal(told, 4);
    assert_int_equal(tellers.waiting_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_to_tell),
        TEST(test_so_many_at_a_time),
        TEST(test_who_hangs_is_killed),
        TEST(test_what_a_teller_has_not_told_is_told),
        TEST(test_without_a_process_it_is_told_at_once),
        TEST(test_of_too_many_the_oldest_are_given_up),
        TEST(test_what_waits_at_the_end_is_told),
    };
    return cmocka_run_group_tests_name("tellers", tests, NULL, NULL);
}
