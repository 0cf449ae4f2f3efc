/* What the master decides by, and what it shows of that. */
#include "common/scoreboard/ledger.h"

#include "common/scoreboard/scoreboard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/client_at.h"

#include "tests/unit/failing_check.h"

enum { PROCESSES = 3, SLOTS_EACH = 2, SLOTS = PROCESSES * SLOTS_EACH };

static struct scoreboard *scoreboard;
static struct ledger *ledger;
static struct death_record copies[DEATH_RECORDS], buried;

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(SLOTS);
    ledger = ledger_create(scoreboard);
    return ledger_claim(ledger, SLOTS) != 0;
}

static int make_empty(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(SLOTS);
    ledger = ledger_create(scoreboard);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    ledger_destroy(ledger);
    scoreboard_destroy(scoreboard);
    return 0;
}

/* All that are remembered, oldest first; returns how many. */
static uint32_t copy_deaths(void)
{
    uint32_t count = 0;
    struct number_range remembered = deaths_remembered(scoreboard);
    for (uint64_t i = remembered.first; i < remembered.end; i++) {
        count += deaths_copy(scoreboard, i, &copies[count]);
    }
    return count;
}

static void note(uint32_t slot, const char *line)
{
    struct client_address client = client_at("10.1.2.3", (uint16_t)(1000 + slot));
    slot_note_begin(&scoreboard->slots[slot], span_of(line), &client);
}

static const struct death_record *bury_slots(uint32_t first, uint32_t count)
{
    buried = (struct death_record){.first_slot = first, .slot_count = count, .signal = 9};
    ledger_bury(ledger, &buried);
    return &buried;
}

static const struct death_record *bury(uint32_t process)
{
    return bury_slots(process * SLOTS_EACH, SLOTS_EACH);
}

static void test_claims(void **state)
{
    (void)state;
    assert_int_equal(scoreboard->slot_count, 0);
    assert_int_equal(ledger_claim(ledger, 2), 0);
    assert_int_equal(ledger_claim(ledger, 2), 2);
    assert_int_equal(scoreboard->slot_count, 4);
    assert_int_equal(ledger_claim(ledger, 3), LEDGER_FULL);
    atomic_store(&scoreboard->slots[0].draining, true);
    ledger_retire(ledger, 0, 2);
    assert_int_equal(ledger_claim(ledger, 3), LEDGER_FULL); /* not in a row */
    assert_int_equal(ledger_claim(ledger, 1), 0);
    assert_false(scoreboard->slots[0].draining);
    bury_slots(2, 2);
    assert_int_equal(ledger_claim(ledger, 5), 1);
    assert_int_equal(scoreboard->slot_count, 6);
}

static void bury_whom_nobody_claimed(void)
{
    bury_slots(4, 2);
}

static void retire_twice(void)
{
    ledger_retire(ledger, 0, 2);
    ledger_retire(ledger, 0, 2);
}

static void bury_more_than_there_are(void)
{
    bury_slots(0, SLOTS + 1);
}

static void recover_from_a_death_to_come(void)
{
    ledger_note_recovery(ledger, 0, 1);
}

/* Who calls so has lost count of its processes. */
static void test_books_that_do_not_agree(void **state)
{
    (void)state;
    assert_int_equal(ledger_claim(ledger, 2), 0);
    assert_check_fails(bury_whom_nobody_claimed,
                       "first <= ledger->slot_count && count <= ledger->slot_count - first");
    assert_check_fails(bury_more_than_there_are,
                       "first <= ledger->slot_count && count <= ledger->slot_count - first");
    assert_check_fails(retire_twice, "may_follow[place->state][state]");
    assert_check_fails(recover_from_a_death_to_come, "death < ledger->deaths");
}

/* Who was asked to end leaves its counts behind, and no death. */
static void test_a_successor_takes_the_place_of_the_dead(void **state)
{
    (void)state;
    assert_int_equal(ledger_claim(ledger, 2), 0);
    assert_int_equal(ledger_claim(ledger, 2), 2);
    ledger_retire(ledger, 0, 2);
    bury_slots(2, 2);
    assert_int_equal(ledger_claim(ledger, 2), 2);
    assert_int_equal(ledger_claim(ledger, 2), 0);
}

