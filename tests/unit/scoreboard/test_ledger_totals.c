/* What the books say of all that have ended, and when the sums of shared memory can be believed. */
#include "common/scoreboard/ledger.h"
#include "common/scoreboard/scoreboard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLOTS = 4 };

static struct scoreboard *scoreboard;
static struct ledger *ledger;
static uint32_t moves_seen_open, moves_seen_closed;

/* Called for each slot that is emptied, between the first and the last of its counters that moves.
 */
void __wrap_slot_note_end(struct worker_slot *slot);
void __wrap_slot_note_end(struct worker_slot *slot)
{
    if (atomic_load(&scoreboard->death_sequence) % 2 == 1) {
        moves_seen_open++;
    } else {
        moves_seen_closed++;
    }
    atomic_store(&slot->current.bytes, 0);
}

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(SLOTS);
    ledger = ledger_create(scoreboard);
    moves_seen_open = moves_seen_closed = 0;
    return 0;
}

static int discard(void **state)
{
    (void)state;
    ledger_destroy(ledger);
    scoreboard_destroy(scoreboard);
    return 0;
}

static struct ledger_totals totals(void)
{
    struct ledger_totals read;
    ledger_get_totals(ledger, &read);
    return read;
}

static void bury(int32_t signal)
{
    struct death_record death = {.first_slot = 0, .slot_count = 2, .signal = signal};
    assert_int_equal(ledger_claim(ledger, 2), 0);
    scoreboard->slots[0].counters.requests_started = 10;
    scoreboard->slots[1].counters.requests_finished = 7;
    ledger_bury(ledger, &death);
}

/* A reader that finds the same even sequence before and after its reading has met no half of it. */
static void test_counters_move_within_the_sequence(void **state)
{
    (void)state;
    bury(SIGKILL);
    assert_int_equal(moves_seen_open, 2);
    assert_int_equal(ledger_claim(ledger, 2), 0);
    ledger_retire(ledger, 0, 2);
    assert_int_equal(moves_seen_open, 4);
    assert_int_equal(moves_seen_closed, 0);
    assert_int_equal(totals().death_sequence, atomic_load(&scoreboard->death_sequence));
    assert_int_equal(totals().death_sequence, 4);
}

static void test_the_dead_are_counted(void **state)
{
    (void)state;
    bury(SIGKILL);
    bury(0);
    bury(SIGSEGV);
    bury(SIGSEGV);
    bury(9999); /* of no kernel that there is */
    const struct ledger_totals read = totals();
    assert_int_equal(read.deaths, 5);
    assert_int_equal(read.dead.requests_started, 50);
    assert_int_equal(read.dead.requests_finished, 35);
    assert_int_equal(read.requests_lost, 50);
    assert_int_equal(read.in_progress_lost, 50);
    assert_int_equal(read.deaths_by_signal[SIGKILL], 1);
    assert_int_equal(read.deaths_by_signal[SIGSEGV], 2);
    assert_int_equal(read.deaths_by_signal[0], 2);
}

static void test_recoveries(void **state)
{
    (void)state;
    assert_int_equal(ledger_recovery_bucket(0), 0);
    assert_int_equal(ledger_recovery_bucket(128), 0);
    assert_int_equal(ledger_recovery_bucket(129), 1);
    assert_int_equal(ledger_recovery_bucket(67108864), LEDGER_RECOVERY_BOUNDS - 1);
    assert_int_equal(ledger_recovery_bucket(67108865), LEDGER_RECOVERY_BOUNDS);
    assert_int_equal(ledger_recovery_bucket(UINT64_MAX), LEDGER_RECOVERY_BOUNDS);
    bury(SIGKILL);
    ledger_note_recovery(ledger, 0, 1000000); /* 1 ms */
    bury(SIGKILL);
    ledger_note_recovery(ledger, 1, UINT64_C(100000000000));
    const struct ledger_totals read = totals();
    assert_int_equal(read.recoveries.of[3], 1);
    assert_int_equal(read.recoveries.of[LEDGER_RECOVERY_BOUNDS], 1);
    assert_int_equal(read.recoveries.sum_us, 1000 + 100000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counters_move_within_the_sequence, make, discard),
        cmocka_unit_test_setup_teardown(test_the_dead_are_counted, make, discard),
        cmocka_unit_test_setup_teardown(test_recoveries, make, discard),
    };
    return cmocka_run_group_tests_name("ledger_totals", tests, NULL, NULL);
}
