/* Keepers that die before the processes that they are for. */
#include "tests/unit/master/master_testing.h"

enum { YOUNG_MS = 5000 };

/* A process that it will know for a keeper. */
static pid_t start_keeper(void)
{
    return __wrap_fork();
}

static void become_ready_with(pid_t pid, pid_t keeper_pid)
{
    tell_readiness(&(struct readiness_news){
        .generation = find(pid)->generation, .goes_on = true, .keeper_pid = keeper_pid});
    turn();
}

/* A successor of the process in the first seat, with a keeper; whose pid is returned. */
static pid_t replace_first(void)
{
    pid_t old = pid_of(master.seats[0].child);
    rolling_replace(&master, 0);
    turn();
    pid_t successor = last_pid();
    pid_t keeper = start_keeper();
    become_ready_with(successor, keeper);
    assert_seat(0, successor, NONE);
    exit_with(old, 0);
    return keeper;
}

static void test_its_process_is_replaced(void **state)
{
    (void)state;
    pid_t keeper = replace_first();
    pid_t old = pid_of(master.seats[0].child);
    pass(2 * YOUNG_MS);
    assert_seat(0, old, NONE);
    die_of(keeper, SIGKILL);
    pid_t successor = last_pid();
    assert_seat(0, old, successor);
    assert_int_equal(fake(old)->order_count, 0); /* it serves until the other does */
    become_ready_with(successor, start_keeper());
    assert_seat(0, successor, NONE);
    assert_true(was_told(old, SIGUSR2));
    exit_with(old, 0);
    assert_int_equal(server.scoreboard->deaths, 0);
    int seen = forks;
    pass(60000);
    assert_int_equal(forks, seen);
}

/* Else it would never end where something kills all keepers. */
static void test_a_young_process_waits(void **state)
{
    (void)state;
    pid_t keeper = replace_first();
    pid_t old = pid_of(master.seats[0].child);
    pass(1000);
    die_of(keeper, SIGKILL);
    assert_seat(0, old, NONE);
    pass(YOUNG_MS - 1001);
    assert_seat(0, old, NONE);
    pass(1);
    assert_seat(0, old, last_pid());
}

/* It is reaped when nobody knows yet whose it is. */
static void test_a_keeper_that_dies_before_its_process_is_ready(void **state)
{
    (void)state;
    rolling_replace(&master, 0);
    turn();
    pid_t successor = last_pid();
    pid_t keeper = start_keeper();
    die_of(keeper, SIGKILL);
    become_ready_with(successor, keeper);
    assert_seat(0, successor, NONE);
    assert_true(find(successor)->lacks_keeper);
    pass(YOUNG_MS);
    assert_seat(0, successor, last_pid());
}

/* Its sockets are gone, and its process, too: there is nobody to be replaced. */
static void test_a_keeper_of_one_that_is_dead(void **state)
{
    (void)state;
    pid_t keeper = replace_first();
    pass(2 * YOUNG_MS);
    die_of(pid_of(master.seats[0].child), SIGKILL);
    pid_t successor = last_pid();
    become_ready(successor);
    exit_with(keeper, 0);
    pass(60000);
    assert_seat(0, successor, NONE);
}

static void test_who_retires_is_not_replaced(void **state)
{
    (void)state;
    pid_t keeper = replace_first();
    pid_t old = pid_of(master.seats[0].child);
    rolling_replace(&master, 0);
    turn();
    become_ready(last_pid());
    assert_true(find(old)->retiring);
    int seen = forks;
    die_of(keeper, SIGKILL);
    pass(1);
    assert_int_equal(forks, seen);
}

/* Nobody tells it to wait when the server may start no successor: it is done later. */
static void test_a_successor_that_cannot_start(void **state)
{
    (void)state;
    pid_t keeper = replace_first();
    pid_t old = pid_of(master.seats[0].child);
    pass(2 * YOUNG_MS);
    die_of(keeper, SIGKILL);
    exit_with(last_pid(), 3);
    assert_seat(0, old, NONE);
    pass(1000);
    assert_seat(0, old, last_pid());
    become_ready(last_pid());
    assert_true(was_told(old, SIGUSR2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_its_process_is_replaced),
        TEST(test_a_young_process_waits),
        TEST(test_a_keeper_that_dies_before_its_process_is_ready),
        TEST(test_a_keeper_of_one_that_is_dead),
        TEST(test_who_retires_is_not_replaced),
        TEST(test_a_successor_that_cannot_start),
    };
    return cmocka_run_group_tests_name("keepers", tests, NULL, NULL);
}
