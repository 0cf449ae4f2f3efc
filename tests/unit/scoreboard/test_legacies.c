/* What the dead leave to successors: what became of it, and to which death it is booked. */
#include "common/scoreboard/ledger.h"

#include "common/scoreboard/scoreboard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/failing_check.h"

enum { SLOTS_EACH = 2, SLOTS = 3 * SLOTS_EACH };

static struct scoreboard *scoreboard;
static struct ledger *ledger;
static struct death_record copy;

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(SLOTS);
    ledger = ledger_create(scoreboard);
    return ledger_claim(ledger, SLOTS) != 0;
}

static int discard(void **state)
{
    (void)state;
    ledger_destroy(ledger);
    scoreboard_destroy(scoreboard);
    return 0;
}

/* ---- What processes do ---- */

/* 100 requests, of which 3 are in progress; 9 connections, of which 3 are busy and 2 idle. */
static void serve(uint32_t first)
{
    struct worker_slot *slot = &scoreboard->slots[first];
    slot->counters.requests_started = 100;
    slot->counters.requests_finished = 96;
    slot->counters.requests_aborted = 1;
    slot->connections_open = 9;
    slot->connections_busy = 3;
    slot->connections_idle = 2;
}

static uint64_t die(uint32_t first, bool left)
{
    static struct death_record record;
    record = (struct death_record){
        .first_slot = first, .slot_count = SLOTS_EACH, .left = left, .signal = 9};
    ledger_bury(ledger, &record);
    return record.number;
}

/* The next one in that place. */
static void succeed(uint32_t first, uint64_t death)
{
    assert_int_equal(ledger_claim(ledger, SLOTS_EACH), first);
    ledger_name_heir(ledger, death, first, SLOTS_EACH);
}

static void count(uint32_t slot, enum adoption_kind kind, uint64_t amount)
{
    slot_add(&scoreboard->slots[slot].counters.adoption[kind], amount);
}

/* ---- What the books say ---- */

static const struct death_record *death(uint64_t number)
{
    assert_true(deaths_copy(scoreboard, number, &copy));
    return &copy;
}

static uint64_t adopted(uint64_t number, enum adoption_kind kind)
{
    return death(number)->adoption.of[kind];
}

static uint64_t all_adopted(enum adoption_kind kind)
{
    struct adoption_counts sum;
    adoption_sum(scoreboard, &sum);
    return sum.of[kind];
}

static uint64_t lost(uint64_t number)
{
    return deaths_requests_lost(death(number));
}

static uint64_t all_lost(void)
{
    return adoption_loss(scoreboard).requests;
}

/* ---- Tests ---- */

static void test_what_is_left_is_not_lost(void **state)
{
    (void)state;
    serve(2);
    uint64_t number = die(2, true);
    assert_int_equal(death(number)->in_progress, 3);
    assert_int_equal(copy.awaited, 4);
    assert_int_equal(copy.idle_cut, 2);
    assert_int_equal(copy.lost.idle_cut, 0);
    assert_int_equal(lost(number), 0);
    assert_int_equal(all_lost(), 0);
}

/* The requests that are left are counted as started by whoever goes on with them. */
static void test_a_request_is_started_once(void **state)
{
    (void)state;
    serve(2);
    die(2, true);
    assert_int_equal(scoreboard->dead.requests_started, 97);
    assert_int_equal(scoreboard->dead.requests_finished, 96);
    serve(0);
    die(0, false);
    assert_int_equal(scoreboard->dead.requests_started, 197);
}

static void test_what_became_of_it(void **state)
{
    (void)state;
    serve(2);
    uint64_t number = die(2, true);
    uint64_t other = die(4, true);
    succeed(2, number);
    count(2, ADOPTION_CONNECTIONS, 5);
    count(3, ADOPTION_CONNECTIONS, 4);
    count(3, ADOPTION_REPEATED, 2);
    ledger_settle(ledger, 2, true);
    for (int i = 0; i < 2; i++) { /* also when the successor itself is gone */
        assert_int_equal(adopted(number, ADOPTION_CONNECTIONS), 9);
        assert_int_equal(adopted(number, ADOPTION_REPEATED), 2);
        assert_int_equal(adopted(other, ADOPTION_CONNECTIONS), 0);
        assert_int_equal(all_adopted(ADOPTION_CONNECTIONS), 9);
        assert_int_equal(all_lost(), 0);
        if (i == 0) {
            ledger_retire(ledger, 2, SLOTS_EACH);
        }
    }
}

