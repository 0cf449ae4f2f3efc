#include "server/threadpool/queue.h"

#include "common/base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { LENGTH = 8, PATIENCE_MS = 10000, THREADS = 4, REQUESTS = 20000 };

static struct queue *queue;
static struct http_exchange exchanges[REQUESTS];

static int make(void **state)
{
    (void)state;
    queue = queue_create(LENGTH);
    return queue == NULL;
}

static int discard(void **state)
{
    (void)state;
    queue_destroy(queue);
    return 0;
}

static struct http_exchange *pop(unsigned timeout_ms)
{
    bool closed = true;
    struct http_exchange *exchange = queue_pop(queue, timeout_ms, &closed);
    assert_false(closed);
    return exchange;
}

static void test_order(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) { /* emptied and filled again */
        for (int i = 0; i < 5; i++) {
            exchanges[i].next = &exchanges[7]; /* whatever a list before left there */
            assert_true(queue_push(queue, &exchanges[i]));
        }
        for (int i = 0; i < 5; i++) {
            assert_ptr_equal(pop(PATIENCE_MS), &exchanges[i]);
        }
        assert_null(pop(0));
    }
}

static void test_order_when_it_never_empties(void **state)
{
    (void)state;
    assert_true(queue_push(queue, &exchanges[0]));
    for (int i = 1; i < 1000; i++) {
        assert_true(queue_push(queue, &exchanges[i]));
        assert_ptr_equal(pop(PATIENCE_MS), &exchanges[i - 1]);
    }
}

static void test_bound(void **state)
{
    (void)state;
    for (int i = 0; i < LENGTH; i++) {
        assert_true(queue_push(queue, &exchanges[i]));
    }
    assert_false(queue_push(queue, &exchanges[LENGTH]));
    assert_false(queue_push(queue, &exchanges[LENGTH]));
    assert_ptr_equal(pop(PATIENCE_MS), &exchanges[0]);
    assert_true(queue_push(queue, &exchanges[LENGTH])); /* room again, for one */
    assert_false(queue_push(queue, &exchanges[LENGTH + 1]));
    for (int i = 1; i <= LENGTH; i++) {
        assert_ptr_equal(pop(PATIENCE_MS), &exchanges[i]);
    }
    assert_null(pop(0));
}

static void test_timeout(void **state)
{
    (void)state;
    static const unsigned timeouts_ms[] = {0, 1, 50, 1001};
    for (size_t i = 0; i < sizeof(timeouts_ms) / sizeof(timeouts_ms[0]); i++) {
        uint64_t before_ms = clock_monotonic_ms();
        assert_null(pop(timeouts_ms[i]));
        uint64_t waited_ms = clock_monotonic_ms() - before_ms;
        assert_in_range(waited_ms + 1, timeouts_ms[i], timeouts_ms[i] + PATIENCE_MS);
    }
}

static void *pop_in_a_thread(void *closed)
{
    return queue_pop(queue, PATIENCE_MS, closed);
}

/* Returns what the waiting thread got, which must have been woken long before its patience. */
static struct http_exchange *woken_by(void (*wake)(void), bool *closed)
{
    pthread_t thread;
    void *got;
    assert_int_equal(pthread_create(&thread, NULL, pop_in_a_thread, closed), 0);
    usleep(20000); /* it waits by now, most likely; if not, the result is the same */
    uint64_t before_ms = clock_monotonic_ms();
    wake();
    assert_int_equal(pthread_join(thread, &got), 0);
    assert_in_range(clock_monotonic_ms() - before_ms, 0, PATIENCE_MS / 2);
    return got;
}

static void push_one(void)
{
    assert_true(queue_push(queue, &exchanges[3]));
}

static void close_queue(void)
{
    queue_close(queue);
}

static void test_push_wakes(void **state)
{
    (void)state;
    bool closed = true;
    assert_ptr_equal(woken_by(push_one, &closed), &exchanges[3]);
    assert_false(closed);
}

static void test_close_wakes(void **state)
{
    (void)state;
    bool closed = false;
    assert_null(woken_by(close_queue, &closed));
    assert_true(closed);
}

static void test_close_wakes_everybody(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    bool closed[THREADS] = {false};
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, pop_in_a_thread, &closed[i]), 0);
    }
    usleep(20000);
    uint64_t before_ms = clock_monotonic_ms();
    queue_close(queue);
    for (int i = 0; i < THREADS; i++) {
        void *got;
        assert_int_equal(pthread_join(threads[i], &got), 0);
        assert_null(got);
        assert_true(closed[i]);
    }
    assert_in_range(clock_monotonic_ms() - before_ms, 0, PATIENCE_MS / 2);
}

/* What is still queued stays with its connection. */
static void test_closed_hands_nothing_out(void **state)
{
    (void)state;
    bool closed = false;
    assert_true(queue_push(queue, &exchanges[0]));
    queue_close(queue);
    assert_null(queue_pop(queue, PATIENCE_MS, &closed));
    assert_true(closed);
}

struct consumer {
    pthread_t thread;
    size_t count;
    bool in_order;
};

static void *consume(void *argument)
{
    struct consumer *consumer = argument;
    const struct http_exchange *last = NULL;
    bool closed = false;
    consumer->in_order = true;
    while (!closed) {
        struct http_exchange *exchange = queue_pop(queue, 100, &closed);
        if (exchange != NULL) {
            consumer->in_order &= last == NULL || exchange > last;
            last = exchange;
            consumer->count++;
        }
    }
    return NULL;
}

static void test_many_consumers(void **state)
{
    (void)state;
    struct consumer consumers[THREADS] = {{0}};
    size_t total = 0;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&consumers[i].thread, NULL, consume, &consumers[i]), 0);
    }
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    for (size_t i = 0; i < REQUESTS;) {
        if (queue_push(queue, &exchanges[i])) {
            i++;
        } else {
            assert_true(clock_monotonic_ms() < until_ms);
            sched_yield();
        }
    }
    bool empty = false;
    while (!empty) {
        assert_true(clock_monotonic_ms() < until_ms);
        usleep(500);
        bool closed;
        struct http_exchange *left = queue_pop(queue, 0, &closed);
        empty = left == NULL;
        total += left != NULL;
    }
    queue_close(queue);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(consumers[i].thread, NULL), 0);
        assert_true(consumers[i].in_order);
        total += consumers[i].count;
    }
    assert_int_equal(total, REQUESTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_order_when_it_never_empties),
        TEST(test_bound),
        TEST(test_timeout),
        TEST(test_push_wakes),
        TEST(test_close_wakes),
        TEST(test_close_wakes_everybody),
        TEST(test_closed_hands_nothing_out),
        TEST(test_many_consumers),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
