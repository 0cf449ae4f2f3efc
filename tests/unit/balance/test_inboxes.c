/* Who is given connections, and by which way; the moving itself is a stub. */
#include "server/balance/inboxes.h"

#include "tests/unit/failing_call.h"
#include "tests/unit/open_descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

/* The slots of three processes of two loops and a pool thread. */
enum { LOOPS = 2, SLOTS_EACH = 3, SLOTS = 9, INBOXES = 6, NOW_MS = 100000, CALLS_MAX = 16 };

struct call {
    int fd;
    uint64_t count;
};

static struct scoreboard *scoreboard;
static struct inboxes inboxes;
static struct call given[CALLS_MAX], rescued[CALLS_MAX];
static size_t given_count, rescued_count;
static uint32_t ends_while_given;                               /* the slot whose loop does */
static struct worker *const worker = (struct worker *)&inboxes; /* never looked into */

WRAPPED(uint64_t, worker_hand_over, struct worker *from, int to_fd, uint64_t count)
{
    assert_ptr_equal(from, worker);
    given[given_count++] = (struct call){to_fd, count};
    if (ends_while_given < SLOTS) {
        scoreboard->slots[ends_while_given].state = SLOT_DRAINING;
    }
    return count;
}

WRAPPED(void, worker_take_over, struct worker *by, int from_fd)
{
    assert_ptr_equal(by, worker);
    rescued[rescued_count++] = (struct call){from_fd, 0};
}

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(SLOTS);
    scoreboard->slot_count = SLOTS;
    assert_true(inboxes_open(&inboxes, scoreboard, INBOXES, NULL));
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct worker_slot *slot = &scoreboard->slots[i];
        slot->state = SLOT_READY;
        slot->role = i % SLOTS_EACH < LOOPS ? SLOT_LOOP : SLOT_POOL;
        slot->heartbeat_ms = NOW_MS;
        if (slot->role == SLOT_LOOP) {
            slot->connections_open = 100;
            slot->inbox = inboxes_id(&inboxes, i / SLOTS_EACH * LOOPS + i % SLOTS_EACH);
        }
    }
    given_count = rescued_count = 0;
    ends_while_given = SLOTS;
    return 0;
}

static int discard(void **state)
{
    (void)state;
    inboxes_close(&inboxes);
    scoreboard_destroy(scoreboard);
    return 0;
}

/* Whether a message sent to fd arrives in the inbox. */
static bool leads_to(int fd, int inbox)
{
    char byte = 0;
    assert_int_equal(write(fd, "x", 1), 1);
    return read(inbox, &byte, 1) == 1 && byte == 'x';
}

static int inbox_of(uint32_t slot_index)
{
    return inboxes_find(&inboxes, scoreboard->slots[slot_index].inbox);
}

static void test_inboxes(void **state)
{
    (void)state;
    for (uint32_t loop = 0; loop < INBOXES; loop++) {
        uint32_t id = inboxes_id(&inboxes, loop);
        assert_true(id > 0);
        assert_true(inboxes_find(&inboxes, id) >= 0);
        for (uint32_t other = 0; other < loop; other++) {
            assert_int_not_equal(inboxes_find(&inboxes, id),
                                 inboxes_find(&inboxes, inboxes_id(&inboxes, other)));
        }
    }
    assert_int_equal(inboxes_id(&inboxes, INBOXES), 0);
    assert_int_equal(inboxes_find(&inboxes, 0), -1);
}

static void test_nothing_leaks(void **state)
{
    (void)state;
    struct inboxes another;
    size_t before = open_descriptors();
    assert_true(inboxes_open(&another, scoreboard, INBOXES, NULL));
    assert_int_equal(open_descriptors(), before + inboxes_descriptors(INBOXES));
    inboxes_close(&another);
    assert_int_equal(open_descriptors(), before);
    inboxes_close(&another);
}

/* After a reload old and new processes give nothing to each other: they have not the same sockets.
 */
static void test_a_reload(void **state)
{
    (void)state;
    struct inboxes next, off, on;
    assert_true(inboxes_open(&next, scoreboard, 3, &inboxes));
    uint32_t id = inboxes_id(&next, 2);
    assert_int_equal(inboxes_find(&inboxes, id), -1);
    scoreboard->slots[4].inbox = id;
    scoreboard->slots[4].connections_open = 0;
    inboxes_tick(&inboxes, worker, 0);
    assert_int_equal(given_count, 0);
    inboxes_tick(&next, worker, 0);
    assert_int_equal(given_count, 1);
    /* The next one switches it off, and the one after that on again. */
    assert_true(inboxes_open(&off, scoreboard, 0, &next));
    assert_true(inboxes_open(&on, scoreboard, INBOXES, &off));
    assert_int_equal(inboxes_id(&off, 0), 0);
    assert_int_equal(inboxes_find(&on, id), -1);
    inboxes_close(&next);
    inboxes_close(&off);
    inboxes_close(&on);
}

