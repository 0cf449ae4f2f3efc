/* A new configuration: read, opened, tried with one process, and in force or forgotten. */
#include "tests/unit/master/master_testing.h"

static void begin(void)
{
    pass(1000);
    signal_master(SIGHUP);
}

/* The first process of the new configuration. */
static pid_t begin_trial(void)
{
    begin();
    assert_true(master.on_trial);
    assert_int_equal(open_servers, 2);
    assert_int_equal(server.epoch, 2);
    assert_seat(0, FIRST_PID, last_pid());
    return last_pid();
}

static void assert_old_one_stays(void)
{
    assert_false(reload_is_under_way(&master));
    assert_int_equal(open_servers, 1);
    assert_int_equal(server.epoch, 1);
    assert_int_equal(master.phase, MASTER_RUNNING);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_seat(i, FIRST_PID + (pid_t)i, NONE);
        assert_int_equal(fake(FIRST_PID + (pid_t)i)->order_count, 0);
    }
    assert_false(master.rolling);
}

static void become_all_ready(void)
{
    for (int i = 0; i < 2 * PROCESSES && master.rolling; i++) {
        become_ready(last_pid());
    }
    assert_false(master.rolling);
}

static void test_a_configuration_in_force(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    pass(START_TIMEOUT_MS / 2);
    assert_int_equal(last_pid(), first); /* one tries it */
    become_ready(first);
    assert_false(master.on_trial);
    assert_int_equal(open_servers, 1);
    assert_int_equal(server.epoch, 2);
    assert_seat(0, first, NONE);
    assert_true(was_told(FIRST_PID, SIGUSR2));
    assert_false(was_told(FIRST_PID + 1, SIGUSR2));
    become_all_ready();
    assert_int_equal(forks, 2 * PROCESSES);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_int_equal(master.seats[i].child->epoch, 2);
    }
}

static void test_one_that_cannot_be_read(void **state)
{
    (void)state;
    is_next_readable = false;
    begin();
    assert_old_one_stays();
    assert_int_equal(forks, PROCESSES);
}

static void test_one_that_cannot_be_opened(void **state)
{
    (void)state;
    is_next_openable = false;
    begin();
    assert_old_one_stays();
    assert_int_equal(forks, PROCESSES);
}

static void test_one_with_which_no_process_can_start(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    exit_with(first, 3);
    assert_old_one_stays();
    pass(60000);
    assert_int_equal(last_pid(), first);
}

static void test_one_with_which_no_process_is_ready_in_time(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    pass(START_TIMEOUT_MS);
    assert_true(was_told(first, SIGKILL));
    assert_true(master.on_trial);
    die_of(first, SIGKILL);
    assert_old_one_stays();
}

/* Each gets an epoch of its own, also one that has come to nothing. */
static void test_after_one_that_has_failed(void **state)
{
    (void)state;
    exit_with(begin_trial(), 3);
    signal_master(SIGHUP);
    assert_int_equal(server.epoch, 3);
    become_ready(last_pid());
    become_all_ready();
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_int_equal(master.seats[i].child->epoch, 3);
    }
}

/* ---- What happens meanwhile ---- */

static void test_a_second_reload_waits(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    signal_master(SIGHUP);
    signal_master(SIGHUP); /* several are one */
    assert_int_equal(server.epoch, 2);
    assert_int_equal(last_pid(), first);
    become_ready(first);
    assert_int_equal(server.epoch, 3);
    assert_true(master.on_trial);
    become_ready(last_pid());
    become_all_ready();
    assert_int_equal(server.epoch, 3);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_int_equal(master.seats[i].child->epoch, 3);
    }
}

/* Whoever has been started before it is outdated as soon as it is ready. */
static void test_a_second_reload_during_the_replacement(void **state)
{
    (void)state;
    become_ready(begin_trial());
    pid_t second = last_pid();
    assert_seat(1, FIRST_PID + 1, second);
    signal_master(SIGHUP);
    assert_int_equal(server.epoch, 3);
    become_ready(second);
    assert_seat(1, second, NONE);
    assert_true(master.on_trial); /* it has the last configuration */
    for (int i = 0; i < 2 * PROCESSES && master.rolling; i++) {
        become_ready(last_pid());
    }
    for (uint32_t i = 0; i < PROCESSES; i++) {
        assert_int_equal(master.seats[i].child->epoch, 3);
    }
}

static void test_a_second_reload_waits_for_one_that_fails(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    signal_master(SIGHUP);
    exit_with(first, 3);
    assert_int_equal(server.epoch, 3);
    assert_true(master.on_trial);
    assert_seat(0, FIRST_PID, last_pid());
}

static void test_a_reload_before_the_start_is_over_waits(void **state)
{
    (void)state;
    turn();
    signal_master(SIGHUP);
    assert_int_equal(server.epoch, 1);
    for (pid_t i = 0; i < PROCESSES; i++) {
        become_ready(FIRST_PID + i);
    }
    assert_int_equal(server.epoch, 2);
}

/* Who fills its seat tries the new configuration, too, and either decides. */
static void test_an_old_process_dies_meanwhile(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    die_of(FIRST_PID + 1, SIGSEGV);
    pid_t second = last_pid();
    assert_seat(1, second, NONE);
    assert_int_equal(find(second)->epoch, 2);
    become_ready(second);
    assert_false(master.on_trial);
    become_ready(first);
    assert_seat(0, first, NONE);
    become_all_ready();
    assert_int_equal(forks, 2 * PROCESSES);
}

