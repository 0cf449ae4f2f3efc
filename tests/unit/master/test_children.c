/* Processes are started, become ready, and end with the server. */
#include "tests/unit/master/master_testing.h"

static void assert_all_told(int number)
{
    for (int i = 0; i < forks; i++) {
        assert_true(was_told(FIRST_PID + i, number));
    }
}

static void assert_nobody_told(int number)
{
    for (int i = 0; i < forks; i++) {
        assert_false(was_told(FIRST_PID + i, number));
    }
}

/* ---- The start ---- */

static void test_a_server_runs_when_all_are_ready(void **state)
{
    (void)state;
    turn();
    assert_int_equal(forks, PROCESSES);
    become_ready(FIRST_PID);
    become_ready(FIRST_PID + 2);
    assert_int_equal(master.phase, MASTER_STARTING);
    assert_int_equal(announced, 0);
    become_ready(FIRST_PID + 1);
    assert_int_equal(master.phase, MASTER_RUNNING);
    assert_int_equal(announced, 1);
    pass(START_TIMEOUT_MS * 2);
    assert_int_equal(forks, PROCESSES);
    assert_nobody_told(SIGKILL);
}

/* Any process could say that another one is ready, or say it again. */
static void test_generations_that_nobody_waits_for(void **state)
{
    (void)state;
    const uint32_t strangers[] = {0, 4711, UINT32_MAX};
    turn();
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(send(master.readiness.told_fd, &strangers[i], sizeof(uint32_t), 0), 4);
    }
    turn();
    become_ready(FIRST_PID);
    become_ready(FIRST_PID);
    become_ready(FIRST_PID);
    assert_int_equal(master.phase, MASTER_STARTING);
}

static void test_who_is_not_ready_in_time_is_killed(void **state)
{
    (void)state;
    turn();
    become_ready(FIRST_PID);
    become_ready(FIRST_PID + 1);
    pass(START_TIMEOUT_MS - 1);
    assert_nobody_told(SIGKILL);
    pass(1);
    assert_true(was_told(FIRST_PID + 2, SIGKILL));
    assert_false(was_told(FIRST_PID, SIGKILL));
}

static void test_a_start_that_cannot_fork_gives_up(void **state)
{
    (void)state;
    failing_fork = fail_after(1, 1, EAGAIN);
    turn();
    assert_int_equal(forks, 1);
    assert_int_equal(master.phase, MASTER_STOPPING);
    assert_int_equal(master.exit_status, 1);
    assert_true(was_told(FIRST_PID, SIGTERM));
    assert_false(master_is_over(&master));
    die_of(FIRST_PID, SIGTERM);
    assert_true(master_is_over(&master));
}

static void test_who_dies_while_the_server_starts_ends_it(void **state)
{
    (void)state;
    turn();
    become_ready(FIRST_PID);
    exit_with(FIRST_PID + 1, 3);
    assert_int_equal(master.phase, MASTER_STOPPING);
    assert_int_equal(master.exit_status, 1);
    assert_true(was_told(FIRST_PID, SIGTERM));
    assert_true(was_told(FIRST_PID + 2, SIGTERM));
    assert_int_equal(announced, 0);
    assert_int_equal(forks, PROCESSES);
}

/* One that has been ready is replaced: the others go on starting. */
static void test_who_was_ready_may_die_while_the_server_starts(void **state)
{
    (void)state;
    turn();
    become_ready(FIRST_PID);
    now_ms += 1000;
    die_of(FIRST_PID, SIGSEGV);
    assert_int_equal(master.phase, MASTER_STARTING);
    assert_seat(0, last_pid(), NONE);
    become_ready(FIRST_PID + 1);
    become_ready(FIRST_PID + 2);
    assert_int_equal(master.phase, MASTER_STARTING);
    become_ready(last_pid());
    assert_int_equal(master.phase, MASTER_RUNNING);
}

static void test_a_drain_before_the_start_is_over_stops(void **state)
{
    (void)state;
    turn();
    signal_master(SIGQUIT);
    assert_int_equal(master.phase, MASTER_STOPPING);
    assert_all_told(SIGTERM);
    assert_int_equal(master.exit_status, 0);
}

/* ---- While it runs ---- */

static void test_a_fork_that_fails_is_tried_again(void **state)
{
    (void)state;
    now_ms += 1000;
    failing_fork = fail_next(2, EAGAIN);
    die_of(FIRST_PID, SIGKILL);
    assert_seat(0, NONE, NONE);
    pass(199);
    assert_int_equal(failing_fork.failures, 1);
    pass(1);
    assert_int_equal(failing_fork.failures, 0);
    pass(200);
    assert_seat(0, last_pid(), NONE);
    assert_int_equal(master.phase, MASTER_RUNNING);
}

