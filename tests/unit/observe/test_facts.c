/* One reading of shared memory, in which everybody may have written anything. */
#include "server/observe/facts.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/observe/observe_testing.h"

static struct facts_reader *reader;

static int make(void **state)
{
    (void)state;
    make_server(3, 2);
    reader = facts_reader_create(scoreboard, bulletin, NULL);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    facts_reader_destroy(reader);
    discard_server();
    return 0;
}

static void test_what_stands_there(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[3];
    struct client_address client = client_at("10.1.2.3", 77);
    slot->counters.requests_started = 10;
    slot->counters.requests_finished = 8;
    slot->connections_open = 5;
    slot->connections_busy = 2;
    slot->connections_idle = 1;
    slot->verdict = SLOT_BLOCKED;
    slot->heartbeat_ms = clock_monotonic_ms() - 5000;
    slot_note_begin(slot, SPAN("GET /x?y HTTP/1.1"), &client);
    const struct facts *facts = facts_read(reader);
    assert_true(facts->agreed);
    assert_int_equal(facts->master_pid, 4242);
    assert_int_equal(facts->phase, BULLETIN_RUNNING);
    assert_int_equal(facts->wanted, 3);
    assert_int_equal(facts->process_count, 3);
    assert_int_equal(facts->slot_count, 6);
    const struct facts_process *process = &facts->processes[1];
    assert_int_equal(process->number, 1);
    assert_int_equal(process->generation, 2);
    assert_int_equal(process->count, 2);
    const struct facts_slot *read = &facts->slots[process->first + 1];
    assert_int_equal(read->slot, 3);
    assert_int_equal(read->role, SLOT_POOL);
    assert_int_equal(read->verdict, SLOT_BLOCKED);
    assert_in_range(read->heartbeat_age_ms, 5000, 65000);
    assert_int_equal(read->counters.requests_finished, 8);
    assert_int_equal(read->connections_busy, 2);
    assert_true(read->has_current);
    assert_string_equal(read->current.line, "GET /x?y HTTP/1.1");
    assert_string_equal(read->current.client, "10.1.2.3:77");
    assert_int_equal(facts->totals.counters.requests_started, 10);
    assert_int_equal(facts->totals.connections_open, 5);
    assert_int_equal(facts->totals.connections_idle, 1);
}

/* Places of spare threads, and those that nobody has entered, are nobody's. */
static void test_places_without_a_thread(void **state)
{
    (void)state;
    scoreboard->slots[1].state = SLOT_SPARE;
    scoreboard->slots[2].state = SLOT_EMPTY;
    const struct facts *facts = facts_read(reader);
    assert_int_equal(facts->slot_count, 4);
    assert_int_equal(facts->processes[0].count, 1);
    assert_int_equal(facts->processes[1].first, 1);
    assert_int_equal(facts->slots[1].slot, 3);
}

static void test_totals_over_a_death(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        scoreboard->slots[i].counters.requests_started = 11;
        scoreboard->slots[i].counters.requests_finished = 10;
        scoreboard->slots[i].counters.bytes_sent = 100;
        scoreboard->slots[i].connections_open = 2;
        scoreboard->slots[i].connections_busy = 1;
    }
    assert_int_equal(facts_read(reader)->totals.counters.requests_finished, 60);
    bury_process(1, SIGSEGV, true);
    const struct facts *facts = facts_read(reader);
    assert_true(facts->agreed);
    assert_int_equal(facts->totals.counters.requests_started, 66);
    assert_int_equal(facts->totals.counters.requests_finished, 60);
    assert_int_equal(facts->totals.counters.bytes_sent, 600);
    assert_int_equal(facts->totals.deaths, 1);
    assert_int_equal(facts->totals.deaths_by_signal[SIGSEGV], 1);
    assert_int_equal(facts->totals.in_progress_lost, 2);
    assert_int_equal(facts->totals.requests_lost, 4);
    assert_int_equal(facts->totals.connections_open, 8); /* a gauge: what is there */
    assert_int_equal(facts->deaths.first, 0);
    assert_int_equal(facts->deaths.end, 1);
    assert_int_equal(facts->process_count, 3);
    assert_int_equal(facts->processes[2].generation, 4);
}

/* The master has been stopped while it moves counters from a slot to its books. */
static void test_half_a_burial_is_not_seen(void **state)
{
    (void)state;
    scoreboard->slots[0].counters.requests_finished = 100;
    scoreboard->slots[2].counters.requests_finished = 7;
    assert_int_equal(facts_read(reader)->totals.counters.requests_finished, 107);
    bulletin_begin(bulletin);
    scoreboard->slots[0].counters.requests_finished = 0;
    scoreboard->slots[2].connections_open = 3;
    const struct facts *facts = facts_read(reader);
    assert_false(facts->agreed);
    assert_int_equal(facts->totals.counters.requests_finished, 107);
    assert_int_equal(facts->totals.connections_open, 3); /* what can be known is told */
    assert_int_equal(facts->process_count, 3);
    assert_int_equal(facts->master_pid, 4242);
}

/* Requests that a dead process had started are left to a successor, and counted when it starts
 * them. */
