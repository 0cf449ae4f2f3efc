/* Records of stuck processes: the last ones are there for every process to see. */
#include "common/scoreboard/stuck_record.h"

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

static struct scoreboard *scoreboard;
static struct ledger *ledger;
static struct stuck_record record, found; /* too large for a stack */

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(1);
    ledger = ledger_create(scoreboard);
    memset(&record, 0, sizeof(record));
    return scoreboard == NULL;
}

static int discard(void **state)
{
    (void)state;
    ledger_destroy(ledger);
    scoreboard_destroy(scoreboard);
    return 0;
}

static void publish(int32_t pid, uint32_t threads)
{
    record.pid = pid;
    record.thread_count = threads;
    for (uint32_t i = 0; i < threads && i < STUCK_THREADS; i++) {
        record.threads[i].tid = pid + (int32_t)i;
    }
    stuck_record_publish(scoreboard, ledger_next_stuck_record(ledger), &record);
}

static void test_none(void **state)
{
    (void)state;
    assert_int_equal(stuck_record_remembered(scoreboard).first, 0);
    assert_false(stuck_record_copy(scoreboard, 0, &found));
}

static void test_one(void **state)
{
    (void)state;
    publish(100, 2);
    assert_true(stuck_record_copy(scoreboard, 0, &found));
    assert_int_equal(found.pid, 100);
    assert_int_equal(found.thread_count, 2);
    assert_int_equal(found.threads[1].tid, 101);
    assert_false(stuck_record_copy(scoreboard, STUCK_RECORDS, &found)); /* of the same place */
}

static void test_the_last_are_remembered(void **state)
{
    (void)state;
    for (int32_t i = 0; i < STUCK_RECORDS + 2; i++) {
        publish(100 * i, 1);
    }
    assert_int_equal(stuck_record_remembered(scoreboard).first, 2);
    assert_false(stuck_record_copy(scoreboard, 1, &found));
    for (uint64_t i = 2; i < STUCK_RECORDS + 2; i++) {
        assert_true(stuck_record_copy(scoreboard, i, &found));
        assert_int_equal(found.pid, 100 * i);
    }
}

/* Its writer is at work, or has died in the middle; the next one does not mind. */
static void test_half_a_record_is_not_read(void **state)
{
    (void)state;
    publish(100, 1);
    scoreboard->stuck_places[0].sequence--;
    assert_false(stuck_record_copy(scoreboard, 0, &found));
    for (int32_t i = 1; i <= STUCK_RECORDS; i++) {
        publish(100 + i, 1);
    }
    assert_true(stuck_record_copy(scoreboard, STUCK_RECORDS, &found)); /* in the same place */
    assert_int_equal(found.pid, 100 + STUCK_RECORDS);
}

/* Whatever somebody writes there. */
static void test_a_scribbled_record(void **state)
{
    (void)state;
    for (int byte = 0; byte <= UINT8_MAX; byte += 51) {
        memset((void *)scoreboard->stuck_places, byte, sizeof(scoreboard->stuck_places));
        scoreboard->stuck_places[0].number = 0;
        scoreboard->stuck_places[0].sequence = 2;
        assert_true(stuck_record_copy(scoreboard, 0, &found));
        assert_in_range(found.thread_count, 0, STUCK_THREADS);
        for (uint32_t i = 0; i < found.thread_count; i++) {
            const struct stuck_thread *thread = &found.threads[i];
            assert_in_range(thread->stack.frame_count, 0, CRASH_STORY_FRAMES);
            assert_in_range(strnlen(thread->wait_channel, WAIT_CHANNEL_BYTES), 0,
                            WAIT_CHANNEL_BYTES - 1);
        }
        uint64_t number = ledger_next_stuck_record(ledger);
        memset(&record, 0, sizeof(record));
        stuck_record_publish(scoreboard, number, &record);
        assert_true(stuck_record_copy(scoreboard, number, &found));
    }
}

static void publish_too_many_threads(void)
{
    publish(100, STUCK_THREADS + 1);
}

static void test_a_count_that_cannot_be(void **state)
{
    (void)state;
    publish(100, STUCK_THREADS);
    assert_true(stuck_record_copy(scoreboard, 0, &found));
    assert_int_equal(found.thread_count, STUCK_THREADS);
    assert_check_fails(publish_too_many_threads, "threads <= STUCK_THREADS");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_none),
        TEST(test_one),
        TEST(test_the_last_are_remembered),
        TEST(test_half_a_record_is_not_read),
        TEST(test_a_scribbled_record),
        TEST(test_a_count_that_cannot_be),
    };
    return cmocka_run_group_tests_name("stuck_record", tests, NULL, NULL);
}