static void test_retire(void **state)
{
    (void)state;
    slot_add(&scoreboard->slots[2].counters.requests_finished, 5);
    slot_add(&scoreboard->slots[3].connections_open, 1);
    scoreboard->slots[2].deaths = 3;
    ledger_retire(ledger, 2, 2);
    assert_int_equal(scoreboard->dead.requests_finished, 5);
    assert_int_equal(scoreboard->slots[2].counters.requests_finished, 0);
    assert_int_equal(scoreboard->slots[3].connections_open, 0);
    assert_int_equal(scoreboard->slots[2].state, SLOT_EMPTY);
    assert_int_equal(scoreboard->slots[2].deaths, 0);
    assert_int_equal(scoreboard->deaths, 0);
    assert_int_equal(scoreboard->requests_lost, 0);
}

static void test_bury_counts_what_was_lost(void **state)
{
    (void)state;
    struct worker_slot *first = &scoreboard->slots[2], *second = &scoreboard->slots[3];
    first->counters.requests_started = 100;
    first->counters.requests_finished = 90;
    first->counters.requests_aborted = 3;
    first->connections_open = 20;
    first->connections_busy = 6;
    first->connections_idle = 5;
    second->counters.requests_started = 7;
    second->counters.requests_finished = 7;
    second->connections_open = 2;
    scoreboard->slots[4].counters.requests_started = 1000; /* of another process */
    scoreboard->slots[4].connections_open = 1000;
    const struct death_record *record = bury(1);
    assert_int_equal(record->signal, 9);
    assert_int_equal(record->in_progress, 7);
    assert_int_equal(record->awaited, 9 + 2);
    assert_int_equal(record->idle_cut, 5);
    assert_int_equal(deaths_requests_lost(record), 7 + 11);
    assert_int_equal(scoreboard->requests_lost, 18);
    assert_int_equal(scoreboard->deaths, 1);
    assert_int_equal(scoreboard->slots[4].connections_open, 1000);
    assert_int_equal(scoreboard->slots[4].counters.requests_started, 1000);
}

/* A process can die between two stores that belong together. */
static void test_bury_never_goes_below_zero(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[0];
    slot->counters.requests_started = 5;
    slot->counters.requests_finished = 5;
    slot->counters.requests_aborted = 1;
    slot->connections_open = 3;
    slot->connections_busy = 2;
    slot->connections_idle = 2;
    /* What is missing in one slot is not taken from the other one. */
    scoreboard->slots[1].counters.requests_started = 2;
    scoreboard->slots[1].connections_open = 1;
    const struct death_record *record = bury(0);
    assert_int_equal(record->in_progress, 2);
    assert_int_equal(record->awaited, 1);
    assert_int_equal(record->idle_cut, 2);
    assert_int_equal(scoreboard->requests_lost, 3);
}

static void test_bury_moves_the_counters(void **state)
{
    (void)state;
    for (uint64_t death = 1; death <= 2; death++) {
        for (uint32_t i = 0; i < SLOTS_EACH; i++) {
            struct worker_slot *slot = &scoreboard->slots[i];
            slot->counters.requests_started = 10;
            slot->counters.requests_finished = 8;
            slot->counters.requests_aborted = 1;
            slot->counters.requests_handled = 9;
            slot->counters.bytes_sent = 12345;
            slot->counters.connections_accepted = 4;
            slot->counters.connections_adopted = 3;
            slot->connections_open = 3;
            slot->connections_busy = 1;
            slot->connections_idle = 1;
            slot->state = SLOT_READY;
        }
        bury(0);
        assert_int_equal(scoreboard->dead.requests_started, death * 20);
        assert_int_equal(scoreboard->dead.requests_finished, death * 16);
        assert_int_equal(scoreboard->dead.requests_aborted, death * 2);
        assert_int_equal(scoreboard->dead.requests_handled, death * 18);
        assert_int_equal(scoreboard->dead.bytes_sent, death * 24690);
        assert_int_equal(scoreboard->dead.connections_accepted, death * 8);
        assert_int_equal(scoreboard->dead.connections_adopted, death * 6);
        for (uint32_t i = 0; i < SLOTS_EACH; i++) {
            struct worker_slot *slot = &scoreboard->slots[i];
            static const struct slot_counters none;
            assert_memory_equal(&slot->counters, &none, sizeof(none));
            assert_int_equal(slot->connections_open, 0);
            assert_int_equal(slot->connections_busy, 0);
            assert_int_equal(slot->connections_idle, 0);
            assert_int_equal(slot->state, SLOT_DEAD);
            assert_int_equal(slot->deaths, death);
        }
        assert_int_equal(scoreboard->slots[SLOTS_EACH].deaths, 0);
        assert_int_equal(ledger_claim(ledger, SLOTS_EACH), 0);
    }
    assert_int_equal(scoreboard->requests_lost, 2 * 2 * (1 + 1));
}

