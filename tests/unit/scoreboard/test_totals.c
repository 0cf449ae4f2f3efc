/* Sums of the dead and the living, and what they have needed for it. */
#include "tests/peek/totals.h"

#include "common/scoreboard/ledger.h"
#include "common/scoreboard/scoreboard.h"
#include "tests/unit/failing_call.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLOTS = 40, EACH = 1000, US = 1000, ROUNDS = 20, PAUSE_US = 100 };

static struct scoreboard *scoreboard;
static struct ledger *ledger;
static struct totals totals;
static struct latency_copy latency;
static int moves; /* of what a slot had, while the sequence said so */

WRAPPED(void, latency_take, struct latency_copy *sum, struct latency *from)
{
    assert_int_equal(scoreboard->death_sequence % 2, 1);
    moves++;
    __real_latency_take(sum, from);
}

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

/* Every counter has a number of its own. */
static void count_in(uint32_t index)
{
    struct worker_slot *slot = &scoreboard->slots[index];
    _Atomic uint64_t *counter = (_Atomic uint64_t *)(void *)&slot->counters;
    for (uint64_t i = 0; i < offsetof(struct slot_counters, adoption) / sizeof(*counter); i++) {
        slot_add(&counter[i], EACH + i);
    }
    slot_add(&slot->connections_open, 3);
    slot_add(&slot->connections_busy, 2);
    slot_add(&slot->connections_idle, 1);
    histogram_add(&slot->latency.requests, 5 * US, EACH);
    histogram_add(&slot->latency.turns, 9 * US, EACH / 2);
}

static void bury(uint32_t slot)
{
    ledger_bury(ledger,
                &(struct death_record){.first_slot = slot, .slot_count = 1, .signal = SIGKILL});
}

static void assert_counted_by(uint64_t slots)
{
    const struct counter_sums *counters = &totals.counters;
    assert_true(totals_copy(scoreboard, &totals, &latency));
    assert_int_equal(counters->requests_started, slots * EACH);
    assert_int_equal(counters->requests_finished, slots * (EACH + 1));
    assert_int_equal(counters->requests_aborted, slots * (EACH + 2));
    assert_int_equal(counters->requests_handled, slots * (EACH + 3));
    assert_int_equal(counters->bytes_sent, slots * (EACH + 4));
    assert_int_equal(counters->connections_accepted, slots * (EACH + 5));
    assert_int_equal(counters->connections_adopted, slots * (EACH + 6));
    assert_int_equal(counters->connections_refused, slots * (EACH + 7));
    assert_int_equal(counters->faults_recovered, slots * (EACH + 8));
    assert_int_equal(latency.requests.count, slots * EACH);
    assert_int_equal(latency.requests.sum_ns, slots * EACH * 5 * US);
    assert_int_equal(latency.turns.count, slots * EACH / 2);
    assert_int_equal(latency.turns.max_ns, slots > 0 ? 9 * US : 0);
}

static void test_the_living_and_the_dead(void **state)
{
    (void)state;
    assert_counted_by(0);
    for (uint32_t i = 0; i < 4; i++) {
        count_in(i);
    }
    assert_counted_by(4);
    assert_int_equal(totals.connections_open, 12);
    assert_int_equal(totals.connections_busy, 8);
    assert_int_equal(totals.connections_idle, 4);
    bury(0);
    ledger_retire(ledger, 1, 2);
    assert_counted_by(4);
    assert_int_equal(totals.connections_open, 3);
    assert_int_equal(totals.deaths, 1);
    assert_int_equal(ledger_claim(ledger, 1), 0);
    assert_counted_by(4);
    count_in(0);
    assert_counted_by(5);
    bury(0);
    assert_counted_by(5);
    assert_int_equal(totals.deaths, 2);
}

static void test_what_a_death_costs(void **state)
{
    (void)state;
    scoreboard->slots[0].counters.requests_started = 5;
    scoreboard->slots[0].connections_open = 7;
    bury(0);
    ledger_claim(ledger, 1);
    ledger_name_heir(ledger, 0, 0, 1);
    scoreboard->slots[0].counters.adoption[ADOPTION_LOST_AWAITED] = 2;
    ledger_count_incident(ledger);
    assert_true(totals_copy(scoreboard, &totals, NULL));
    assert_int_equal(totals.requests_lost, 5 + 7 + 2);
    assert_int_equal(totals.in_progress_lost, 5);
    assert_int_equal(totals.counters.adoption.of[ADOPTION_LOST_AWAITED], 2);
    assert_int_equal(totals.stuck_incidents, 1);
}