static void test_each_heir_counts_for_its_own_predecessor(void **state)
{
    (void)state;
    uint64_t first = die(2, true);
    succeed(2, first);
    count(2, ADOPTION_CONNECTIONS, 5);
    ledger_settle(ledger, 2, true);
    uint64_t second = die(2, true);
    succeed(2, second);
    count(2, ADOPTION_CONNECTIONS, 7);
    assert_int_equal(adopted(first, ADOPTION_CONNECTIONS), 5);
    assert_int_equal(adopted(second, ADOPTION_CONNECTIONS), 7);
    assert_int_equal(all_adopted(ADOPTION_CONNECTIONS), 12);
}

/* It could not go on with all, and says so at once or long after. */
static void test_what_an_heir_loses(void **state)
{
    (void)state;
    serve(2);
    uint64_t number = die(2, true);
    succeed(2, number);
    count(2, ADOPTION_LOST, 3);
    count(2, ADOPTION_LOST_IN_PROGRESS, 2);
    count(2, ADOPTION_LOST_AWAITED, 1);
    ledger_settle(ledger, 2, true);
    count(2, ADOPTION_LOST, 1);
    count(2, ADOPTION_LOST_IN_PROGRESS, 1);
    assert_int_equal(lost(number), 4);
    assert_int_equal(all_lost(), 4);
    assert_int_equal(adoption_loss(scoreboard).in_progress, 3);
    uint64_t second = die(2, true);
    assert_int_equal(lost(number), 4);
    assert_int_equal(lost(second), 0);
    assert_int_equal(all_lost(), 4);
    assert_int_equal(scoreboard->requests_lost, 4);
    assert_int_equal(adoption_loss(scoreboard).in_progress, 3);
}

static void test_nobody_comes(void **state)
{
    (void)state;
    serve(2);
    uint64_t number = die(2, true);
    ledger_forfeit(ledger, number);
    ledger_forfeit(ledger, number);
    assert_int_equal(lost(number), 3 + 4);
    assert_int_equal(adoption_loss(scoreboard).in_progress, 3);
    assert_int_equal(copy.lost.idle_cut, 2);
    assert_int_equal(all_lost(), 7);
    assert_int_equal(scoreboard->dead.requests_started, 100);
}

static void test_the_heir_cannot_go_on(void **state)
{
    (void)state;
    serve(2);
    uint64_t number = die(2, true);
    succeed(2, number);
    ledger_settle(ledger, 2, false);
    assert_int_equal(lost(number), 7);
    die(2, false);
    assert_int_equal(all_lost(), 7);
}

/* What it had not got to is a part of what it leaves. */
static void test_the_heir_dies_meanwhile(void **state)
{
    (void)state;
    serve(2);
    uint64_t first = die(2, true);
    succeed(2, first);
    count(2, ADOPTION_CONNECTIONS, 4); /* two that were idle, and two more */
    scoreboard->slots[2].connections_open = 4;
    uint64_t second = die(2, true);
    assert_int_equal(death(second)->in_progress, 3);
    assert_int_equal(copy.awaited, 4 + 2);
    assert_int_equal(copy.idle_cut, 0);
    assert_int_equal(all_lost(), 0);
    ledger_forfeit(ledger, second);
    assert_int_equal(lost(first), 0);
    assert_int_equal(lost(second), 9);
    assert_int_equal(scoreboard->dead.requests_started, 100);
}

static void test_the_heir_ends_before_it_has_gone_on(void **state)
{
    (void)state;
    serve(2);
    uint64_t number = die(2, true);
    succeed(2, number);
    count(2, ADOPTION_CONNECTIONS, 2);
    ledger_retire(ledger, 2, SLOTS_EACH);
    assert_int_equal(lost(number), 7);
    assert_int_equal(copy.lost.idle_cut, 0);
}

static void test_an_heir_that_has_gone_on_loses_nothing_by_its_end(void **state)
{
    (void)state;
    serve(2);
    uint64_t number = die(2, true);
    succeed(2, number);
    ledger_settle(ledger, 2, true);
    ledger_retire(ledger, 2, SLOTS_EACH);
    assert_int_equal(lost(number), 0);
    ledger_forfeit(ledger, number);
    assert_int_equal(all_lost(), 0);
}

/* For some there was no room in the memory that outlives a process. */
static void test_connections_that_do_not_outlive_their_process(void **state)
{
    (void)state;
    serve(2);
    scoreboard->slots[2].connections_mortal = 2;
    uint64_t number = die(2, true);
    assert_int_equal(lost(number), 2);
    ledger_forfeit(ledger, number);
    assert_int_equal(lost(number), 3 + 4);
    assert_int_equal(all_lost(), 7);
}