static void test_bury_names_the_requests(void **state)
{
    (void)state;
    struct request_copy copy;
    note(4, "GET /four HTTP/1.1");
    note(5, "GET /five HTTP/1.1");
    note(0, "GET /elsewhere HTTP/1.1");
    const struct death_record *record = bury(2);
    assert_int_equal(record->request_count, 2);
    assert_int_equal(record->requests[0].slot, 4);
    assert_string_equal(record->requests[0].line, "GET /four HTTP/1.1");
    assert_string_equal(record->requests[0].client, "10.1.2.3:1004");
    assert_int_equal(record->requests[1].slot, 5);
    assert_string_equal(record->requests[1].line, "GET /five HTTP/1.1");
    assert_false(slot_note_read(&scoreboard->slots[4], &copy)); /* told once */
    assert_true(slot_note_read(&scoreboard->slots[0], &copy));
    assert_int_equal(ledger_claim(ledger, SLOTS_EACH), 4);
    assert_int_equal(bury(2)->request_count, 0);
}

static void test_bury_names_only_so_many_requests(void **state)
{
    (void)state;
    struct scoreboard *wide = scoreboard_create(DEATH_REQUESTS + 4);
    struct ledger *books = ledger_create(wide);
    ledger_claim(books, DEATH_REQUESTS + 4);
    struct client_address client = client_at("10.0.0.1", 1);
    assert_non_null(wide);
    for (uint32_t i = 0; i < wide->slot_count; i++) {
        slot_note_begin(&wide->slots[i], SPAN("GET / HTTP/1.1"), &client);
        wide->slots[i].counters.requests_started = 1;
    }
    struct death_record *record = &buried;
    buried = (struct death_record){.slot_count = DEATH_REQUESTS + 4};
    ledger_bury(books, record);
    assert_int_equal(record->request_count, DEATH_REQUESTS);
    assert_int_equal(record->requests[DEATH_REQUESTS - 1].slot, DEATH_REQUESTS - 1);
    assert_int_equal(record->in_progress, DEATH_REQUESTS + 4); /* counted all the same */
    ledger_destroy(books);
    scoreboard_destroy(wide);
}

/* Killed in the middle of writing a note: the successor in the slot must not inherit the half. */
static void test_a_death_within_a_note_does_not_spoil_the_slot(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[0];
    struct request_copy copy;
    note(0, "GET /before HTTP/1.1");
    slot_note_end(slot);
    atomic_fetch_add(&slot->current.sequence, 1); /* as slot_note_begin leaves it meanwhile */
    bury(0);
    slot_enter(slot, 0, 2, SLOT_LOOP);
    assert_false(slot_note_read(slot, &copy));
    note(0, "GET /after HTTP/1.1");
    assert_true(slot_note_read(slot, &copy));
    assert_string_equal(copy.line, "GET /after HTTP/1.1");
}

