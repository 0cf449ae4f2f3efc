#include "server/supervise/balance.h"

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
    scoreboard_claim(scoreboard, SLOTS);
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
        assert_true(balance_may_accept(scoreboard, i));
    }
}

/* A few more than the least loaded neighbour are no reason. */
static void test_a_fair_margin(void **state)
{
    (void)state;
    scoreboard->slots[0].connections_open = 100 + 100 / 8 + 4;
    assert_true(balance_may_accept(scoreboard, 0));
    scoreboard->slots[0].connections_open++;
    assert_false(balance_may_accept(scoreboard, 0));
    assert_true(balance_may_accept(scoreboard, 1)); /* who has fewer goes on */
}

static void test_from_nothing(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++) {
        scoreboard->slots[i].connections_open = 0;
    }
    for (uint64_t open = 0; open <= 4; open++) {
        scoreboard->slots[3].connections_open = open;
        assert_true(balance_may_accept(scoreboard, 3));
    }
    scoreboard->slots[3].connections_open = 5;
    assert_false(balance_may_accept(scoreboard, 3));
}

/* Whoever cannot take connections is not waited for. */
static void test_who_cannot_take_its_share(void **state)
{
    (void)state;
    struct worker_slot *other = &scoreboard->slots[1];
    other->connections_open = 0;
    assert_false(balance_may_accept(scoreboard, 0));
    static const enum slot_state others[] = {SLOT_EMPTY, SLOT_STARTING, SLOT_DRAINING, SLOT_DEAD};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        other->state = others[i];
        assert_true(balance_may_accept(scoreboard, 0));
    }
    other->state = SLOT_READY;
    other->role = SLOT_POOL;
    assert_true(balance_may_accept(scoreboard, 0));
    other->role = SLOT_LOOP;
    other->heartbeat_ms = NOW_MS - 500;
    assert_false(balance_may_accept(scoreboard, 0));
    other->heartbeat_ms = NOW_MS - 501; /* hangs */
    assert_true(balance_may_accept(scoreboard, 0));
}

/* The cost is bounded: only neighbours count, and the last one's are the first ones. */
static void test_neighbours(void **state)
{
    (void)state;
    for (uint32_t distance = 1; distance < SLOTS; distance++) {
        struct worker_slot *other = &scoreboard->slots[(30 + distance) % SLOTS];
        other->connections_open = 0;
        assert_int_equal(balance_may_accept(scoreboard, 30), distance > 16);
        other->connections_open = 100;
    }
}

static void test_alone(void **state)
{
    (void)state;
    struct scoreboard *alone = scoreboard_create(1);
    scoreboard_claim(alone, 1);
    alone->slots[0].connections_open = 1000;
    assert_true(balance_may_accept(alone, 0));
    scoreboard_destroy(alone);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_equal_shares), TEST(test_a_fair_margin),
        TEST(test_from_nothing), TEST(test_who_cannot_take_its_share),
        TEST(test_neighbours),   TEST(test_alone),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
