/* --on-death adopt: who goes on with what a process leaves. An heir is told from others by its
 * retiring from the beginning. */
#include "server/setup/inheritance.h"
#include "tests/unit/master/master_testing.h"

enum { CONNECTIONS = 16 };

static int make_adopting(void **state)
{
    if (make(state) != 0) {
        return -1;
    }
    server.config.on_death = next_on_death = CONFIG_ON_DEATH_ADOPT;
    server.plan.max_connections = CONNECTIONS;
    turn();
    for (pid_t i = 0; i < PROCESSES; i++) {
        become_ready(FIRST_PID + i);
    }
    pass(10 * RESPAWN_QUICK_DEATH_MS);
    return master.phase == MASTER_RUNNING ? 0 : -1;
}

static bool is_heir(pid_t pid)
{
    return find(pid) != NULL && find(pid)->is_heir;
}

static bool is_left(uint64_t death)
{
    struct death_record record;
    assert_true(deaths_copy(server.scoreboard, death, &record));
    return record.left != 0;
}

/* Who died last has exactly this heir, which was told to end, and to be gone by then. */
static void assert_heir(pid_t pid, uint64_t drain_until_ms)
{
    assert_true(is_heir(pid));
    assert_int_equal(find(pid)->drain_until_ms, drain_until_ms);
    assert_true(was_told(pid, SIGUSR2));
    assert_int_equal(was_told(pid, SIGQUIT), master.phase == MASTER_DRAINING);
    /* Whoever it answers is told that it closes. */
    assert_true(fake(pid)->draining_slots >> find(pid)->first_slot & 1);
    assert_true(is_left(server.scoreboard->deaths - 1));
    become_ready(pid);
    assert_int_equal(find(pid)->kill_at_ms, drain_until_ms + STOP_PATIENCE_MS);
}

/* The last one, which retires. */
static pid_t retire_one(void)
{
    signal_master(SIGTTOU);
    pid_t retiring = FIRST_PID + PROCESSES - 1;
    assert_true(find(retiring)->retiring);
    return retiring;
}

static void test_who_dies_in_its_seat_has_a_successor(void **state)
{
    (void)state;
    die_of(FIRST_PID, SIGKILL);
    assert_int_equal(forks, PROCESSES + 1);
    assert_false(is_heir(last_pid()));
    assert_true(is_left(0));
}

static void test_who_dies_while_it_retires_has_an_heir(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    uint64_t drain_until_ms = now_ms + DRAIN_MS;
    pass(DRAIN_MS / 2);
    die_of(retiring, SIGKILL);
    assert_int_equal(forks, PROCESSES + 1);
    assert_int_equal(find(last_pid())->drain_timeout_ms, DRAIN_MS / 2); /* what is left of it */
    pass(3);
    assert_heir(last_pid(), drain_until_ms);
    struct death_record record;
    assert_true(deaths_copy(server.scoreboard, 0, &record));
    assert_int_equal(record.recovery_ns, 3000000);
    exit_with(last_pid(), 0);
    assert_int_equal(count_children(), PROCESSES - 1);
    assert_int_equal(server.scoreboard->deaths, 1); /* that was none */
}

static void test_an_heir_has_an_heir(void **state)
{
    (void)state;
    pid_t pid = retire_one();
    uint64_t drain_until_ms = now_ms + DRAIN_MS;
    for (int i = 0; i < 20; i++) {
        die_of(pid, i % 2 == 0 ? SIGSEGV : SIGKILL);
        pid = last_pid();
        assert_int_equal(forks, PROCESSES + 1 + i);
        assert_heir(pid, drain_until_ms);
        pass(10);
    }
    exit_with(pid, 0);
    assert_int_equal(count_children(), PROCESSES - 1);
}

/* Each dead one's descriptors are kept until somebody serves, and there is an end to that. */
static void test_heirs_that_never_serve_come_to_an_end(void **state)
{
    (void)state;
    die_of(retire_one(), SIGSEGV);
    int heirs = 0;
    while (is_heir(last_pid()) && heirs++ < 100) {
        exit_with(last_pid(), 3);
    }
    assert_in_range(heirs, 2, 99);
    assert_int_equal(count_children(), PROCESSES - 1);
    assert_false(is_left(server.scoreboard->deaths - 1));
}

static void test_the_deadline_is_over(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    pass(DRAIN_MS + STOP_PATIENCE_MS);
    assert_true(was_told(retiring, SIGKILL));
    die_of(retiring, SIGKILL);
    assert_int_equal(forks, PROCESSES);
    assert_false(is_left(0));
}

