/* Processes die: who follows, when, and what the books say. */
#include "tests/unit/master/master_testing.h"

enum { WORKING_LIFE_MS = 10 * RESPAWN_QUICK_DEATH_MS };

/* Long enough for a delay that jitter has made longer. */
static uint64_t at_most_ms(uint64_t delay_ms)
{
    return delay_ms + delay_ms * RESPAWN_JITTER_PERCENT / 100;
}

static uint64_t at_least_ms(uint64_t delay_ms)
{
    return delay_ms - delay_ms * RESPAWN_JITTER_PERCENT / 100;
}

static void test_who_dies_is_replaced_at_once(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    die_of(FIRST_PID + 1, SIGSEGV);
    assert_int_equal(forks, PROCESSES + 1);
    assert_seat(0, FIRST_PID, NONE);
    assert_seat(1, last_pid(), NONE);
    assert_int_equal(find(last_pid())->number, 1);
    assert_int_equal(find(last_pid())->first_slot, 1); /* the place of the dead */
    assert_int_equal(server.scoreboard->deaths, 1);
    pass(7);
    become_ready(last_pid());
    struct death_record death;
    assert_true(deaths_copy(server.scoreboard, 0, &death));
    assert_int_equal(death.signal, SIGSEGV);
    assert_int_equal(death.pid, FIRST_PID + 1);
    assert_int_equal(death.lived_ns, WORKING_LIFE_MS * UINT64_C(1000000));
    assert_int_equal(death.recovery_ns, 7000000);
}

/* What asks for it is a client that crashes a worker, again and again. */
static void test_crash_loop(void **state)
{
    (void)state;
    int seen;
    for (int i = 0; i < RESPAWN_FREE_DEATHS; i++) {
        seen = forks;
        die_of(i == 0 ? FIRST_PID : last_pid(), SIGSEGV);
        assert_int_equal(forks, seen + 1);
        become_ready(last_pid());
    }
    for (uint64_t delay_ms = RESPAWN_FIRST_DELAY_MS; delay_ms <= RESPAWN_LONGEST_DELAY_MS;
         delay_ms *= 2) {
        seen = forks;
        die_of(last_pid(), SIGSEGV);
        assert_seat(0, NONE, NONE);
        pass(at_least_ms(delay_ms) - 1);
        assert_int_equal(forks, seen);
        uint64_t end_ms = now_ms + 1 + at_most_ms(delay_ms) - at_least_ms(delay_ms);
        while (forks == seen && now_ms < end_ms) {
            pass(1);
        }
        assert_int_equal(forks, seen + 1);
        become_ready(last_pid());
    }
    assert_seat(1, FIRST_PID + 1, NONE); /* the others are not concerned */
    pass(RESPAWN_QUIET_MS);
    seen = forks;
    die_of(last_pid(), SIGSEGV);
    assert_int_equal(forks, seen + 1);
}

/* However long its start took. */
static void test_who_never_becomes_ready_is_in_a_crash_loop(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    die_of(FIRST_PID, SIGSEGV);
    for (int i = 0; i < RESPAWN_FREE_DEATHS; i++) {
        pass(START_TIMEOUT_MS / 2);
        exit_with(last_pid(), 3);
    }
    assert_int_equal(forks, PROCESSES + 1 + RESPAWN_FREE_DEATHS);
    pass(START_TIMEOUT_MS / 2);
    exit_with(last_pid(), 3);
    assert_seat(0, NONE, NONE);
    pass(at_most_ms(RESPAWN_FIRST_DELAY_MS));
    assert_seat(0, last_pid(), NONE);
    assert_int_equal(master.phase, MASTER_RUNNING);
}

static void test_several_deaths_that_are_told_once(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    for (pid_t i = 0; i < PROCESSES; i++) {
        end_unheard(FIRST_PID + i, SIGKILL);
    }
    signal_master(SIGCHLD);
    assert_int_equal(forks, 2 * PROCESSES);
    assert_int_equal(server.scoreboard->deaths, PROCESSES);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_seat(i, FIRST_PID + PROCESSES + (pid_t)i, NONE);
    }
}

