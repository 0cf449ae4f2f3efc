/* Whom the watchdog takes for stuck; the time, the CPU time and what follows are the test's. */
#include "server/master/master_internal.h"
#include "server/master/proc.h"
#include "tests/unit/failing_call.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLOTS = 2, STUCK_AFTER_MS = 4000, STEP_MS = STUCK_AFTER_MS / 4, PID = 4711, GENERATION = 7 };

static struct server server;
static struct master master;
static struct child child;
static uint64_t now_ms;
static struct proc_thread thread; /* as /proc shows each of them */
static int killed_by;             /* signal */
static int replaced;              /* times */
static int inquiries;
static bool moves; /* the first one, while it is looked at */

WRAPPED(uint64_t, clock_monotonic_ms, void)
{
    return now_ms;
}

WRAPPED(bool, proc_thread_read, pid_t pid, pid_t tid, struct proc_thread *out)
{
    assert_int_equal(pid, PID);
    (void)tid;
    *out = thread;
    server.scoreboard->slots[0].heartbeat_ms += moves;
    return true;
}

WRAPPED(int, kill, pid_t pid, int number)
{
    assert_int_equal(pid, PID);
    killed_by = number;
    return 0;
}

WRAPPED(bool, rolling_request, struct master *of, struct child *one)
{
    assert_ptr_equal(of, &master);
    assert_ptr_equal(one, &child);
    replaced++;
    return true;
}

/* It is over at once. */
WRAPPED(void, stuck_inquiry_begin, struct master *of, const struct child *one)
{
    assert_ptr_equal(of, &master);
    assert_ptr_equal(one, &child);
    assert_true(inquiries > 0 || (killed_by == 0 && replaced == 0)); /* first it is told */
    inquiries++;
}

static struct worker_slot *slot(uint32_t index)
{
    return &server.scoreboard->slots[index];
}

static int make(void **state)
{
    (void)state;
    now_ms = 1000000;
    killed_by = 0;
    replaced = 0;
    inquiries = 0;
    moves = false;
    thread = (struct proc_thread){.state = 'S', .cpu_ticks = 100};
    server = (struct server){.scoreboard = scoreboard_create(SLOTS)};
    server.config.stuck_after_ms = STUCK_AFTER_MS;
    log_set_level(LOG_ERROR + 1);
    server.ledger = ledger_create(server.scoreboard);
    ledger_claim(server.ledger, SLOTS);
    for (uint32_t i = 0; i < SLOTS; i++) {
        slot_enter(slot(i), 0, GENERATION, SLOT_LOOP);
        slot(i)->pid = PID;
        slot_set_state(slot(i), SLOT_READY);
    }
    child = (struct child){.pid = PID,
                           .slot_count = SLOTS,
                           .loop_count = SLOTS,
                           .generation = GENERATION,
                           .ready = true};
    master = (struct master){.server = &server};
    TAILQ_INIT(&master.children);
    TAILQ_INSERT_TAIL(&master.children, &child, link);
    watchdog_open(&master);
    watchdog_run(&master); /* has seen each heartbeat once */
    return 0;
}

static int discard(void **state)
{
    (void)state;
    watchdog_close(&master);
    estate_destroy(child.estate);
    ledger_destroy(server.ledger);
    scoreboard_destroy(server.scoreboard);
    return 0;
}

/* Time goes by, look by look; the threads from beating on have a heartbeat. */
static void pass(uint64_t ms, uint32_t beating)
{
    for (uint64_t end_ms = now_ms + ms; now_ms < end_ms;) {
        now_ms += STEP_MS;
        for (uint32_t i = beating; i < SLOTS; i++) {
            slot(i)->heartbeat_ms = now_ms;
        }
        watchdog_run(&master);
    }
}

static void assert_verdicts(uint32_t first, uint32_t second, uint64_t incidents)
{
    assert_int_equal(slot(0)->verdict, first);
    assert_int_equal(slot(1)->verdict, second);
    assert_int_equal(server.scoreboard->stuck_incidents, incidents);
}

static void test_who_beats_is_well(void **state)
{
    (void)state;
    pass(10 * STUCK_AFTER_MS, 0);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 0);
}

static void test_blocked(void **state)
{
    (void)state;
    pass(STUCK_AFTER_MS, 1);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 0);
    pass(STEP_MS, 1);
    assert_verdicts(SLOT_BLOCKED, SLOT_MOVING, 1);
    assert_int_equal(watchdog_stuck_threads(&master, &child), 1);
    pass(10 * STUCK_AFTER_MS, 1);
    assert_verdicts(SLOT_BLOCKED, SLOT_MOVING, 1);
    assert_int_equal(killed_by, 0);
    assert_in_range(replaced, 1, 100);
    assert_int_equal(inquiries, 1);
}

static void test_spinning(void **state)
{
    (void)state;
    thread.state = 'R';
    pass(STUCK_AFTER_MS, 1);
    thread.cpu_ticks++;
    pass(STEP_MS, 1);
    assert_verdicts(SLOT_SPINNING, SLOT_MOVING, 1);
}