/* An heir that comes to nothing is killed like any other, and the next one has its chance. */
static void test_an_heir_that_is_not_ready_in_time(void **state)
{
    (void)state;
    server.config.start_timeout_ms = 100;
    uint64_t drain_until_ms = now_ms + DRAIN_MS;
    die_of(retire_one(), SIGKILL);
    pid_t heir = last_pid();
    pass(100);
    assert_true(was_told(heir, SIGKILL));
    die_of(heir, SIGKILL);
    assert_heir(last_pid(), drain_until_ms);
}

static void test_who_was_asked_to_end_leaves_nothing(void **state)
{
    (void)state;
    exit_with(retire_one(), 0);
    assert_int_equal(forks, PROCESSES);
    assert_int_equal(server.scoreboard->deaths, 0);
}

static void test_with_cut_nobody_has_an_heir(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    server.config.on_death = CONFIG_ON_DEATH_CUT; /* as after a reload */
    die_of(retiring, SIGKILL);
    assert_int_equal(forks, PROCESSES);
    assert_false(is_left(0));
}

static void test_no_process_can_be_forked_for_a_while(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    uint64_t drain_until_ms = now_ms + DRAIN_MS;
    failing_fork = fail_next(2, EAGAIN);
    die_of(retiring, SIGKILL);
    assert_int_equal(forks, PROCESSES);
    pass(DRAIN_MS / 2);
    assert_int_equal(forks, PROCESSES + 1);
    assert_heir(last_pid(), drain_until_ms);
}

static void test_no_process_can_be_forked(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    failing_fork = fail_next(1000, EAGAIN);
    die_of(retiring, SIGKILL);
    assert_false(TAILQ_EMPTY(&master.legacies));
    pass(DRAIN_MS);
    assert_true(TAILQ_EMPTY(&master.legacies));
    assert_int_equal(count_children(), PROCESSES - 1);
}

static void test_who_dies_beside_its_successor_has_an_heir(void **state)
{
    (void)state;
    rolling_replace(&master, 0);
    turn();
    pid_t successor = last_pid();
    die_of(FIRST_PID, SIGKILL);
    pid_t heir = last_pid();
    assert_seat(0, NONE, successor);
    assert_heir(heir, now_ms + DRAIN_MS);
    become_ready(successor);
    assert_seat(0, successor, NONE);
    assert_int_equal(forks, PROCESSES + 2);
    exit_with(heir, 0);
    assert_false(master.rolling);
}

/* It has no connections yet. */
static void test_a_successor_that_cannot_start_has_no_heir(void **state)
{
    (void)state;
    rolling_replace(&master, 0);
    turn();
    exit_with(last_pid(), 3);
    assert_int_equal(forks, PROCESSES + 1);
    assert_false(is_left(0));
}

/* What is told by a process is heard before its death, whatever came first to the master. */
static void test_a_successor_that_served_for_a_moment_leaves_to_its_own(void **state)
{
    (void)state;
    rolling_replace(&master, 0);
    turn();
    pid_t successor = last_pid();
    end_unheard(successor, W_EXITCODE(0, SIGKILL));
    say_ready(successor, true);
    signal_master(SIGCHLD);
    assert_true(is_left(0));
    assert_seat(0, last_pid(), NONE);
    assert_true(was_told(FIRST_PID, SIGUSR2));
}

/* ---- The server ends ---- */

static void test_who_dies_while_the_server_drains_has_an_heir(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    uint64_t drain_until_ms = now_ms + DRAIN_MS;
    pass(DRAIN_MS / 4);
    die_of(FIRST_PID, SIGKILL);
    assert_heir(last_pid(), drain_until_ms);
    for (int i = 1; i < PROCESSES; i++) {
        exit_with(FIRST_PID + i, 0);
    }
    assert_false(master_is_over(&master));
    exit_with(last_pid(), 0);
    assert_true(master_is_over(&master));
    assert_int_equal(master.exit_status, 0);
}

static void test_the_servers_end_is_not_put_off(void **state)
{
    (void)state;
    signal_master(SIGQUIT);
    pass(DRAIN_MS - 1);
    for (int i = 0; i < PROCESSES; i++) {
        die_of(FIRST_PID + i, SIGKILL);
    }
    assert_int_equal(count_children(), PROCESSES);
    pass(1 + STOP_PATIENCE_MS);
    for (int i = 0; i < PROCESSES; i++) {
        assert_true(was_told(FIRST_PID + PROCESSES + i, SIGKILL));
        die_of(FIRST_PID + PROCESSES + i, SIGKILL);
    }
    assert_true(master_is_over(&master));
}

static void test_an_heir_drains_with_the_server(void **state)
{
    (void)state;
    die_of(retire_one(), SIGKILL);
    pid_t heir = last_pid();
    assert_false(was_told(heir, SIGQUIT));
    signal_master(SIGQUIT);
    assert_true(was_told(heir, SIGQUIT));
}