/* A worker's word is as good when it is dead as while it lived. */
static void test_a_lie_counts_as_nothing(void **state)
{
    (void)state;
    count_in(0);
    count_in(1);
    memset((void *)&scoreboard->slots[1].counters, 0xff, sizeof(struct slot_counters));
    memset((void *)&scoreboard->slots[1].latency, 0xff, sizeof(struct latency));
    assert_counted_by(1);
    bury(1);
    assert_counted_by(1);
}

static void test_the_books_are_shown_again(void **state)
{
    (void)state;
    count_in(0);
    bury(0);
    memset((void *)&scoreboard->dead, 0xff, sizeof(scoreboard->dead));
    memset((void *)&scoreboard->dead_latency, 0x11, sizeof(scoreboard->dead_latency));
    scoreboard->death_sequence = 77;
    assert_false(totals_copy(scoreboard, &totals, &latency));
    ledger_restate(ledger);
    assert_counted_by(1);
}

/* ---- A burial is seen as a whole or not at all ---- */

static void test_not_while_counts_are_moved(void **state)
{
    (void)state;
    uint64_t sequence = scoreboard->death_sequence;
    moves = 0;
    bury(0);
    assert_int_equal(moves, 1);
    assert_true(totals_copy(scoreboard, &totals, NULL));
    assert_true(scoreboard->death_sequence > sequence);
    assert_int_equal(scoreboard->death_sequence % 2, 0);
    ledger_retire(ledger, 1, 2);
    assert_int_equal(moves, 3);
    assert_int_equal(scoreboard->death_sequence % 2, 0);
    scoreboard->death_sequence++;
    assert_false(totals_copy(scoreboard, &totals, NULL));
}

/* Some die, some are asked to end. */
static void *end_all(void *unused)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (i % 2 == 0) {
            bury(i);
        } else {
            ledger_retire(ledger, i, 1);
        }
        usleep(i * 7 % PAUSE_US);
    }
    return unused;
}

/* Nobody counts meanwhile: the sums stay what they are. */
static void test_burials_are_never_seen_half(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t master;
        bool is_over = false;
        for (uint32_t i = 0; i < SLOTS; i++) {
            count_in(i);
        }
        assert_int_equal(pthread_create(&master, NULL, end_all, NULL), 0);
        while (!is_over) {
            is_over = pthread_tryjoin_np(master, NULL) == 0;
            if (totals_copy(scoreboard, &totals, &latency)) {
                assert_int_equal(totals.counters.requests_started, SLOTS * EACH);
                assert_int_equal(latency.requests.count, SLOTS * EACH);
                assert_int_equal(latency.turns.count, SLOTS * EACH / 2);
            } else {
                assert_false(is_over);
            }
        }
        discard(state);
        make(state);
    }
}

/* ---- Latency ---- */

static void test_where_it_lies(void **state)
{
    (void)state;
    assert_int_equal(offsetof(struct worker_slot, latency) % 64, 0);
    assert_int_equal(offsetof(struct latency, turns) % 64, 0);
    assert_int_equal(sizeof(struct latency) % 64, 0);
}

static void test_window(void **state)
{
    (void)state;
    struct latency_copy earlier, later, window;
    struct worker_slot *slot = &scoreboard->slots[0];
    histogram_add(&slot->latency.requests, 5 * US, 1);
    latency_read(&slot->latency, &earlier);
    histogram_add(&slot->latency.requests, 5 * US, 2);
    histogram_add(&slot->latency.turns, 5 * US, 3);
    latency_read(&slot->latency, &later);
    latency_window(&later, &earlier, &window);
    assert_int_equal(window.requests.count, 2);
    assert_int_equal(window.turns.count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_living_and_the_dead, make, discard),
        cmocka_unit_test_setup_teardown(test_what_a_death_costs, make, discard),
        cmocka_unit_test_setup_teardown(test_a_lie_counts_as_nothing, make, discard),
        cmocka_unit_test_setup_teardown(test_the_books_are_shown_again, make, discard),
        cmocka_unit_test_setup_teardown(test_not_while_counts_are_moved, make, discard),
        cmocka_unit_test_setup_teardown(test_burials_are_never_seen_half, make, discard),
        cmocka_unit_test(test_where_it_lies),
        cmocka_unit_test_setup_teardown(test_window, make, discard),
    };
    return cmocka_run_group_tests_name("totals", tests, NULL, NULL);
}