static void test_what_is_left_to_a_successor_does_not_count_back(void **state)
{
    (void)state;
    scoreboard->slots[0].counters.requests_started = 50;
    scoreboard->slots[0].counters.requests_finished = 45;
    facts_read(reader);
    struct death_record *death = memory_alloc_zeroed(1, sizeof(*death));
    death->slot_count = 2;
    death->signal = SIGKILL;
    death->left = 1;
    bulletin_begin(bulletin);
    ledger_bury(ledger, death);
    word.processes[0].slot_count = 0;
    post();
    free(death);
    assert_int_equal(word.totals.dead.requests_started, 45);
    assert_int_equal(facts_read(reader)->totals.counters.requests_started, 50);
    scoreboard->slots[2].counters.requests_started = 5; /* it has started them */
    assert_int_equal(facts_read(reader)->totals.counters.requests_started, 50);
    scoreboard->slots[2].counters.requests_started = 6;
    assert_int_equal(facts_read(reader)->totals.counters.requests_started, 51);
}

/* What event loops have measured, one by one. */
static uint64_t told;

static void count_requests(void *data, const struct facts_process *process,
                           const struct facts_slot *slot, const struct histogram_copy *requests)
{
    assert_int_equal(slot->role, SLOT_LOOP);
    assert_in_range(slot - facts_last(reader)->slots, process->first,
                    process->first + process->count - 1);
    *(uint64_t *)data += requests->count;
}

static void assert_possible(const struct facts *facts)
{
    assert_int_equal(facts->process_count, 3);
    assert_in_range(facts->slot_count, 0, 6);
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        const struct facts_slot *slot = &facts->slots[i];
        assert_in_range(slot->slot, 0, 5);
        assert_in_range(slot->role, SLOT_LOOP, SLOT_POOL);
        assert_in_range(slot->verdict, SLOT_MOVING, SLOT_BLOCKED);
        assert_in_range(slot->state, SLOT_CLAIMED, SLOT_STATES);
        assert_non_null(slot_state_name(slot->state));
        assert_in_range(slot->counters.bytes_sent, 0, COUNTER_MOST - 1);
        assert_in_range(slot->connections_open, 0, UINT32_MAX);
        if (slot->has_current) {
            assert_in_range(strlen(slot->current.line), 0, NOTE_LINE_BYTES);
        }
    }
    assert_in_range(facts->totals.counters.requests_finished, 100, 7 * COUNTER_MOST);
}

static void test_whatever_is_written_there(void **state)
{
    (void)state;
    scoreboard->slots[0].counters.requests_finished = 100;
    facts_read(reader);
    for (size_t i = 0; i < SCRIBBLES; i++) {
        struct latency_copy latency;
        scribble(scribbles[i]);
        const struct facts *facts = facts_read(reader);
        assert_possible(facts);
        facts_read_latency(reader, &latency, count_requests, &told);
        assert_in_range(latency.requests.count, 0, UINT64_MAX / 2);
    }
}

/* Nobody but the master can say so; and yet. */
static void test_a_process_with_slots_that_are_not_there(void **state)
{
    (void)state;
    word.processes[1].first_slot = scoreboard->slot_capacity - 1;
    word.processes[1].slot_count = 5;
    post();
    const struct facts *facts = facts_read(reader);
    assert_in_range(facts->processes[1].count, 0, 1);
}

static void test_latency_of_the_living_and_the_dead(void **state)
{
    (void)state;
    struct latency_copy latency;
    told = 0;
    histogram_add(&scoreboard->slots[0].latency.requests, 1000000, 3);
    histogram_add(&scoreboard->slots[2].latency.requests, 2000000, 4);
    histogram_add(&scoreboard->slots[2].latency.turns, 500, 9);
    facts_read(reader);
    assert_true(facts_read_latency(reader, &latency, count_requests, &told));
    assert_int_equal(latency.requests.count, 7);
    assert_int_equal(told, 7);
    bury_process(1, SIGKILL, true);
    facts_read(reader);
    assert_true(facts_read_latency(reader, &latency, count_requests, &told));
    assert_int_equal(latency.requests.count, 7);
    assert_int_equal(latency.turns.count, 9);
    bulletin_begin(bulletin);
    histogram_add(&scoreboard->slots[0].latency.requests, 1000, 1);
    facts_read(reader);
    assert_false(facts_read_latency(reader, &latency, count_requests, &told));
    assert_int_equal(latency.requests.count, 7); /* the last that agreed */
}

static void test_the_master_is_heard(void **state)
{
    (void)state;
    word.beat_ms = clock_monotonic_ms() - 4000;
    bulletin_post(bulletin, &word);
    assert_in_range(facts_read(reader)->heard_ms, 4000, 64000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_stands_there, make, discard),
        cmocka_unit_test_setup_teardown(test_places_without_a_thread, make, discard),
        cmocka_unit_test_setup_teardown(test_totals_over_a_death, make, discard),
        cmocka_unit_test_setup_teardown(test_half_a_burial_is_not_seen, make, discard),
        cmocka_unit_test_setup_teardown(test_what_is_left_to_a_successor_does_not_count_back, make,
                                        discard),
        cmocka_unit_test_setup_teardown(test_whatever_is_written_there, make, discard),
        cmocka_unit_test_setup_teardown(test_a_process_with_slots_that_are_not_there, make,
                                        discard),
        cmocka_unit_test_setup_teardown(test_latency_of_the_living_and_the_dead, make, discard),
        cmocka_unit_test_setup_teardown(test_the_master_is_heard, make, discard),
    };
    return cmocka_run_group_tests_name("facts", tests, NULL, NULL);
}