static void test_a_server_that_stops_waits_for_no_heir(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    failing_fork = fail_next(1000, EAGAIN);
    die_of(retiring, SIGKILL);
    signal_master(SIGTERM);
    assert_true(TAILQ_EMPTY(&master.legacies));
    die_of(FIRST_PID, SIGKILL);
    exit_with(FIRST_PID + 1, 0);
    assert_true(master_is_over(&master));
    assert_int_equal(forks, PROCESSES);
}

/* ---- Nobody will sit where something waits ---- */

/* Whoever sits there dies so often that the next one has to wait. */
static void vacate(uint32_t number)
{
    struct seat *seat = &master.seats[number];
    for (int i = 0; seat->child != NULL && i < 20; i++) {
        die_of(seat->child->pid, SIGSEGV);
        if (seat->child != NULL) {
            become_ready(seat->child->pid);
        }
    }
    assert_non_null(seat->legacy);
}

static void test_a_seat_goes_where_something_waits(void **state)
{
    (void)state;
    vacate(PROCESSES - 1);
    int seen = forks;
    signal_master(SIGTTOU);
    assert_int_equal(forks, seen + 1);
    assert_heir(last_pid(), now_ms + DRAIN_MS);
}

static void test_the_server_drains_where_something_waits(void **state)
{
    (void)state;
    vacate(0);
    int seen = forks;
    signal_master(SIGQUIT);
    assert_int_equal(forks, seen + 1);
    assert_heir(last_pid(), now_ms + DRAIN_MS);
}

static void test_a_reload_changes_the_number_of_threads(void **state)
{
    (void)state;
    next_loops = 2;
    signal_master(SIGHUP);
    become_ready(last_pid()); /* in force */
    assert_int_equal(master.server->plan.loops, 2);
    pid_t old = FIRST_PID + PROCESSES - 1;
    assert_false(find(old)->retiring);
    int seen = forks;
    die_of(old, SIGKILL);
    assert_int_equal(forks, seen + 2);
    pid_t heir = is_heir(last_pid()) ? last_pid() : last_pid() - 1;
    assert_int_equal(find(heir)->loop_count, 1);
    assert_int_equal(find(heir)->slot_count, 1);
    assert_heir(heir, now_ms + DRAIN_MS);
    assert_int_equal(master.seats[PROCESSES - 1].child->loop_count, 2);
}

/* Who had moved in for a configuration that came to nothing is not the last. */
static void test_a_reload_that_comes_to_nothing(void **state)
{
    (void)state;
    signal_master(SIGHUP);
    die_of(FIRST_PID + 2, SIGKILL); /* beside the first one on trial, in another seat */
    pid_t moved_in = master.seats[2].child->pid;
    exit_with(FIRST_PID + PROCESSES, 3);
    assert_false(master.on_trial);
    assert_true(was_told(moved_in, SIGKILL));
    die_of(moved_in, SIGKILL);
    pid_t heir = is_heir(last_pid()) ? last_pid() : last_pid() - 1;
    assert_heir(heir, now_ms + DRAIN_MS);
    assert_int_equal(find(heir)->epoch, 1);
}

/* ---- An upgrade ---- */

static void hand_over(void)
{
    const char news = INHERITANCE_SERVES;
    signal_master(SIGUSR2);
    assert_int_equal(send(talk_fd, &news, 1, MSG_NOSIGNAL), 1);
    turn();
    assert_int_equal(master.phase, MASTER_HANDED_OVER);
}

static void test_who_dies_after_an_upgrade_has_an_heir(void **state)
{
    (void)state;
    pass(10);
    hand_over();
    uint64_t drain_until_ms = now_ms + DRAIN_MS;
    pass(DRAIN_MS / 2);
    die_of(FIRST_PID, SIGKILL);
    assert_heir(last_pid(), drain_until_ms);
    exit_with(last_pid(), 0);
    for (int i = 1; i < PROCESSES; i++) {
        exit_with(FIRST_PID + i, 0);
    }
    pass(TRIAL_MS);
    assert_true(master_is_over(&master));
}

static void test_an_upgrade_where_something_waits(void **state)
{
    (void)state;
    vacate(0);
    int seen = forks;
    hand_over();
    assert_int_equal(forks, seen + 2); /* the new program, and the heir */
    assert_heir(last_pid(), now_ms + DRAIN_MS);
}

/* ---- The books ---- */

/* It has a request in progress, and two connections on which one is awaited. */
static void serve(pid_t pid)
{
    struct worker_slot *slot = &server.scoreboard->slots[find(pid)->first_slot];
    slot->counters.requests_started = 5;
    slot->counters.requests_finished = 4;
    slot->connections_open = 3;
    slot->connections_busy = 1;
}