/* An exit without being asked to is a death, whatever the status. */
static void test_who_just_exits_is_replaced(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    exit_with(FIRST_PID, 0);
    assert_seat(0, last_pid(), NONE);
    assert_int_equal(server.scoreboard->deaths, 1);
}

/* As process 1 the master inherits them. */
static void test_strangers(void **state)
{
    (void)state;
    fork();
    exit_with(last_pid(), 1);
    assert_int_equal(count_children(), PROCESSES);
    assert_int_equal(server.scoreboard->deaths, 0);
    assert_int_equal(master.phase, MASTER_RUNNING);
}

static void test_who_dies_while_draining_is_no_more_replaced(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    signal_master(SIGQUIT);
    die_of(FIRST_PID, SIGSEGV);
    assert_int_equal(server.scoreboard->deaths, 1);
    pass(DRAIN_MS);
    assert_int_equal(forks, PROCESSES);
    assert_int_equal(count_children(), PROCESSES - 1);
}

static void test_who_dies_while_it_retires_leaves_no_seat(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    signal_master(SIGTTOU);
    die_of(FIRST_PID + 2, SIGSEGV); /* is taken away */
    assert_int_equal(server.scoreboard->deaths, 1);
    pass(RESPAWN_LONGEST_DELAY_MS);
    assert_int_equal(forks, PROCESSES);
    assert_int_equal(count_children(), PROCESSES - 1);
}

/* The successor is there already, with a place of its own: nobody else is started. */
static void test_who_dies_beside_its_successor(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    rolling_replace(&master, 0);
    turn();
    pid_t successor = last_pid();
    assert_seat(0, FIRST_PID, successor);
    die_of(FIRST_PID, SIGSEGV);
    assert_seat(0, NONE, successor);
    assert_int_equal(server.scoreboard->slots[0].state, SLOT_EMPTY); /* not on show as dead */
    pass(100);
    assert_int_equal(last_pid(), successor);
    become_ready(successor);
    assert_seat(0, successor, NONE);
    struct death_record death;
    assert_true(deaths_copy(server.scoreboard, 0, &death));
    assert_int_equal(death.recovery_ns, 100 * 1000000);
}

static void test_both_die(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    rolling_replace(&master, 0);
    turn();
    end_unheard(FIRST_PID, SIGSEGV);
    end_unheard(last_pid(), SIGSEGV);
    int seen = forks;
    signal_master(SIGCHLD);
    assert_int_equal(forks, seen + 1); /* one for the seat */
    assert_seat(0, last_pid(), NONE);
    become_ready(last_pid());
    pass(RESPAWN_LONGEST_DELAY_MS);
    assert_int_equal(forks, seen + 1); /* it is a new one already */
}

static void test_the_watchdogs_kill_is_a_death(void **state)
{
    (void)state;
    pass(WORKING_LIFE_MS);
    struct child *child = find(FIRST_PID);
    child->aborted = true;
    child->kill_at_ms = now_ms + STOP_PATIENCE_MS;
    pass(STOP_PATIENCE_MS);
    assert_true(was_told(FIRST_PID, SIGKILL));
    die_of(FIRST_PID, SIGKILL);
    assert_seat(0, last_pid(), NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_dies_is_replaced_at_once),
        TEST(test_crash_loop),
        TEST(test_who_never_becomes_ready_is_in_a_crash_loop),
        TEST(test_several_deaths_that_are_told_once),
        TEST(test_who_just_exits_is_replaced),
        TEST(test_strangers),
        TEST(test_who_dies_while_draining_is_no_more_replaced),
        TEST(test_who_dies_while_it_retires_leaves_no_seat),
        TEST(test_who_dies_beside_its_successor),
        TEST(test_both_die),
        TEST(test_the_watchdogs_kill_is_a_death),
    };
    return cmocka_run_group_tests_name("deaths", tests, NULL, NULL);
}