/* Going back, who has only the new configuration is in nobody's way. */
static void test_an_old_process_dies_and_the_new_configuration_fails(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    die_of(FIRST_PID + 1, SIGSEGV);
    pid_t second = last_pid();
    exit_with(first, 3);
    assert_false(master.on_trial);
    assert_int_equal(server.epoch, 1);
    assert_true(was_told(second, SIGKILL));
    assert_seat(0, FIRST_PID, NONE);
    assert_seat(1, last_pid(), NONE);
    assert_int_equal(find(last_pid())->epoch, 1);
    die_of(second, SIGKILL);
    become_ready(last_pid());
    pass(60000);
    assert_int_equal(count_children(), PROCESSES);
}

static void test_a_resize_waits(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    signal_master(SIGTTIN);
    assert_int_equal(master.seat_count, PROCESSES);
    become_ready(first);
    assert_int_equal(master.seat_count, PROCESSES + 1);
}

static void test_a_stop_ends_the_trial(void **state)
{
    (void)state;
    pid_t first = begin_trial();
    signal_master(SIGTERM);
    assert_true(was_told(first, SIGTERM));
    exit_with(first, 0);
    assert_int_equal(server.epoch, 2); /* nobody goes back any more */
    for (pid_t i = 0; i < PROCESSES; i++) {
        exit_with(FIRST_PID + i, 0);
    }
    assert_true(master_is_over(&master));
}

static void test_an_order_that_waits_is_forgotten_with_the_server(void **state)
{
    (void)state;
    begin_trial();
    signal_master(SIGHUP);
    signal_master(SIGQUIT);
    pass(500);
    assert_int_equal(server.epoch, 2);
    assert_int_equal(forks, PROCESSES + 1);
}

/* ---- The number of processes ---- */

static void test_more_processes(void **state)
{
    (void)state;
    next_processes = PROCESSES + 2;
    become_ready(begin_trial());
    assert_int_equal(master.seat_count, PROCESSES + 2);
    /* the old ones, the first new one, the next one, two in new seats */
    assert_int_equal(count_children(), 2 * PROCESSES + 1);
    for (pid_t i = 1; i <= 3; i++) {
        become_ready(FIRST_PID + PROCESSES + i);
    }
    become_all_ready();
    assert_int_equal(forks, 2 * PROCESSES + 2);
}

static void test_fewer_processes(void **state)
{
    (void)state;
    next_processes = 1;
    pid_t first = begin_trial();
    become_ready(first);
    assert_int_equal(master.seat_count, 1);
    assert_false(master.rolling);
    for (pid_t i = 0; i < PROCESSES; i++) {
        assert_true(was_told(FIRST_PID + i, SIGUSR2));
        exit_with(FIRST_PID + i, 0);
    }
    pass(60000);
    assert_int_equal(last_pid(), first);
}

/* ---- Names ---- */

static char listen_name[] = "www.example.org:80";

static void begin_lookup(void)
{
    next_listen = listen_name;
    next_lookup = LOOKUP_WAITS;
    begin();
    assert_true(reload_is_under_way(&master));
    assert_false(master.on_trial);
    assert_int_equal(forks, PROCESSES);
}

static void test_names_are_found(void **state)
{
    (void)state;
    begin_lookup();
    pass(LOOKUP_PATIENCE_MS / 2);
    signal_master(SIGHUP); /* waits, too */
    next_lookup = LOOKUP_FOUND;
    turn();
    assert_true(master.on_trial);
    assert_int_equal(server.epoch, 2);
    become_ready(last_pid()); /* the second one begins */
    assert_int_equal(server.epoch, 2);
    turn();
    assert_int_equal(server.epoch, 3);
}

static void test_names_that_do_not_exist(void **state)
{
    (void)state;
    begin_lookup();
    next_lookup = LOOKUP_FAILED;
    turn();
    assert_old_one_stays();
}

static void test_names_that_nobody_answers(void **state)
{
    (void)state;
    begin_lookup();
    pass(LOOKUP_PATIENCE_MS - 1);
    assert_true(reload_is_under_way(&master));
    pass(1);
    assert_old_one_stays();
}

static void test_a_stop_while_names_are_looked_up(void **state)
{
    (void)state;
    begin_lookup();
    signal_master(SIGQUIT);
    assert_int_equal(master.phase, MASTER_DRAINING);
    assert_false(reload_is_under_way(&master));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_configuration_in_force),
        TEST(test_one_that_cannot_be_read),
        TEST(test_one_that_cannot_be_opened),
        TEST(test_one_with_which_no_process_can_start),
        TEST(test_one_with_which_no_process_is_ready_in_time),
        TEST(test_after_one_that_has_failed),
        TEST(test_a_second_reload_waits),
        TEST(test_a_second_reload_during_the_replacement),
        TEST(test_a_second_reload_waits_for_one_that_fails),
        TEST_OF_A_START(test_a_reload_before_the_start_is_over_waits),
        TEST(test_an_old_process_dies_meanwhile),
        TEST(test_an_old_process_dies_and_the_new_configuration_fails),
        TEST(test_a_resize_waits),
        TEST(test_a_stop_ends_the_trial),
        TEST(test_an_order_that_waits_is_forgotten_with_the_server),
        TEST(test_more_processes),
        TEST(test_fewer_processes),
        TEST(test_names_are_found),
        TEST(test_names_that_do_not_exist),
        TEST(test_names_that_nobody_answers),
        TEST(test_a_stop_while_names_are_looked_up),
    };
    return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
