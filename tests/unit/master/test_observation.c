/* When there is an observer, what it is told, and what becomes of its death. */
#include "tests/unit/master/master_testing.h"

static struct bulletin_copy seen;

/* The configuration in force has an observer; it was started in a turn of its own. */
static int make_observed(void **state)
{
    struct error error;
    struct endpoints endpoints = {.count = 1};
    const struct listener_plan plan = {.count = 1};
    if (make_running(state) != 0 || !endpoint_parse(&endpoints.list[0], "127.0.0.1:0") ||
        !listeners_open(&server.observing, &endpoints, &plan, &error)) {
        return -1;
    }
    turn();
    return master.observation.pid == FIRST_PID + PROCESSES ? 0 : -1;
}

static int discard_observed(void **state)
{
    struct listeners observing = server.observing;
    int result = discard(state);
    listeners_close(&observing);
    return result;
}

static pid_t observer(void)
{
    return master.observation.pid;
}

/* What the observer would read now. */
static const struct bulletin_copy *read_bulletin(void)
{
    assert_true(bulletin_read(master.observation.bulletin, &seen));
    return &seen;
}

static void test_without_the_setting_there_is_none(void **state)
{
    (void)state;
    assert_int_equal(forks, PROCESSES);
    assert_int_equal(observer(), 0);
    assert_null(master.observation.bulletin);
    assert_null(observation_token(&master));
}

static void test_it_has_no_seat_and_no_slot(void **state)
{
    (void)state;
    assert_int_equal(count_children(), PROCESSES);
    assert_null(find(observer()));
    const struct bulletin_copy *copy = read_bulletin();
    assert_int_equal(copy->phase, BULLETIN_RUNNING);
    assert_int_equal(copy->wanted, PROCESSES);
    assert_int_equal(copy->observer_deaths, 0);
    assert_int_equal(copy->process_count, PROCESSES);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(copy->processes[i].pid, FIRST_PID + i);
        assert_int_equal(copy->processes[i].number, i);
        assert_int_equal(copy->processes[i].state, BULLETIN_CHILD_READY);
        assert_int_equal(copy->processes[i].slot_count, 1);
    }
}

static void test_its_death_is_no_death_of_the_server(void **state)
{
    (void)state;
    pid_t first = observer();
    pass(60000);
    die_of(first, SIGKILL);
    pass(1);
    assert_int_not_equal(observer(), first);
    assert_int_equal(observer(), last_pid());
    assert_int_equal(server.scoreboard->deaths, 0);
    assert_int_equal(read_bulletin()->observer_deaths, 1);
    assert_int_equal(count_children(), PROCESSES);
}

/* Slower and slower, as processes that serve; and for ever. */
static void test_one_that_keeps_dying(void **state)
{
    (void)state;
    uint64_t longest_ms = 0;
    for (int i = 0; i < 20; i++) {
        assert_true(observer() != 0);
        die_of(observer(), SIGSEGV);
        uint64_t died_ms = now_ms;
        while (observer() == 0) {
            pass(10);
            assert_in_range(now_ms - died_ms, 0, 10000);
        }
        longest_ms = now_ms - died_ms > longest_ms ? now_ms - died_ms : longest_ms;
    }
    assert_in_range(longest_ms, 3900, 6100);
    assert_int_equal(count_children(), PROCESSES);
}

static void test_one_that_cannot_be_forked(void **state)
{
    (void)state;
    pass(60000);
    failing_fork = fail_next(1, EAGAIN);
    die_of(observer(), SIGKILL);
    pass(1);
    assert_int_equal(observer(), 0);
    pass(1000);
    assert_int_equal(observer(), last_pid());
}

static void test_the_master_beats(void **state)
{
    (void)state;
    pass(60000);
    assert_in_range(now_ms - read_bulletin()->beat_ms, 0, BULLETIN_BEAT_MS);
}

static void test_it_is_told_of_deaths(void **state)
{
    (void)state;
    pass(60000);
    die_of(FIRST_PID, SIGSEGV);
    const struct bulletin_copy *copy = read_bulletin();
    assert_int_equal(copy->totals.deaths, 1);
    pass(1);
    copy = read_bulletin();
    assert_int_equal(copy->process_count, PROCESSES);
    assert_int_equal(copy->processes[PROCESSES - 1].state, BULLETIN_CHILD_STARTING);
}

static void test_it_stays_until_the_end(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    const struct bulletin_copy *copy = read_bulletin();
    assert_int_equal(copy->phase, BULLETIN_DRAINING);
    die_of(observer(), SIGKILL);
    pass(100);
    assert_int_equal(observer(), last_pid());
    signal_master(SIGTERM);
    assert_int_equal(read_bulletin()->phase, BULLETIN_STOPPING);
    for (pid_t i = 0; i < PROCESSES; i++) {
        exit_with(FIRST_PID + i, 0);
    }
    assert_true(master_is_over(&master));
    assert_false(was_told(observer(), SIGTERM));
}