static uint64_t lost(uint64_t death)
{
    struct death_record record;
    assert_true(deaths_copy(server.scoreboard, death, &record));
    return deaths_requests_lost(&record);
}

static void assert_lost(uint64_t requests)
{
    assert_int_equal(lost(server.scoreboard->deaths - 1), requests);
    assert_int_equal(server.scoreboard->requests_lost, requests);
}

static void test_what_a_successor_goes_on_with_is_booked_to_the_death(void **state)
{
    (void)state;
    serve(FIRST_PID);
    die_of(FIRST_PID, SIGKILL);
    struct worker_slot *slot = &server.scoreboard->slots[find(last_pid())->first_slot];
    slot->counters.adoption[ADOPTION_CONNECTIONS] = 3;
    become_ready(last_pid());
    slot->counters.adoption[ADOPTION_REPEATED] = 1; /* later */
    rolling_replace(&master, 0);
    turn();
    become_ready(last_pid());
    exit_with(last_pid() - 1, 0);
    struct death_record record;
    assert_true(deaths_copy(server.scoreboard, 0, &record));
    assert_int_equal(record.adoption.of[ADOPTION_CONNECTIONS], 3);
    assert_int_equal(record.adoption.of[ADOPTION_REPEATED], 1);
    assert_lost(0);
}

/* The kernel has no memory for it, or no process. */
static void test_a_successor_that_cannot_go_on(void **state)
{
    (void)state;
    serve(FIRST_PID);
    die_of(FIRST_PID, SIGKILL);
    assert_lost(0);
    say_ready(last_pid(), false);
    turn();
    assert_lost(3);
    serve(last_pid());
    die_of(last_pid(), SIGKILL);
    assert_false(is_left(1));
    assert_int_equal(lost(1), 3);
}

static void test_an_heir_that_cannot_go_on(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    serve(retiring);
    die_of(retiring, SIGKILL);
    say_ready(last_pid(), false);
    turn();
    assert_lost(3);
    exit_with(last_pid(), 0);
    assert_lost(3);
}

static void test_an_heir_that_ends_before_it_goes_on(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    serve(retiring);
    die_of(retiring, SIGKILL);
    exit_with(last_pid(), 0);
    assert_lost(3);
}

static void test_what_waits_when_the_server_stops(void **state)
{
    (void)state;
    pid_t retiring = retire_one();
    serve(retiring);
    failing_fork = fail_next(1000, EAGAIN);
    die_of(retiring, SIGKILL);
    assert_lost(0);
    signal_master(SIGTERM);
    assert_lost(3);
}

int main(void)
{
#define ADOPTING(test) cmocka_unit_test_setup_teardown(test, make_adopting, discard)
    const struct CMUnitTest tests[] = {
        ADOPTING(test_who_dies_in_its_seat_has_a_successor),
        ADOPTING(test_who_dies_while_it_retires_has_an_heir),
        ADOPTING(test_an_heir_has_an_heir),
        ADOPTING(test_heirs_that_never_serve_come_to_an_end),
        ADOPTING(test_the_deadline_is_over),
        ADOPTING(test_an_heir_that_is_not_ready_in_time),
        ADOPTING(test_who_was_asked_to_end_leaves_nothing),
        ADOPTING(test_with_cut_nobody_has_an_heir),
        ADOPTING(test_no_process_can_be_forked_for_a_while),
        ADOPTING(test_no_process_can_be_forked),
        ADOPTING(test_who_dies_beside_its_successor_has_an_heir),
        ADOPTING(test_a_successor_that_cannot_start_has_no_heir),
        ADOPTING(test_a_successor_that_served_for_a_moment_leaves_to_its_own),
        ADOPTING(test_who_dies_while_the_server_drains_has_an_heir),
        ADOPTING(test_the_servers_end_is_not_put_off),
        ADOPTING(test_an_heir_drains_with_the_server),
        ADOPTING(test_a_server_that_stops_waits_for_no_heir),
        ADOPTING(test_a_seat_goes_where_something_waits),
        ADOPTING(test_the_server_drains_where_something_waits),
        ADOPTING(test_a_reload_changes_the_number_of_threads),
        ADOPTING(test_a_reload_that_comes_to_nothing),
        ADOPTING(test_who_dies_after_an_upgrade_has_an_heir),
        ADOPTING(test_an_upgrade_where_something_waits),
        ADOPTING(test_what_a_successor_goes_on_with_is_booked_to_the_death),
        ADOPTING(test_a_successor_that_cannot_go_on),
        ADOPTING(test_an_heir_that_cannot_go_on),
        ADOPTING(test_an_heir_that_ends_before_it_goes_on),
        ADOPTING(test_what_waits_when_the_server_stops),
    };
    return cmocka_run_group_tests_name("heirs", tests, NULL, NULL);
}
