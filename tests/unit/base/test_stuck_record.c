/* Records of stuck processes: the last ones are there for every process to see. */
#include "common/base/stuck_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct scoreboard *scoreboard;
static struct stuck_record record, found; /* too large for a stack */

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(1);
    memset(&record, 0, sizeof(record));
    return scoreboard == NULL;
}

static int discard(void **state)
{
    (void)state;
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
    stuck_record_publish(scoreboard, &record);
}

static void test_none(void **state)
{
    (void)state;
    assert_int_equal(stuck_record_oldest(scoreboard), 0);
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
    assert_int_equal(stuck_record_oldest(scoreboard), 2);
    assert_false(stuck_record_copy(scoreboard, 1, &found));
    for (uint64_t i = 2; i < STUCK_RECORDS + 2; i++) {
        assert_true(stuck_record_copy(scoreboard, i, &found));
        assert_int_equal(found.pid, 100 * i);
    }
}

/* Its writer is at work, or has died in the middle. */
static void test_half_a_record_is_not_read(void **state)
{
    (void)state;
    publish(100, 1);
    scoreboard->stuck_places[0].sequence++;
    assert_false(stuck_record_copy(scoreboard, 0, &found));
    scoreboard->stuck_records = STUCK_RECORDS;
    publish(200, 1); /* into the same place: it is left alone */
    assert_int_equal(scoreboard->stuck_places[0].record.pid, 100);
}

static void test_a_count_that_cannot_be(void **state)
{
    (void)state;
    publish(100, STUCK_THREADS + 1000);
    assert_true(stuck_record_copy(scoreboard, 0, &found));
    assert_int_equal(found.thread_count, STUCK_THREADS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_none),
        TEST(test_one),
        TEST(test_the_last_are_remembered),
        TEST(test_half_a_record_is_not_read),
        TEST(test_a_count_that_cannot_be),
    };
    return cmocka_run_group_tests_name("stuck_record", tests, NULL, NULL);
}