/* All processes of the new configuration, one after the other. */
static void become_all_ready(void)
{
    struct child *child = TAILQ_FIRST(&master.children);
    while (child != NULL) {
        struct child *next = TAILQ_NEXT(child, link);
        if (child->ready && child->retiring) {
            exit_with(child->pid, 0);
        } else if (!child->ready) {
            become_ready(child->pid);
            next = TAILQ_FIRST(&master.children);
        }
        child = next;
    }
    assert_false(master.rolling);
}

/* The new configuration may have it elsewhere, or as somebody else. */
static void test_a_reload_brings_another_one(void **state)
{
    (void)state;
    pid_t first = observer();
    signal_master(SIGHUP);
    assert_int_equal(observer(), first); /* it is not decided */
    become_ready(last_pid());
    assert_true(was_told(first, SIGUSR2));
    assert_int_equal(observer(), 0); /* the first one may still accept */
    bulletin_retire(master.observation.bulletin, (int32_t)first);
    pass(10);
    assert_true(observer() != 0 && observer() != first);
    assert_false(was_told(first, SIGKILL));
    exit_with(first, 0);
    become_all_ready();
    pass(10000);
    assert_false(was_told(first, SIGKILL));
}

static void test_one_that_has_left_is_not_awaited(void **state)
{
    (void)state;
    pid_t first = observer();
    signal_master(SIGHUP);
    become_ready(last_pid());
    assert_int_equal(observer(), 0);
    exit_with(first, 0);
    pass(10);
    assert_true(observer() != 0 && observer() != first);
}

static void test_one_that_does_not_leave(void **state)
{
    (void)state;
    pid_t first = observer();
    signal_master(SIGHUP);
    become_ready(last_pid());
    become_all_ready();
    pass(2400);
    assert_int_equal(observer(), 0);
    pass(200);
    assert_true(observer() != 0 && observer() != first);
    assert_false(was_told(first, SIGKILL));
    pass(10000);
    assert_true(was_told(first, SIGKILL));
}

static void test_a_reload_that_is_refused(void **state)
{
    (void)state;
    pid_t first = observer();
    is_next_openable = false;
    signal_master(SIGHUP);
    pass(1000);
    assert_int_equal(observer(), first);
    is_next_openable = true;
    signal_master(SIGHUP); /* one that fails its trial */
    exit_with(last_pid(), 1);
    pass(1000);
    assert_int_equal(observer(), first);
}

static void test_an_upgrade(void **state)
{
    (void)state;
    pid_t first = observer();
    signal_master(SIGUSR2);
    pid_t program = last_pid();
    assert_int_equal(observer(), first);
    assert_int_equal(send(talk_fd, "R", 1, MSG_NOSIGNAL), 1); /* it serves */
    turn();
    assert_true(was_told(first, SIGUSR2));
    assert_int_equal(observer(), 0);
    exit_with(first, 0);
    die_of(program, SIGSEGV); /* on trial: this program serves again, and is seen to */
    pass(1);
    assert_true(observer() != 0);
    assert_int_equal(read_bulletin()->phase, BULLETIN_RUNNING);
}

/* It says now and then that it is there. What it says may be a lie: then it is believed for so
 * long.
 */
static void test_one_that_hangs(void **state)
{
    (void)state;
    const uint64_t patience_ms = 5000;
    pid_t first = observer();
    server.config.stuck_after_ms = patience_ms;
    bulletin_acknowledge(master.observation.bulletin, now_ms + 1000000);
    pass(patience_ms - 1000);
    assert_false(was_told(first, SIGKILL));
    bulletin_acknowledge(master.observation.bulletin, now_ms);
    pass(patience_ms - 1000);
    assert_false(was_told(first, SIGKILL));
    pass(2000);
    assert_true(was_told(first, SIGKILL));
    assert_int_equal(fake(first)->order_count, 1);
    die_of(first, SIGKILL);
    pass(1);
    pid_t second = observer(); /* what the first one said does not count for it */
    assert_int_not_equal(second, first);
    pass(patience_ms - 1000);
    assert_false(was_told(second, SIGKILL));
    server.config.stuck_after_ms = 0;
}

static void test_one_that_hangs_while_nobody_looks(void **state)
{
    (void)state;
    pass(600000);
    assert_false(was_told(observer(), SIGKILL));
}

#define TEST_OBSERVED(name) cmocka_unit_test_setup_teardown(name, make_observed, discard_observed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_the_setting_there_is_none),
        TEST_OBSERVED(test_it_has_no_seat_and_no_slot),
        TEST_OBSERVED(test_its_death_is_no_death_of_the_server),
        TEST_OBSERVED(test_one_that_keeps_dying),
        TEST_OBSERVED(test_one_that_cannot_be_forked),
        TEST_OBSERVED(test_the_master_beats),
        TEST_OBSERVED(test_it_is_told_of_deaths),
        TEST_OBSERVED(test_it_stays_until_the_end),
        TEST_OBSERVED(test_a_reload_brings_another_one),
        TEST_OBSERVED(test_one_that_has_left_is_not_awaited),
        TEST_OBSERVED(test_one_that_does_not_leave),
        TEST_OBSERVED(test_a_reload_that_is_refused),
        TEST_OBSERVED(test_an_upgrade),
        TEST_OBSERVED(test_one_that_hangs),
        TEST_OBSERVED(test_one_that_hangs_while_nobody_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