static void test_a_death_that_is_forgotten(void **state)
{
    (void)state;
    uint64_t number = die(2, true);
    succeed(2, number);
    count(2, ADOPTION_CONNECTIONS, 5);
    count(2, ADOPTION_LOST_AWAITED, 1);
    for (int i = 0; i < DEATH_RECORDS; i++) {
        die(4, false);
        assert_int_equal(ledger_claim(ledger, SLOTS_EACH), 4);
    }
    ledger_settle(ledger, 2, true);
    ledger_forfeit(ledger, number);
    ledger_retire(ledger, 2, SLOTS_EACH);
    assert_int_equal(all_adopted(ADOPTION_CONNECTIONS), 5);
    assert_int_equal(all_lost(), 1);
}

/* ---- What others write ---- */

static void test_lies(void **state)
{
    (void)state;
    uint64_t number = die(2, true);
    succeed(2, number);
    count(2, ADOPTION_CONNECTIONS, 1);
    count(3, ADOPTION_CONNECTIONS, UINT64_MAX);
    count(3, ADOPTION_LOST_IN_PROGRESS, UINT64_MAX);
    count(4, ADOPTION_CONNECTIONS, 3); /* who is nobody's heir */
    assert_int_equal(adopted(number, ADOPTION_CONNECTIONS), 1);
    assert_int_equal(all_adopted(ADOPTION_CONNECTIONS), 1);
    assert_int_equal(all_lost(), 0);
    ledger_retire(ledger, 2, SLOTS_EACH);
    ledger_retire(ledger, 4, SLOTS_EACH);
    assert_int_equal(adopted(number, ADOPTION_CONNECTIONS), 1);
    assert_int_equal(all_adopted(ADOPTION_CONNECTIONS), 1);
    assert_int_equal(all_lost(), 0);
}

static void test_who_is_whose_heir_is_shown_again(void **state)
{
    (void)state;
    uint64_t number = die(2, true);
    succeed(2, number);
    scoreboard->slots[2].legacy = 17;
    scoreboard->slots[4].legacy = number + 1;
    for (uint32_t first = 0; first < SLOTS; first += SLOTS_EACH) {
        const struct ledger_process process = {
            .pid = 1, .first_slot = first, .slot_count = SLOTS_EACH, .loop_count = 1};
        ledger_restate_process(ledger, &process);
    }
    assert_int_equal(scoreboard->slots[2].legacy, number + 1);
    assert_int_equal(scoreboard->slots[4].legacy, 0);
}

/* What is booked is the master's own sum, whatever stands in the record. */
static void test_a_scribbled_record_is_not_added_to(void **state)
{
    (void)state;
    uint64_t number = die(2, true);
    succeed(2, number);
    count(2, ADOPTION_LOST_AWAITED, 1);
    memset(&scoreboard->records[number].adoption, 0x7f, sizeof(struct adoption_counts));
    memset(&scoreboard->records[number].lost, 0x7f, sizeof(struct death_loss));
    ledger_retire(ledger, 2, SLOTS_EACH);
    assert_int_equal(adopted(number, ADOPTION_CONNECTIONS), 0);
    assert_int_equal(lost(number), 1);
}

static void name_the_heir_of_nobody(void)
{
    ledger_name_heir(ledger, 0, 2, SLOTS_EACH);
}

static void test_an_heir_has_a_predecessor(void **state)
{
    (void)state;
    assert_check_fails(name_the_heir_of_nobody, "death < ledger->deaths");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_left_is_not_lost),
        TEST(test_a_request_is_started_once),
        TEST(test_what_became_of_it),
        TEST(test_each_heir_counts_for_its_own_predecessor),
        TEST(test_what_an_heir_loses),
        TEST(test_nobody_comes),
        TEST(test_the_heir_cannot_go_on),
        TEST(test_the_heir_dies_meanwhile),
        TEST(test_the_heir_ends_before_it_has_gone_on),
        TEST(test_an_heir_that_has_gone_on_loses_nothing_by_its_end),
        TEST(test_connections_that_do_not_outlive_their_process),
        TEST(test_a_death_that_is_forgotten),
        TEST(test_lies),
        TEST(test_who_is_whose_heir_is_shown_again),
        TEST(test_a_scribbled_record_is_not_added_to),
        TEST(test_an_heir_has_a_predecessor),
    };
    return cmocka_run_group_tests_name("legacies", tests, NULL, NULL);
}
