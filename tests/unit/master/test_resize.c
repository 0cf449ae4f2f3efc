/* A process more, or less. */
#include "tests/unit/master/master_testing.h"

static struct error error;

static void test_one_more(void **state)
{
    (void)state;
    signal_master(SIGTTIN);
    assert_int_equal(master.seat_count, PROCESSES + 1);
    assert_seat(PROCESSES, last_pid(), NONE);
    assert_int_equal(forks, PROCESSES + 1);
    become_ready(last_pid());
    pass(60000);
    assert_int_equal(forks, PROCESSES + 1);
}

static void test_one_less(void **state)
{
    (void)state;
    signal_master(SIGTTOU);
    assert_int_equal(master.seat_count, PROCESSES - 1);
    assert_true(was_told(FIRST_PID + 2, SIGUSR2));
    exit_with(FIRST_PID + 2, 0);
    pass(60000);
    assert_int_equal(forks, PROCESSES);
    assert_int_equal(count_children(), PROCESSES - 1);
}

static void test_one_stays(void **state)
{
    (void)state;
    assert_true(resize_by(&master, 1 - PROCESSES, &error));
    assert_false(resize_by(&master, -1, &error));
    assert_non_null(strstr(error.text, "one of 1 must stay"));
    assert_int_equal(master.seat_count, 1);
    assert_seat(0, FIRST_PID, NONE);
}

static void test_as_many_as_the_scoreboard_has_room_for(void **state)
{
    (void)state;
    assert_false(resize_by(&master, SLOTS / 2 - PROCESSES + 1, &error));
    assert_int_equal(master.seat_count, PROCESSES);
    assert_true(resize_by(&master, SLOTS / 2 - PROCESSES, &error));
    turn();
    assert_int_equal(count_children(), SLOTS / 2);
    assert_false(resize_by(&master, INT32_MAX, &error));
    assert_false(resize_by(&master, INT32_MIN, &error));
}

static void test_models_that_cannot(void **state)
{
    (void)state;
    server.config.accept = CONFIG_ACCEPT_REUSEPORT;
    assert_false(resize_by(&master, 1, &error));
    server.config.accept = CONFIG_ACCEPT_SHARED;
    server.plan.model = PLAN_THREADPOOL;
    assert_false(resize_by(&master, 1, &error));
    assert_int_equal(master.seat_count, PROCESSES);
}

/* Both go, and nobody follows. */
static void test_less_while_a_successor_starts(void **state)
{
    (void)state;
    pass(1000);
    rolling_replace(&master, 2);
    turn();
    pid_t successor = last_pid();
    signal_master(SIGTTOU);
    assert_true(was_told(FIRST_PID + 2, SIGUSR2));
    assert_true(was_told(successor, SIGUSR2));
    become_ready(successor);
    assert_false(master.rolling);
    exit_with(successor, 0);
    exit_with(FIRST_PID + 2, 0);
    pass(60000);
    assert_int_equal(last_pid(), successor);
    assert_int_equal(count_children(), PROCESSES - 1);
}

static void test_more_while_all_are_replaced(void **state)
{
    (void)state;
    pass(1000);
    rolling_replace_all(&master);
    turn();
    signal_master(SIGTTIN);
    pid_t added = last_pid();
    assert_seat(PROCESSES, added, NONE);
    become_ready(FIRST_PID + PROCESSES);
    become_ready(added);
    while (master.rolling) {
        pid_t before = last_pid();
        become_ready(before);
    }
    assert_seat(PROCESSES, added, NONE); /* is new anyway */
    assert_int_equal(forks, 2 * PROCESSES + 1);
}

/* The process that left last may still be there. */
static void test_less_and_more_again(void **state)
{
    (void)state;
    signal_master(SIGTTOU);
    signal_master(SIGTTIN);
    assert_seat(2, last_pid(), NONE);
    assert_int_equal(forks, PROCESSES + 1);
    become_ready(last_pid());
    exit_with(FIRST_PID + 2, 0);
    assert_seat(2, last_pid(), NONE);
    assert_int_equal(server.scoreboard->deaths, 0);
}

static void test_orders_before_the_start_is_over_wait(void **state)
{
    (void)state;
    turn();
    signal_master(SIGTTIN);
    signal_master(SIGTTIN);
    signal_master(SIGTTOU);
    assert_int_equal(master.seat_count, PROCESSES);
    for (pid_t i = 0; i < PROCESSES; i++) {
        become_ready(FIRST_PID + i);
    }
    assert_int_equal(master.seat_count, PROCESSES + 1);
}

static void test_not_while_the_server_ends(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    signal_master(SIGTTIN);
    assert_int_equal(master.seat_count, PROCESSES);
    assert_int_equal(forks, PROCESSES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_more),
        TEST(test_one_less),
        TEST(test_one_stays),
        TEST(test_as_many_as_the_scoreboard_has_room_for),
        TEST(test_models_that_cannot),
        TEST(test_less_while_a_successor_starts),
        TEST(test_more_while_all_are_replaced),
        TEST(test_less_and_more_again),
        TEST_OF_A_START(test_orders_before_the_start_is_over_wait),
        TEST(test_not_while_the_server_ends),
    };
    return cmocka_run_group_tests_name("resize", tests, NULL, NULL);
}