/* An odd number gets one more: they come in pairs. One loop has nobody to give to. */
static void test_descriptors(void **state)
{
    (void)state;
    static const uint32_t expected[] = {0, 0, 2, 4, 4, 6};
    for (uint32_t loops = 0; loops < sizeof(expected) / sizeof(expected[0]); loops++) {
        assert_int_equal(inboxes_descriptors(loops), expected[loops]);
    }
}

static void test_one_loop(void **state)
{
    (void)state;
    struct inboxes alone = {0}; /* as it is where the setting says off */
    assert_int_equal(inboxes_id(&alone, 0), 0);
    assert_true(inboxes_open(&alone, scoreboard, 1, NULL));
    assert_int_equal(inboxes_id(&alone, 0), 0);
    inboxes_close(&alone);
}

static void test_balanced(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (i % SLOTS_EACH < LOOPS) {
            inboxes_tick(&inboxes, worker, i);
        }
    }
    assert_int_equal(given_count, 0);
    assert_int_equal(rescued_count, 0);
}

/* From every place to every other. */
static void test_the_way(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < SLOTS; from++) {
        for (uint32_t to = 0; to < SLOTS; to++) {
            if (from == to || from % SLOTS_EACH >= LOOPS || to % SLOTS_EACH >= LOOPS) {
                continue;
            }
            given_count = 0;
            scoreboard->slots[to].connections_open = 40;
            inboxes_tick(&inboxes, worker, from);
            assert_int_equal(given_count, 1);
            assert_int_equal(given[0].count, 10);
            assert_true(leads_to(given[0].fd, inbox_of(to)));
            scoreboard->slots[to].connections_open = 100;
        }
    }
}

static void test_a_full_inbox_waits(void **state)
{
    (void)state;
    scoreboard->slots[1].connections_open = 0;
    inboxes_tick(&inboxes, worker, 0);
    assert_int_equal(given_count, 1);
    assert_int_equal(write(given[0].fd, "x", 1), 1);
    inboxes_tick(&inboxes, worker, 0);
    assert_int_equal(given_count, 1);
    char byte;
    assert_int_equal(read(inbox_of(1), &byte, 1), 1);
    inboxes_tick(&inboxes, worker, 0);
    assert_int_equal(given_count, 2);
}

static void test_who_drains(void **state)
{
    (void)state;
    scoreboard->slots[1].connections_open = 0;
    scoreboard->slots[1].draining = true; /* and does not know it yet */
    inboxes_tick(&inboxes, worker, 0);
    assert_int_equal(given_count, 0);
    scoreboard->slots[1].state = SLOT_DRAINING; /* has looked for the last time */
    rescued_count = 0;
    inboxes_tick(&inboxes, worker, 0);
    assert_int_equal(given_count + rescued_count, 0);
}

/* It looked for the last time before they were sent. */
static void test_who_ends_meanwhile(void **state)
{
    (void)state;
    scoreboard->slots[1].connections_open = 0;
    ends_while_given = 1;
    inboxes_tick(&inboxes, worker, 0);
    assert_int_equal(given_count, 1);
    assert_int_equal(rescued_count, 1);
    assert_int_equal(rescued[0].fd, inbox_of(1));
}

static void test_who_hangs(void **state)
{
    (void)state;
    scoreboard->slots[1].state = SLOT_DEAD; /* its successor will look */
    scoreboard->slots[3].heartbeat_ms = NOW_MS - 501;
    inboxes_tick(&inboxes, worker, 7);
    assert_int_equal(rescued_count, 1);
    assert_int_equal(rescued[0].fd, inbox_of(3));
    assert_int_equal(given_count, 0);
}

static void test_an_inbox_that_was_shut_down(void **state)
{
    (void)state;
    assert_true(inboxes_is_sound(&inboxes));
    assert_true(inboxes_is_sound(&(struct inboxes){0})); /* there is none */
    assert_int_equal(write(inboxes.fds[0], "x", 1), 1);  /* what is in them is no sign */
    assert_true(inboxes_is_sound(&inboxes));
    assert_int_equal(shutdown(inboxes.fds[INBOXES - 1], SHUT_RD), 0);
    assert_false(inboxes_is_sound(&inboxes));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inboxes),
        TEST(test_nothing_leaks),
        TEST(test_a_reload),
        TEST(test_descriptors),
        TEST(test_one_loop),
        TEST(test_balanced),
        TEST(test_the_way),
        TEST(test_a_full_inbox_waits),
        TEST(test_who_drains),
        TEST(test_who_ends_meanwhile),
        TEST(test_an_inbox_that_was_shut_down),
        TEST(test_who_hangs),
    };
    return cmocka_run_group_tests_name("inboxes", tests, NULL, NULL);
}