/* ---- The end ---- */

static void test_stop(void **state)
{
    (void)state;
    signal_master(SIGTERM);
    assert_int_equal(master.phase, MASTER_STOPPING);
    assert_all_told(SIGTERM);
    signal_master(SIGTERM); /* once is enough */
    assert_int_equal(fake(FIRST_PID)->order_count, 1);
    for (pid_t i = 0; i < PROCESSES; i++) {
        assert_false(master_is_over(&master));
        exit_with(FIRST_PID + i, 0);
    }
    assert_true(master_is_over(&master));
    assert_int_equal(forks, PROCESSES);
    assert_int_equal(master.exit_status, 0);
    assert_int_equal(server.scoreboard->deaths, 0);
}

static void test_who_does_not_stop_is_killed(void **state)
{
    (void)state;
    signal_master(SIGINT);
    exit_with(FIRST_PID, 0);
    pass(STOP_PATIENCE_MS - 1);
    assert_nobody_told(SIGKILL);
    pass(1);
    assert_true(was_told(FIRST_PID + 1, SIGKILL));
    assert_true(was_told(FIRST_PID + 2, SIGKILL));
    assert_false(was_told(FIRST_PID, SIGKILL));
    pass(STOP_PATIENCE_MS); /* and again, in case it is in state D */
    assert_int_equal(fake(FIRST_PID + 1)->order_count, 3);
}

static void test_drain(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    assert_int_equal(master.phase, MASTER_DRAINING);
    assert_all_told(SIGUSR2);
    assert_all_told(SIGQUIT);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_int_equal(server.scoreboard->slots[i].draining, 1);
    }
    exit_with(FIRST_PID, 0);
    assert_int_equal(forks, PROCESSES); /* nobody follows */
    pass(DRAIN_MS + STOP_PATIENCE_MS - 1);
    assert_nobody_told(SIGKILL);
    pass(1);
    assert_true(was_told(FIRST_PID + 1, SIGKILL));
    exit_with(FIRST_PID + 1, 0);
    die_of(FIRST_PID + 2, SIGKILL);
    assert_true(master_is_over(&master));
    assert_int_equal(server.scoreboard->deaths, 1);
}

static void test_a_drain_that_is_stopped(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    signal_master(SIGTERM);
    assert_int_equal(master.phase, MASTER_STOPPING);
    assert_all_told(SIGTERM);
    pass(STOP_PATIENCE_MS);
    assert_all_told(SIGKILL);
}

static void test_a_second_drain_stops(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    signal_master(SIGQUIT);
    assert_int_equal(master.phase, MASTER_STOPPING);
}

/* ---- Phases ---- */

WRAPPED(void, check_failed, const char *text)
{
    mock_assert(0, text, __FILE__, __LINE__);
    abort(); /* not reached */
}

static void test_phases_that_cannot_follow(void **state)
{
    (void)state;
    expect_assert_failure(phase_enter(&master, MASTER_STARTING));
    expect_assert_failure(phase_enter(&master, MASTER_RUNNING));
    signal_master(SIGQUIT);
    expect_assert_failure(phase_enter(&master, MASTER_RUNNING));
    expect_assert_failure(phase_enter(&master, MASTER_HANDED_OVER));
    signal_master(SIGTERM);
    expect_assert_failure(phase_enter(&master, MASTER_DRAINING));
    expect_assert_failure(phase_enter(&master, MASTER_RUNNING));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF_A_START(test_a_server_runs_when_all_are_ready),
        TEST_OF_A_START(test_generations_that_nobody_waits_for),
        TEST_OF_A_START(test_who_is_not_ready_in_time_is_killed),
        TEST_OF_A_START(test_a_start_that_cannot_fork_gives_up),
        TEST_OF_A_START(test_who_dies_while_the_server_starts_ends_it),
        TEST_OF_A_START(test_who_was_ready_may_die_while_the_server_starts),
        TEST_OF_A_START(test_a_drain_before_the_start_is_over_stops),
        TEST(test_a_fork_that_fails_is_tried_again),
        TEST(test_stop),
        TEST(test_who_does_not_stop_is_killed),
        TEST(test_drain),
        TEST(test_a_drain_that_is_stopped),
        TEST(test_a_second_drain_stops),
        TEST(test_phases_that_cannot_follow),
    };
    return cmocka_run_group_tests_name("children", tests, NULL, NULL);
}