static void test_the_newest_deaths_are_remembered(void **state)
{
    (void)state;
    for (int32_t death = 1; death <= 2 * DEATH_RECORDS + 5; death++) {
        buried = (struct death_record){
            .process = 1,
            .first_slot = SLOTS_EACH,
            .slot_count = SLOTS_EACH,
            .pid = death,
            .exit_status = 3,
        };
        ledger_bury(ledger, &buried);
        ledger_note_recovery(ledger, buried.number, (uint64_t)death * 10);
        uint32_t count = copy_deaths();
        assert_int_equal(count, death < DEATH_RECORDS ? death : DEATH_RECORDS);
        for (uint32_t i = 0; i < count; i++) {
            int32_t expected = death - (int32_t)(count - 1 - i);
            assert_int_equal(copies[i].pid, expected);
            assert_int_equal(copies[i].recovery_ns, expected * 10);
            assert_int_equal(copies[i].exit_status, 3);
        }
        assert_int_equal(ledger_claim(ledger, SLOTS_EACH), SLOTS_EACH);
    }
    assert_int_equal(scoreboard->deaths, 2 * DEATH_RECORDS + 5);
    assert_false(deaths_copy(scoreboard, DEATH_RECORDS + 4, &copies[0])); /* forgotten */
    assert_true(deaths_copy(scoreboard, DEATH_RECORDS + 5, &copies[0]));
    assert_false(deaths_copy(scoreboard, 2 * DEATH_RECORDS + 5, &copies[0])); /* to come */
    atomic_fetch_add(&scoreboard->death_sequence, 1); /* a record is being written */
    assert_int_equal(copy_deaths(), 0);
}

/* ---- What others write ---- */

/* All of what is shared, as somebody writes it who can. */
static void scribble(int byte)
{
    memset((char *)scoreboard + SCOREBOARD_PAGE_BYTES, byte,
           sizeof(*scoreboard) - SCOREBOARD_PAGE_BYTES + SLOTS * sizeof(struct worker_slot));
}

static const int scribbles[] = {0x00, 0xff, 0x01, 0x7f, 0x80};
enum { SCRIBBLES = sizeof(scribbles) / sizeof(scribbles[0]) };

static void test_who_writes_states_claims_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < SCRIBBLES; i++) {
        scribble(scribbles[i]);
        assert_int_equal(ledger_claim(ledger, SLOTS_EACH), LEDGER_FULL);
        ledger_retire(ledger, 2, SLOTS_EACH);
        scribble(scribbles[i]);
        assert_int_equal(ledger_claim(ledger, SLOTS_EACH), 2);
        assert_int_equal(scoreboard->slot_count, SLOTS);
        bury_slots(4, SLOTS_EACH);
        scribble(scribbles[i]);
        assert_int_equal(ledger_claim(ledger, SLOTS_EACH), 4);
    }
}

/* A successor finds nothing of what was written meanwhile. */
static void test_a_claimed_slot_is_clear(void **state)
{
    (void)state;
    static const struct worker_slot empty;
    struct worker_slot *slot = &scoreboard->slots[2];
    bury(1);
    scribble(0xff);
    assert_int_equal(ledger_claim(ledger, SLOTS_EACH), 2);
    assert_int_equal(slot->state, SLOT_CLAIMED);
    assert_int_equal(slot->deaths, 1);
    atomic_store(&slot->state, SLOT_EMPTY);
    atomic_store(&slot->deaths, 0);
    assert_memory_equal(slot, &empty, sizeof(empty));
}

static void test_the_books_are_shown_again(void **state)
{
    (void)state;
    scoreboard->slots[0].counters.requests_finished = 5;
    ledger_next_generation(ledger);
    ledger_count_incident(ledger);
    ledger_next_stuck_record(ledger);
    bury(0);
    scribble(0xff);
    ledger_restate(ledger);
    assert_int_equal(scoreboard->slot_count, SLOTS);
    assert_int_equal(scoreboard->generation, 1);
    assert_int_equal(scoreboard->deaths, 1);
    assert_int_equal(scoreboard->stuck_incidents, 1);
    assert_int_equal(scoreboard->stuck_records, 1);
    assert_int_equal(scoreboard->dead.requests_finished, 5);
    assert_int_equal(scoreboard->dead.bytes_sent, 0);
    assert_int_equal(scoreboard->slots[0].state, SLOT_DEAD);
    const struct ledger_process process = {.pid = 4711,
                                           .number = 1,
                                           .generation = 3,
                                           .first_slot = 2,
                                           .slot_count = 2,
                                           .loop_count = 1};
    ledger_restate_process(ledger, &process);
    for (uint32_t i = 2; i < 4; i++) {
        assert_int_equal(scoreboard->slots[i].pid, 4711);
        assert_int_equal(scoreboard->slots[i].process, 1);
        assert_int_equal(scoreboard->slots[i].generation, 3);
        assert_int_equal(scoreboard->slots[i].role, i == 2 ? SLOT_LOOP : SLOT_POOL);
        assert_int_equal(scoreboard->slots[i].draining, 0);
    }
}

