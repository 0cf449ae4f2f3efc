#include "server/balance/shares.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLOTS = 40, NOW_MS = 100000 };

static struct scoreboard *scoreboard;

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(SLOTS);
    scoreboard->slot_count = SLOTS;
    for (uint32_t i = 0; scoreboard != NULL && i < SLOTS; i++) {
        struct worker_slot *slot = &scoreboard->slots[i];
        slot->state = SLOT_READY;
        slot->heartbeat_ms = NOW_MS;
        slot->connections_open = 100;
    }
    return scoreboard == NULL;
}

static int discard(void **state)
{
    (void)state;
    scoreboard_destroy(scoreboard);
    return 0;
}

static void test_equal_shares(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_true(shares_may_accept(scoreboard, i));
    }
}

/* A few more than the least loaded neighbour are no reason. */
static void test_a_fair_margin(void **state)
{
    (void)state;
    scoreboard->slots[0].connections_open = 100 + 100 / 8 + 4;
    assert_true(shares_may_accept(scoreboard, 0));
    scoreboard->slots[0].connections_open++;
    assert_false(shares_may_accept(scoreboard, 0));
    assert_true(shares_may_accept(scoreboard, 1)); /* who has fewer goes on */
}

static void test_from_nothing(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++) {
        scoreboard->slots[i].connections_open = 0;
    }
    for (uint64_t open = 0; open <= 4; open++) {
        scoreboard->slots[3].connections_open = open;
        assert_true(shares_may_accept(scoreboard, 3));
    }
    scoreboard->slots[3].connections_open = 5;
    assert_false(shares_may_accept(scoreboard, 3));
}

/* Whoever cannot take connections is not waited for. */
static void test_who_cannot_take_its_share(void **state)
{
    (void)state;
    struct worker_slot *other = &scoreboard->slots[1];
    other->connections_open = 0;
    assert_false(shares_may_accept(scoreboard, 0));
    static const enum slot_state others[] = {SLOT_EMPTY, SLOT_STARTING, SLOT_DRAINING, SLOT_DEAD};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        other->state = others[i];
        assert_true(shares_may_accept(scoreboard, 0));
    }
    other->state = SLOT_READY;
    other->role = SLOT_POOL;
    assert_true(shares_may_accept(scoreboard, 0));
    other->role = SLOT_LOOP;
    other->heartbeat_ms = NOW_MS - 500;
    assert_false(shares_may_accept(scoreboard, 0));
    other->heartbeat_ms = NOW_MS - 501; /* hangs */
    assert_true(shares_may_accept(scoreboard, 0));
}

/* The cost is bounded: only neighbours count, and the last one's are the first ones. */
static void test_neighbours(void **state)
{
    (void)state;
    for (uint32_t distance = 1; distance < SLOTS; distance++) {
        struct worker_slot *other = &scoreboard->slots[(30 + distance) % SLOTS];
        other->connections_open = 0;
        assert_int_equal(shares_may_accept(scoreboard, 30), distance > 16);
        other->connections_open = 100;
    }
}

/* Pool threads take no connections, and lie between the loops of two processes. */
static void test_behind_pool_threads(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++) {
        scoreboard->slots[i].role = i == 0 || i == SLOTS - 1 ? SLOT_LOOP : SLOT_POOL;
        scoreboard->slots[i].connections_open = i == 0 ? 100 : 0;
    }
    assert_false(shares_may_accept(scoreboard, 0));
    assert_true(shares_may_accept(scoreboard, SLOTS - 1));
}

static void test_alone(void **state)
{
    (void)state;
    struct scoreboard *alone = scoreboard_create(1);
    alone->slot_count = 1;
    alone->slots[0].connections_open = 1000;
    assert_true(shares_may_accept(alone, 0));
    scoreboard_destroy(alone);
}

/* ---- Shares of what is open already ---- */

static void set_in_use(const uint64_t *in_use, uint32_t count)
{
    scoreboard_destroy(scoreboard);
    scoreboard = scoreboard_create(count);
    assert_non_null(scoreboard);
    scoreboard->slot_count = count;
    for (uint32_t i = 0; i < count; i++) {
        scoreboard->slots[i].state = SLOT_READY;
        scoreboard->slots[i].heartbeat_ms = NOW_MS;
        scoreboard->slots[i].connections_open = in_use[i];
    }
}

/* What the slot gives to each, carried out or not. */
static uint64_t give(uint32_t from, bool carry_out)
{
    struct share shares[SHARES_NEIGHBOURS];
    uint64_t given = 0;
    size_t count = shares_to_give(scoreboard, from, shares);
    assert_in_range(count, 0, SHARES_NEIGHBOURS);
    for (size_t i = 0; i < count; i++) {
        assert_true(shares[i].connections > 0);
        given += shares[i].connections;
        if (carry_out) {
            scoreboard->slots[from].connections_open -= shares[i].connections;
            scoreboard->slots[shares[i].slot_index].connections_open += shares[i].connections;
        }
    }
    return given;
}

static void test_half_of_the_difference(void **state)
{
    (void)state;
    struct share shares[SHARES_NEIGHBOURS];
    set_in_use((uint64_t[]){60, 4}, 2);
    assert_int_equal(shares_to_give(scoreboard, 0, shares), 1);
    assert_int_equal(shares[0].slot_index, 1);
    assert_int_equal(shares[0].connections, 28);
    assert_int_equal(give(1, false), 0); /* who has fewer gives nothing */
}

