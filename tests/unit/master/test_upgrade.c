/* A new program takes over, or does not. */
#include "server/setup/inheritance.h"
#include "tests/unit/master/master_testing.h"

static pid_t program; /* the new one */

static void begin(void)
{
    pass(1000);
    signal_master(SIGUSR2);
    program = last_pid();
    assert_int_equal(forks, PROCESSES + 1);
    assert_int_equal(master.upgrade.pid, program);
    assert_int_equal(master.phase, MASTER_RUNNING);
}

/* The new program says something. */
static void say(int news)
{
    unsigned char byte = (unsigned char)news;
    assert_int_equal(send(talk_fd, &byte, 1, MSG_NOSIGNAL), 1);
    turn();
}

static void hand_over(void)
{
    begin();
    pass(100);
    say(INHERITANCE_SERVES);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
}

static void end_children(void)
{
    for (pid_t i = 0; i < PROCESSES; i++) {
        exit_with(FIRST_PID + i, 0);
    }
}

/* This program serves, and with processes of its own. */
static void assert_serves_again(void)
{
    assert_int_equal(master.phase, MASTER_RUNNING);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_non_null(master.seats[i].child);
        assert_false(master.seats[i].child->retiring);
    }
}

static void test_the_new_program_takes_over(void **state)
{
    (void)state;
    hand_over();
    for (pid_t i = 0; i < PROCESSES; i++) {
        assert_true(was_told(FIRST_PID + i, SIGUSR2));
    }
    end_children();
    assert_int_equal(forks, PROCESSES + 1); /* nobody follows here */
    pass(TRIAL_MS - 1);
    assert_false(master_is_over(&master));
    pass(1);
    assert_true(master_is_over(&master));
    assert_int_equal(master.exit_status, 0);
    assert_int_equal(fake(program)->order_count, 0);
}

/* Somebody downloads for longer than the trial takes. */
static void test_the_master_stays_as_long_as_its_processes(void **state)
{
    (void)state;
    server.config.drain_timeout_ms = 10 * TRIAL_MS;
    find(FIRST_PID)->drain_timeout_ms = 10 * TRIAL_MS;
    hand_over();
    exit_with(FIRST_PID + 1, 0);
    exit_with(FIRST_PID + 2, 0);
    pass(2 * TRIAL_MS);
    assert_false(master_is_over(&master));
    exit_with(FIRST_PID, 0);
    assert_true(master_is_over(&master));
}

static void test_the_new_program_cannot_start(void **state)
{
    (void)state;
    begin();
    exit_with(program, 1);
    assert_int_equal(master.upgrade.pid, 0);
    assert_serves_again();
    assert_int_equal(fake(FIRST_PID)->order_count, 0);
    signal_master(SIGUSR2); /* the next one may do */
    assert_int_equal(master.upgrade.pid, last_pid());
}

static void test_the_new_program_is_not_ready_in_time(void **state)
{
    (void)state;
    begin();
    pass(START_TIMEOUT_MS + STOP_PATIENCE_MS - 1);
    assert_false(was_told(program, SIGKILL));
    pass(1);
    assert_true(was_told(program, SIGKILL));
    pass(TRIAL_MS);
    assert_int_equal(fake(program)->order_count, 1);
    die_of(program, SIGKILL);
    assert_serves_again();
}

static void test_the_new_program_dies_on_trial(void **state)
{
    (void)state;
    hand_over();
    end_children();
    pass(TRIAL_MS - 1);
    die_of(program, SIGSEGV);
    assert_serves_again();
    assert_int_equal(forks, 2 * PROCESSES + 1);
    assert_false(master_is_over(&master));
    for (pid_t i = 1; i <= PROCESSES; i++) {
        become_ready(program + i);
    }
    signal_master(SIGUSR2);
    assert_int_equal(master.upgrade.pid, last_pid());
}

/* Those that were told to retire do so; others take their seats. */
static void test_the_new_program_dies_while_the_old_processes_are_there(void **state)
{
    (void)state;
    hand_over();
    exit_with(program, 1);
    assert_serves_again();
    assert_int_equal(count_children(), 2 * PROCESSES);
    for (pid_t i = 1; i <= PROCESSES; i++) {
        become_ready(program + i);
    }
    end_children();
    pass(60000);
    assert_int_equal(server.scoreboard->deaths, 0);
}