/* Of counts that cannot be the death is told without them, and the sum goes on from where it was.
 */
static void test_a_lie_does_not_spoil_the_sums(void **state)
{
    (void)state;
    scribble(0xff);
    const struct death_record *record = bury(0);
    assert_int_equal(record->number, 0);
    assert_in_range(deaths_requests_lost(record), 0, SLOTS_EACH);
    scoreboard->slots[2].counters = (struct slot_counters){.requests_started = UINT64_MAX};
    scoreboard->slots[2].connections_open = UINT64_MAX / 2;
    scoreboard->slots[3].counters = (struct slot_counters){.requests_started = 2};
    scoreboard->slots[3].connections_open = scoreboard->slots[3].connections_busy = 0;
    assert_int_equal(bury(1)->in_progress, 2);
    assert_in_range(scoreboard->requests_lost, 2, 2 + SLOTS_EACH);
    assert_int_equal(scoreboard->deaths, 2);
}

/* Whatever stands in a record, the copy is one that can be told. */
static void test_copies_of_scribbled_records(void **state)
{
    (void)state;
    for (size_t i = 0; i < SCRIBBLES; i++) {
        struct death_record copy;
        bury(0);
        scribble(scribbles[i]);
        scoreboard->deaths = 5;
        scoreboard->death_sequence = 2;
        assert_true(deaths_copy(scoreboard, 4, &copy));
        assert_in_range(copy.request_count, 0, DEATH_REQUESTS);
        assert_in_range(copy.crash.stack.frame_count, 0, CRASH_STORY_FRAMES);
        for (uint32_t r = 0; r < copy.request_count; r++) {
            assert_in_range(strnlen(copy.requests[r].line, NOTE_LINE_BYTES + 1), 0,
                            NOTE_LINE_BYTES);
        }
        for (uint32_t f = 0; f < copy.crash.stack.frame_count; f++) {
            const struct crash_frame *frame = &copy.crash.stack.frames[f];
            assert_in_range(strnlen(frame->file, CRASH_FILE_BYTES), 0, CRASH_FILE_BYTES - 1);
        }
        struct number_range remembered = deaths_remembered(scoreboard);
        assert_in_range(remembered.end - remembered.first, 0, DEATH_RECORDS);
        ledger_claim(ledger, SLOTS_EACH);
    }
    scoreboard->deaths = UINT64_MAX;
    assert_int_equal(deaths_remembered(scoreboard).end - deaths_remembered(scoreboard).first,
                     DEATH_RECORDS);
}

static void test_readers_see_no_more_slots_than_there_are(void **state)
{
    (void)state;
    assert_int_equal(scoreboard_slot_count(scoreboard), SLOTS);
    scoreboard->slot_count = UINT32_MAX;
    assert_int_equal(scoreboard_slot_count(scoreboard), SLOTS);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, make, discard)
#define TEST_EMPTY(name) cmocka_unit_test_setup_teardown(name, make_empty, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_EMPTY(test_claims),
        TEST_EMPTY(test_books_that_do_not_agree),
        TEST_EMPTY(test_a_successor_takes_the_place_of_the_dead),
        TEST(test_retire),
        TEST(test_bury_counts_what_was_lost),
        TEST(test_bury_never_goes_below_zero),
        TEST(test_bury_moves_the_counters),
        TEST(test_bury_names_the_requests),
        TEST(test_bury_names_only_so_many_requests),
        TEST(test_a_death_within_a_note_does_not_spoil_the_slot),
        TEST(test_the_newest_deaths_are_remembered),
        TEST(test_who_writes_states_claims_nothing),
        TEST(test_a_claimed_slot_is_clear),
        TEST(test_the_books_are_shown_again),
        TEST(test_a_lie_does_not_spoil_the_sums),
        TEST(test_copies_of_scribbled_records),
        TEST(test_readers_see_no_more_slots_than_there_are),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