/* It would run, and the machine has no CPU for it. */
static void test_starved(void **state)
{
    (void)state;
    thread.state = 'R';
    pass(3 * STUCK_AFTER_MS, 1);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 0);
    thread.cpu_ticks++;
    pass(STEP_MS, 1);
    assert_verdicts(SLOT_SPINNING, SLOT_MOVING, 1);
}

/* It has got a CPU at last, and rests again. */
static void test_who_moves_while_it_is_looked_at(void **state)
{
    (void)state;
    thread.state = 'R';
    pass(STUCK_AFTER_MS, 1);
    thread.state = 'S';
    moves = true;
    pass(STEP_MS, 1);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 0);
}

static void test_who_comes_back_is_acquitted(void **state)
{
    (void)state;
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    pass(STEP_MS, 0);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 1);
    assert_int_equal(watchdog_stuck_threads(&master, &child), 0);
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_verdicts(SLOT_BLOCKED, SLOT_MOVING, 2);
}

static void test_who_has_ended_is_not_stuck(void **state)
{
    (void)state;
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    slot(0)->state = SLOT_ENDED;
    assert_int_equal(watchdog_stuck_threads(&master, &child), 0);
    pass(2 * STUCK_AFTER_MS, 1);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 1);
}

static void test_a_process_that_is_not_ready_has_time(void **state)
{
    (void)state;
    child.ready = false;
    pass(2 * STUCK_AFTER_MS, SLOTS);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 0);
}

/* Its master was not there, and knows nothing of that time. */
static void test_a_pause_of_the_master_does_not_count(void **state)
{
    (void)state;
    now_ms += (uint64_t)100 * STUCK_AFTER_MS;
    watchdog_run(&master);
    pass(STEP_MS, SLOTS);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 0);
    pass(STUCK_AFTER_MS, SLOTS);
    assert_verdicts(SLOT_BLOCKED, SLOT_BLOCKED, 2);
}

static void test_stopped(void **state)
{
    (void)state;
    thread.state = 'T';
    pass(10 * STUCK_AFTER_MS, SLOTS);
    assert_verdicts(SLOT_STOPPED, SLOT_STOPPED, 0);
    assert_int_equal(watchdog_stuck_threads(&master, &child), 0);
    thread.state = 'S'; /* it goes on, and is blocked */
    pass(STUCK_AFTER_MS - STEP_MS, SLOTS);
    assert_verdicts(SLOT_STOPPED, SLOT_STOPPED, 0);
    pass(2 * STEP_MS, SLOTS);
    assert_verdicts(SLOT_BLOCKED, SLOT_BLOCKED, 2);
}

static void test_nobody_left_who_works(void **state)
{
    (void)state;
    pass(STUCK_AFTER_MS, SLOTS);
    assert_int_equal(killed_by, 0);
    pass(STEP_MS, SLOTS);
    assert_int_equal(killed_by, SIGABRT);
    assert_int_equal(inquiries, 1); /* into the whole process */
    assert_true(child.aborted);
    assert_int_equal(child.kill_at_ms, now_ms + STOP_PATIENCE_MS);
    assert_int_equal(replaced, 0);
    killed_by = 0;
    pass(STUCK_AFTER_MS, SLOTS);
    assert_int_equal(killed_by, 0); /* once; SIGKILL follows */
}

static void test_report_only(void **state)
{
    (void)state;
    server.config.on_stuck = CONFIG_STUCK_REPORT;
    pass(2 * STUCK_AFTER_MS, 1);
    pass(2 * STUCK_AFTER_MS, SLOTS);
    assert_verdicts(SLOT_BLOCKED, SLOT_BLOCKED, 2);
    assert_int_equal(killed_by, 0);
    assert_int_equal(replaced, 0);
}

/* The threads are a pool's. */
static void have_spares(uint32_t count)
{
    server.config.on_stuck = CONFIG_STUCK_SPARE;
    child.spare_count = count;
    child.loop_count = 0;
}

static void test_a_spare_thread_stands_in(void **state)
{
    (void)state;
    have_spares(1);
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_int_equal(slot(0)->spares_wanted, 1);
    assert_int_equal(killed_by, SIGWINCH);
    killed_by = 0;
    pass(2 * STUCK_AFTER_MS, 1);
    assert_int_equal(killed_by, 0); /* it has been told */
    pass(STEP_MS, 0);
    assert_int_equal(slot(0)->spares_wanted, 0);
    assert_int_equal(replaced, 0);
}

static void test_more_are_stuck_than_spare_threads_may_be(void **state)
{
    (void)state;
    have_spares(1);
    child.slot_count = SLOTS;
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_int_equal(replaced, 0);
    pass(STUCK_AFTER_MS + STEP_MS, SLOTS);
    assert_int_equal(slot(0)->spares_wanted, 1);
    assert_int_equal(killed_by, SIGABRT); /* and nobody else is there */
}

static void test_there_is_no_spare_thread(void **state)
{
    (void)state;
    have_spares(0);
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_int_equal(slot(0)->spares_wanted, 0);
    assert_int_equal(killed_by, 0);
    assert_int_equal(replaced, 1);
}