static void test_the_new_program_dies_behind_its_trial(void **state)
{
    (void)state;
    find(FIRST_PID)->drain_timeout_ms = 10 * TRIAL_MS;
    hand_over();
    exit_with(FIRST_PID + 1, 0);
    exit_with(FIRST_PID + 2, 0);
    pass(TRIAL_MS);
    die_of(program, SIGSEGV);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
    exit_with(FIRST_PID, 0);
    assert_true(master_is_over(&master));
}

/* It was told to, and that was not heard. */
static void test_the_new_program_ends_in_order_on_trial(void **state)
{
    (void)state;
    hand_over();
    exit_with(program, 0);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
    end_children();
    assert_true(master_is_over(&master));
    assert_int_equal(forks, PROCESSES + 1);
}

/* There is nobody left who could reload. */
static void test_a_reload_waits_for_a_new_program_that_is_gone_again(void **state)
{
    (void)state;
    unsigned char byte = INHERITANCE_SERVES;
    begin();
    signal_master(SIGHUP);
    assert_int_equal(send(talk_fd, &byte, 1, 0), 1);
    exit_with(program, 0);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
    assert_int_equal(master.upgrade.pid, 0);
    end_children();
    assert_true(master_is_over(&master));
    assert_int_equal(server.epoch, 1);
}

/* What it has said of addresses is forgotten with it. */
static void test_a_program_that_leaves_an_address_and_cannot_start(void **state)
{
    (void)state;
    begin();
    say(INHERITANCE_LEAVES + 1);
    assert_int_equal(master.upgrade.addresses_left, 2);
    exit_with(program, 1);
    assert_int_equal(master.upgrade.addresses_left, 0);
}

/* Both end: it was told to. */
static void test_the_new_program_is_stopped_on_trial(void **state)
{
    (void)state;
    hand_over();
    say(INHERITANCE_STOPS);
    assert_int_equal(master.phase, MASTER_STOPPING);
    assert_true(was_told(FIRST_PID, SIGTERM));
    exit_with(program, 0);
    end_children();
    assert_true(master_is_over(&master));
    assert_int_equal(forks, PROCESSES + 1);
}

static void test_the_new_program_drains_on_trial(void **state)
{
    (void)state;
    hand_over();
    say(INHERITANCE_DRAINS);
    exit_with(program, 0);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
    end_children();
    assert_true(master_is_over(&master));
}

/* What it has said last counts, also when its end is known first. */
static void test_last_words(void **state)
{
    (void)state;
    hand_over();
    unsigned char byte = INHERITANCE_DRAINS;
    assert_int_equal(send(talk_fd, &byte, 1, 0), 1);
    die_of(program, SIGTERM);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
    end_children();
    assert_true(master_is_over(&master));
}

/* ---- What the old one is told ---- */

static void test_a_drain_ends_the_trial(void **state)
{
    (void)state;
    hand_over();
    signal_master(SIGQUIT);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
    end_children();
    assert_true(master_is_over(&master));
    assert_int_equal(fake(program)->order_count, 0);
}

static void test_a_stop_while_handed_over(void **state)
{
    (void)state;
    hand_over();
    signal_master(SIGTERM);
    assert_int_equal(master.phase, MASTER_STOPPING);
    assert_false(was_told(program, SIGTERM)); /* it serves */
}

static void test_a_stop_before_the_new_program_serves(void **state)
{
    (void)state;
    begin();
    signal_master(SIGTERM);
    assert_true(was_told(program, SIGTERM));
    say(INHERITANCE_SERVES); /* too late */
    assert_int_equal(master.phase, MASTER_STOPPING);
}

static void test_a_reload_takes_back(void **state)
{
    (void)state;
    hand_over();
    signal_master(SIGHUP);
    assert_true(was_told(program, SIGQUIT));
    char said;
    assert_int_equal(recv(talk_fd, &said, 1, MSG_DONTWAIT), 1);
    assert_int_equal(said, INHERITANCE_RECALL);
    assert_serves_again();
    assert_int_equal(server.epoch, 1);
    exit_with(program, 0);
    assert_serves_again();
    assert_int_equal(master.upgrade.pid, 0);
}