/* The same margin as for new connections: small differences and small numbers stay as they are. */
static void test_nothing_below_the_margin(void **state)
{
    (void)state;
    set_in_use((uint64_t[]){4, 0}, 2);
    assert_int_equal(give(0, false), 0);
    set_in_use((uint64_t[]){5, 0}, 2);
    assert_int_equal(give(0, false), 2);
    set_in_use((uint64_t[]){84 + 10 + 4, 84}, 2);
    assert_int_equal(give(0, false), 0);
    set_in_use((uint64_t[]){84 + 10 + 5, 84}, 2);
    assert_int_equal(give(0, false), 7);
}

static void test_only_to_who_takes_connections(void **state)
{
    (void)state;
    set_in_use((uint64_t[]){60, 0}, 2);
    scoreboard->slots[1].heartbeat_ms = NOW_MS - 501;
    assert_int_equal(give(0, false), 0);
    scoreboard->slots[1].heartbeat_ms = NOW_MS;
    scoreboard->slots[1].state = SLOT_DRAINING;
    assert_int_equal(give(0, false), 0);
    scoreboard->slots[1].state = SLOT_READY;
    scoreboard->slots[1].role = SLOT_POOL;
    assert_int_equal(give(0, false), 0);
}

static void test_idle_ones_do_not_count(void **state)
{
    (void)state;
    set_in_use((uint64_t[]){1000, 30}, 2);
    scoreboard->slots[0].connections_idle = 970;
    assert_int_equal(give(0, false), 0);
    scoreboard->slots[1].connections_idle = 30;
    assert_int_equal(give(0, false), 15);
    scoreboard->slots[1].connections_idle = 31; /* read between two stores */
    assert_int_equal(give(0, false), 15);
}

/* However many ask at once before anything has moved, nobody gets more than it lacks. */
static void test_all_at_once(void **state)
{
    (void)state;
    static const uint64_t cases[][5] = {
        {100, 100, 100, 100, 0}, {100, 100, 0, 0, 0},  {64, 0, 0, 0, 0},
        {90, 80, 70, 20, 10},    {100, 88, 88, 88, 0}, {1000, 10, 500, 3, 700},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t after[5], sum = 0;
        set_in_use(cases[i], 5);
        for (uint32_t from = 0; from < 5; from++) {
            after[from] = cases[i][from];
            sum += cases[i][from];
        }
        uint64_t fair = (sum + 4) / 5;
        for (uint32_t from = 0; from < 5; from++) {
            struct share shares[SHARES_NEIGHBOURS];
            size_t count = shares_to_give(scoreboard, from, shares);
            for (size_t s = 0; s < count; s++) {
                after[from] -= shares[s].connections;
                after[shares[s].slot_index] += shares[s].connections;
            }
        }
        for (uint32_t who = 0; who < 5; who++) {
            if (cases[i][who] > fair) {
                assert_in_range(after[who], fair, cases[i][who]);
            } else {
                assert_in_range(after[who], cases[i][who], fair);
            }
        }
    }
}

/* One after the other, it soon ends, and near to equal shares; with 40 loops, where none sees all
 * of the others, it ends, too. */
static void test_it_settles(void **state)
{
    (void)state;
    static const uint32_t counts[] = {2, 3, 4, 7, 16, 17, 40};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint64_t in_use[SLOTS] = {0};
        uint64_t moved = 1;
        int rounds = 0;
        in_use[0] = 1000;
        in_use[counts[i] / 2] += 300;
        set_in_use(in_use, counts[i]);
        for (; moved > 0; rounds++) {
            assert_in_range(rounds, 0, 50);
            moved = 0;
            for (uint32_t from = 0; from < counts[i]; from++) {
                moved += give(from, true);
            }
        }
        assert_true(counts[i] > 3 || rounds <= 3);
        for (uint32_t who = 0; who < counts[i] && counts[i] <= 17; who++) {
            assert_in_range(scoreboard->slots[who].connections_open, 1300 / counts[i] * 3 / 4,
                            1300 / counts[i] * 5 / 4);
        }
    }
}

/* Whatever somebody writes there: no division by 0, and nothing is read behind the slots. */
static void test_numbers_that_cannot_be(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 1, UINT32_MAX, INT64_MAX, UINT64_MAX - 4, UINT64_MAX};
    enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };
    struct share shares[SHARES_NEIGHBOURS];
    scoreboard->slot_count = UINT32_MAX;
    for (uint32_t own = 0; own < NUMBERS; own++) {
        for (uint32_t other = 0; other < NUMBERS; other++) {
            for (uint32_t i = 0; i < SLOTS; i++) {
                scoreboard->slots[i].connections_open = numbers[i == 3 ? own : other];
                scoreboard->slots[i].connections_idle = numbers[(own + other + i) % NUMBERS];
                scoreboard->slots[i].heartbeat_ms = numbers[(other + i) % NUMBERS];
            }
            for (uint32_t i = 0; i < SLOTS; i++) {
                shares_may_accept(scoreboard, i);
                assert_in_range(shares_to_give(scoreboard, i, shares), 0, SHARES_NEIGHBOURS);
            }
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_equal_shares),
        TEST(test_a_fair_margin),
        TEST(test_from_nothing),
        TEST(test_who_cannot_take_its_share),
        TEST(test_neighbours),
        TEST(test_behind_pool_threads),
        TEST(test_alone),
        TEST(test_half_of_the_difference),
        TEST(test_nothing_below_the_margin),
        TEST(test_only_to_who_takes_connections),
        TEST(test_idle_ones_do_not_count),
        TEST(test_all_at_once),
        TEST(test_it_settles),
        TEST(test_numbers_that_cannot_be),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
