/* Processes that live are replaced, one after the other and without a gap. */
#include "tests/unit/master/master_testing.h"

enum { RETRY_MS = 200, REPLACE_AGAIN_MS = 10000 };

static void begin(void)
{
    pass(1000);
    rolling_replace_all(&master);
    turn();
}

static void test_one_after_the_other(void **state)
{
    (void)state;
    begin();
    for (uint32_t i = 0; i < PROCESSES; i++) {
        pid_t old = FIRST_PID + (pid_t)i;
        pid_t successor = FIRST_PID + PROCESSES + (pid_t)i;
        assert_int_equal(last_pid(), successor); /* and no other one yet */
        assert_seat(i, old, successor);
        assert_int_equal(fake(old)->order_count, 0); /* it serves until the other does */
        pass(500);
        assert_int_equal(last_pid(), successor);
        become_ready(successor);
        assert_seat(i, successor, NONE);
        assert_true(was_told(old, SIGUSR2));
        assert_int_equal(server.scoreboard->slots[i].draining, 1);
    }
    assert_false(master.rolling);
    for (pid_t i = 0; i < PROCESSES; i++) {
        exit_with(FIRST_PID + i, 0);
    }
    pass(60000);
    assert_int_equal(forks, 2 * PROCESSES);
    assert_int_equal(count_children(), PROCESSES);
    assert_int_equal(server.scoreboard->deaths, 0);
}

static void test_who_does_not_retire_in_time_is_killed(void **state)
{
    (void)state;
    begin();
    become_ready(last_pid());
    pass(DRAIN_MS + STOP_PATIENCE_MS - 1);
    assert_false(was_told(FIRST_PID, SIGKILL));
    pass(1);
    assert_true(was_told(FIRST_PID, SIGKILL));
}

/* The old one goes on, and the next try waits. */
static void test_a_successor_that_cannot_start(void **state)
{
    (void)state;
    begin();
    exit_with(last_pid(), 3);
    assert_seat(0, FIRST_PID, NONE);
    assert_int_equal(fake(FIRST_PID)->order_count, 0);
    /* those of other seats need not wait for it */
    assert_seat(1, FIRST_PID + 1, last_pid());
    become_ready(last_pid());
    become_ready(last_pid());
    assert_seat(2, last_pid(), NONE);
    int seen = forks;
    pass(RETRY_MS);
    assert_int_equal(forks, seen + 1);
    assert_seat(0, FIRST_PID, last_pid());
    become_ready(last_pid());
    assert_false(master.rolling);
}

static void test_a_successor_that_never_can_start_is_tried_ever_more_rarely(void **state)
{
    (void)state;
    pass(1000);
    rolling_replace(&master, 0);
    turn();
    for (int i = 0; i < 8; i++) {
        exit_with(last_pid(), 3);
        pass(RESPAWN_LONGEST_DELAY_MS * 2);
        assert_seat(0, FIRST_PID, last_pid());
    }
    int seen = forks;
    exit_with(last_pid(), 3);
    pass(RESPAWN_LONGEST_DELAY_MS / 2);
    assert_int_equal(forks, seen);
    pass(RESPAWN_LONGEST_DELAY_MS);
    assert_int_equal(forks, seen + 1);
    become_ready(last_pid()); /* and then its past is forgotten */
    assert_int_equal(master.seats[0].respawn.quick_deaths, 0);
}

static void test_a_successor_that_is_not_ready_in_time(void **state)
{
    (void)state;
    begin();
    pid_t successor = last_pid();
    pass(START_TIMEOUT_MS);
    assert_true(was_told(successor, SIGKILL));
    assert_int_equal(last_pid(), successor);
    die_of(successor, SIGKILL);
    assert_seat(0, FIRST_PID, NONE);
    assert_seat(1, FIRST_PID + 1, last_pid());
}

/* A vacant seat is filled as any other: whoever comes is a new one. */
static void test_who_dies_before_its_turn_needs_no_successor(void **state)
{
    (void)state;
    begin();
    die_of(FIRST_PID + 1, SIGSEGV);
    pid_t next = last_pid();
    assert_seat(1, next, NONE);
    become_ready(next);
    become_ready(FIRST_PID + PROCESSES); /* of seat 0 */
    assert_seat(1, next, NONE);
    assert_seat(2, FIRST_PID + 2, last_pid());
    become_ready(last_pid());
    assert_false(master.rolling);
    assert_int_equal(forks, 2 * PROCESSES);
}

static void test_nobody_is_replaced_while_another_is_not_ready(void **state)
{
    (void)state;
    pass(1000);
    die_of(FIRST_PID + 2, SIGSEGV);
    int seen = forks;
    rolling_replace(&master, 2);
    turn();
    assert_int_equal(forks, seen);
    become_ready(last_pid());
    assert_int_equal(forks, seen + 1);
}

static void test_a_drain_ends_it(void **state)
{
    (void)state;
    begin();
    pid_t successor = last_pid();
    signal_master(SIGQUIT);
    assert_true(was_told(successor, SIGQUIT));
    assert_true(was_told(FIRST_PID, SIGQUIT));
    exit_with(successor, 0);
    pass(1000);
    assert_int_equal(last_pid(), successor);
    for (pid_t i = 0; i < PROCESSES; i++) {
        exit_with(FIRST_PID + i, 0);
    }
    assert_true(master_is_over(&master));
}

/* ---- Requests: by the watchdog, and by recycling ---- */

static void test_a_request(void **state)
{
    (void)state;
    pass(1000);
    assert_true(rolling_request(&master, find(FIRST_PID + 1)));
    assert_false(rolling_request(&master, find(FIRST_PID + 1))); /* it is to be replaced anyway */
    turn();
    assert_seat(1, FIRST_PID + 1, last_pid());
    become_ready(last_pid());
    assert_false(rolling_request(&master, find(FIRST_PID + 1))); /* it retires */
    turn();
    assert_int_equal(forks, PROCESSES + 1);
}

static void test_a_request_that_has_come_to_nothing_is_not_repeated_at_once(void **state)
{
    (void)state;
    pass(1000);
    struct child *child = find(FIRST_PID);
    assert_true(rolling_request(&master, child));
    master.seats[0].outdated = false; /* as by a reload that went back */
    assert_false(rolling_request(&master, child));
    pass(REPLACE_AGAIN_MS - 1);
    assert_false(rolling_request(&master, child));
    pass(1);
    assert_true(rolling_request(&master, child));
}

static void test_no_requests_while_the_server_ends(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    assert_false(rolling_request(&master, find(FIRST_PID)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_after_the_other),
        TEST(test_who_does_not_retire_in_time_is_killed),
        TEST(test_a_successor_that_cannot_start),
        TEST(test_a_successor_that_never_can_start_is_tried_ever_more_rarely),
        TEST(test_a_successor_that_is_not_ready_in_time),
        TEST(test_who_dies_before_its_turn_needs_no_successor),
        TEST(test_nobody_is_replaced_while_another_is_not_ready),
        TEST(test_a_drain_ends_it),
        TEST(test_a_request),
        TEST(test_a_request_that_has_come_to_nothing_is_not_repeated_at_once),
        TEST(test_no_requests_while_the_server_ends),
    };
    return cmocka_run_group_tests_name("rolling", tests, NULL, NULL);
}