static void test_no_way_back_behind_the_trial(void **state)
{
    (void)state;
    find(FIRST_PID)->drain_timeout_ms = 10 * TRIAL_MS;
    hand_over();
    exit_with(FIRST_PID + 1, 0);
    exit_with(FIRST_PID + 2, 0);
    pass(TRIAL_MS);
    signal_master(SIGHUP);
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
    assert_false(was_told(program, SIGQUIT));
}

/* Its reload is the new program's. */
static void test_a_reload_before_the_new_program_serves_waits(void **state)
{
    (void)state;
    begin();
    signal_master(SIGHUP);
    assert_int_equal(server.epoch, 1);
    say(INHERITANCE_SERVES);
    assert_true(was_told(program, SIGHUP));
    assert_int_equal(server.epoch, 1);
}

static void test_a_reload_waits_for_a_new_program_that_fails(void **state)
{
    (void)state;
    begin();
    signal_master(SIGHUP);
    exit_with(program, 1);
    assert_int_equal(server.epoch, 2);
}

static void test_an_upgrade_waits_for_a_reload(void **state)
{
    (void)state;
    pass(1000);
    signal_master(SIGHUP);
    signal_master(SIGUSR2);
    assert_int_equal(master.upgrade.pid, 0);
    become_ready(last_pid());
    assert_true(master.upgrade.pid != 0);
}

/* ---- What keeps it from being begun ---- */

static void test_only_one_at_a_time(void **state)
{
    (void)state;
    struct error error;
    begin();
    assert_false(upgrade_begin(&master, &error));
    assert_non_null(strstr(error.text, "not ready yet"));
    assert_int_equal(last_pid(), program);
}

static void test_no_process_can_be_forked(void **state)
{
    (void)state;
    struct error error;
    failing_fork = fail_next(1, EAGAIN);
    assert_false(upgrade_begin(&master, &error));
    assert_int_equal(master.upgrade.pid, 0);
    assert_int_equal(master.upgrade.talk_fd, -1);
}

static void test_a_program_without_a_path(void **state)
{
    (void)state;
    struct error error;
    origin.program[0] = '\0';
    assert_false(upgrade_begin(&master, &error));
}

/* ---- While it is under way ---- */

static void test_who_dies_before_the_new_program_serves_is_replaced(void **state)
{
    (void)state;
    begin();
    die_of(FIRST_PID, SIGSEGV);
    assert_seat(0, last_pid(), NONE);
    become_ready(last_pid());
    say(INHERITANCE_SERVES);
    assert_true(was_told(last_pid(), SIGUSR2));
}

static void test_who_dies_while_handed_over_is_not_replaced(void **state)
{
    (void)state;
    hand_over();
    die_of(FIRST_PID, SIGSEGV);
    pass(1000);
    assert_int_equal(last_pid(), program);
    assert_int_equal(server.scoreboard->deaths, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_new_program_takes_over),
        TEST(test_the_master_stays_as_long_as_its_processes),
        TEST(test_the_new_program_cannot_start),
        TEST(test_the_new_program_is_not_ready_in_time),
        TEST(test_the_new_program_dies_on_trial),
        TEST(test_the_new_program_dies_while_the_old_processes_are_there),
        TEST(test_the_new_program_dies_behind_its_trial),
        TEST(test_the_new_program_ends_in_order_on_trial),
        TEST(test_a_reload_waits_for_a_new_program_that_is_gone_again),
        TEST(test_a_program_that_leaves_an_address_and_cannot_start),
        TEST(test_the_new_program_is_stopped_on_trial),
        TEST(test_the_new_program_drains_on_trial),
        TEST(test_last_words),
        TEST(test_a_drain_ends_the_trial),
        TEST(test_a_stop_while_handed_over),
        TEST(test_a_stop_before_the_new_program_serves),
        TEST(test_a_reload_takes_back),
        TEST(test_no_way_back_behind_the_trial),
        TEST(test_a_reload_before_the_new_program_serves_waits),
        TEST(test_a_reload_waits_for_a_new_program_that_fails),
        TEST(test_an_upgrade_waits_for_a_reload),
        TEST(test_only_one_at_a_time),
        TEST(test_no_process_can_be_forked),
        TEST(test_a_program_without_a_path),
        TEST(test_who_dies_before_the_new_program_serves_is_replaced),
        TEST(test_who_dies_while_handed_over_is_not_replaced),
    };
    return cmocka_run_group_tests_name("upgrade", tests, NULL, NULL);
}
