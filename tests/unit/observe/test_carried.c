/* What other programs have counted, added up. */
#include "server/observe/carried.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/observe/observe_testing.h"

static struct carried *carried;
static struct counted_page *writers[2]; /* the program before, and the new one */
static struct carried_counts counts, found;

static int make(void **state)
{
    (void)state;
    carried = carried_create();
    return 0;
}

static int discard(void **state)
{
    (void)state;
    carried_close(carried);
    counted_page_close(writers[0]);
    counted_page_close(writers[1]);
    writers[0] = writers[1] = NULL;
    return 0;
}

static void write_counts(struct counted_page *page, uint64_t finished)
{
    counts = (struct carried_counts){0};
    counts.totals.counters.requests_finished = finished;
    counts.totals.connections_open = 77; /* of the other program */
    counts.latency.requests.count = counts.latency.requests.buckets[7] = finished;
    counted_page_write(page, &counts);
}

static void begin(uint64_t finished)
{
    int fd;
    writers[0] = counted_page_create(&fd);
    write_counts(writers[0], finished);
    carried_begin(carried, counted_page_open(fd));
}

static void take_back(uint64_t finished)
{
    int fd;
    struct counted_page *awaited = counted_page_await(&fd);
    counted_page_close(writers[1]);
    writers[1] = counted_page_enter(fd);
    write_counts(writers[1], finished);
    carried_take_back(carried, awaited);
}

static void assert_finished(uint64_t expected)
{
    carried_read(carried, &found);
    assert_int_equal(found.totals.counters.requests_finished, expected);
    assert_int_equal(found.latency.requests.count, expected);
    assert_int_equal(found.latency.requests.buckets[7], expected);
}

static void test_nothing(void **state)
{
    (void)state;
    assert_finished(0);
    assert_true(carried_is_handed_over(carried));
    carried_settle(carried);
    carried_settle(NULL);
    assert_true(carried_is_handed_over(NULL));
}

static void test_each_is_added(void **state)
{
    (void)state;
    begin(1000);
    assert_finished(1000);
    take_back(20);
    assert_finished(1020);
    write_counts(writers[0], 1001);
    write_counts(writers[1], 23); /* it drains */
    assert_finished(1024);
    carried_settle(carried);
    assert_finished(1024);
    write_counts(writers[1], 1); /* nobody hears it any more */
    assert_finished(1024);
    take_back(300); /* one more that came to nothing */
    assert_finished(1324);
    take_back(4000);
    assert_finished(5324);
}

static void test_who_tells(void **state)
{
    (void)state;
    begin(1);
    assert_false(carried_is_handed_over(carried));
    counted_page_hand_over(writers[0]);
    assert_true(carried_is_handed_over(carried));
    take_back(1);
    assert_false(carried_is_handed_over(carried));
    counted_page_hand_over(writers[1]);
    assert_true(carried_is_handed_over(carried));
    take_back(1);
    assert_false(carried_is_handed_over(carried));
    carried_settle(carried); /* it has ended without a word */
    assert_true(carried_is_handed_over(carried));
}

/* The counters, and no gauge. */
static void test_readers_add_it(void **state)
{
    (void)state;
    make_server(1, 1);
    scoreboard->slots[0].counters.requests_finished = 5;
    begin(1000);
    struct facts_reader *reader = facts_reader_create(scoreboard, bulletin, carried);
    struct latency_copy latency;
    assert_int_equal(facts_read(reader)->totals.counters.requests_finished, 1005);
    assert_true(facts_read_latency(reader, &latency, NULL, NULL));
    assert_int_equal(latency.requests.count, 1000);
    write_counts(writers[0], 1001);
    assert_int_equal(facts_read(reader)->totals.counters.requests_finished, 1006);
    assert_int_equal(facts_last(reader)->totals.connections_open, 0);
    facts_reader_destroy(reader);
    discard_server();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing, make, discard),
        cmocka_unit_test_setup_teardown(test_each_is_added, make, discard),
        cmocka_unit_test_setup_teardown(test_who_tells, make, discard),
        cmocka_unit_test_setup_teardown(test_readers_add_it, make, discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