static void test_a_loop_has_no_spare(void **state)
{
    (void)state;
    have_spares(1);
    child.loop_count = SLOTS;
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_int_equal(slot(0)->spares_wanted, 0);
    assert_int_equal(replaced, 1);
}

/* The process retires, and leaves to an heir what it has. */
static void begin_to_retire(void)
{
    struct error error;
    server.config.on_death = CONFIG_ON_DEATH_ADOPT;
    child.estate = estate_create(1, 16, &error);
    assert_non_null(child.estate);
    child.retiring = true;
    child.drain_until_ms = now_ms + 100 * STUCK_AFTER_MS;
}

static void test_who_retires_with_a_stuck_loop_leaves_it_to_an_heir(void **state)
{
    (void)state;
    begin_to_retire();
    slot(1)->connections_busy = 5;
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_int_equal(killed_by, SIGABRT);
    assert_true(child.aborted);
}

static void test_who_retires_answers_whom_it_can_before_that(void **state)
{
    (void)state;
    begin_to_retire();
    child.loop_count = 1; /* and a pool's thread, which is stuck */
    slot(1)->role = SLOT_POOL;
    slot(0)->connections_busy = 2;
    for (int i = 0; i < 6; i++) {
        now_ms += STEP_MS;
        slot(0)->heartbeat_ms = now_ms;
        watchdog_run(&master);
    }
    assert_verdicts(SLOT_MOVING, SLOT_BLOCKED, 1);
    assert_int_equal(killed_by, 0);
    slot(0)->connections_busy = 1; /* the stuck one */
    slot(0)->heartbeat_ms = now_ms += STEP_MS;
    watchdog_run(&master);
    assert_int_equal(killed_by, SIGABRT);
}

static void test_who_retires_without_heirs_has_its_time(void **state)
{
    (void)state;
    begin_to_retire();
    server.config.on_death = CONFIG_ON_DEATH_CUT;
    pass(2 * STUCK_AFTER_MS, 1);
    assert_int_equal(killed_by, 0);
}

/* The place of a spare thread is nobody who works. */
static void test_nobody_works_but_a_place_is_free(void **state)
{
    (void)state;
    have_spares(0);
    slot(1)->state = SLOT_SPARE;
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_int_equal(killed_by, SIGABRT);
}

/* What others write of a thread is neither its verdict nor who it is. */
static void test_verdicts_are_the_masters(void **state)
{
    (void)state;
    pass(STUCK_AFTER_MS + STEP_MS, 1);
    assert_int_equal(watchdog_stuck_threads(&master, &child), 1);
    slot(0)->verdict = SLOT_MOVING;
    slot(1)->verdict = SLOT_BLOCKED;
    assert_int_equal(watchdog_stuck_threads(&master, &child), 1);
    slot(1)->verdict = UINT32_MAX;
    slot(0)->pid = slot(1)->pid = 1;
    slot(0)->generation = slot(1)->generation = 0;
    slot(0)->spares_wanted = UINT32_MAX;
    slot(1)->draining = 1;
    pass(STEP_MS, 1);
    assert_verdicts(SLOT_BLOCKED, SLOT_MOVING, 1); /* said again */
    assert_int_equal(watchdog_stuck_threads(&master, &child), 1);
    assert_int_equal(slot(0)->pid, PID);
    assert_int_equal(slot(0)->generation, GENERATION);
    assert_int_equal(slot(0)->spares_wanted, 0);
    assert_int_equal(slot(1)->draining, 0);
}

static void test_off(void **state)
{
    (void)state;
    assert_int_equal(watchdog_due_ms(&master), now_ms + STEP_MS);
    server.config.stuck_after_ms = 0;
    assert_int_equal(watchdog_due_ms(&master), 0);
    pass(10 * STUCK_AFTER_MS, SLOTS);
    assert_verdicts(SLOT_MOVING, SLOT_MOVING, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_beats_is_well),
        TEST(test_blocked),
        TEST(test_spinning),
        TEST(test_starved),
        TEST(test_who_moves_while_it_is_looked_at),
        TEST(test_who_comes_back_is_acquitted),
        TEST(test_who_has_ended_is_not_stuck),
        TEST(test_a_process_that_is_not_ready_has_time),
        TEST(test_a_pause_of_the_master_does_not_count),
        TEST(test_stopped),
        TEST(test_nobody_left_who_works),
        TEST(test_report_only),
        TEST(test_a_spare_thread_stands_in),
        TEST(test_more_are_stuck_than_spare_threads_may_be),
        TEST(test_there_is_no_spare_thread),
        TEST(test_a_loop_has_no_spare),
        TEST(test_who_retires_with_a_stuck_loop_leaves_it_to_an_heir),
        TEST(test_who_retires_answers_whom_it_can_before_that),
        TEST(test_who_retires_without_heirs_has_its_time),
        TEST(test_nobody_works_but_a_place_is_free),
        TEST(test_verdicts_are_the_masters),
        TEST(test_off),
    };
    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
