#include "server/threadpool/queue.h"

#include "common/base/clock.h"
#include "tests/unit/patience.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/failing_check.h"

enum { LENGTH = 8, THREADS = 4, REQUESTS = 20000 };

static struct queue *queue;
static struct http_exchange exchanges[REQUESTS];

static const struct route quick = {.blocks = false}, blocking = {.blocks = true};

/* All block unless a test says otherwise: they come out one by one. */
static int make(void **state)
{
    (void)state;
    queue = queue_create(LENGTH);
    for (size_t i = 0; i < REQUESTS; i++) {
        exchanges[i].route = &blocking;
    }
    return queue == NULL;
}

/* One request by itself. */
static bool push(struct http_exchange *exchange)
{
    struct queue_chain chain = {0};
    if (!queue_reserve(queue)) {
        return false;
    }
    queue_chain_add(&chain, exchange);
    queue_push(queue, &chain);
    assert_null(chain.first);
    assert_int_equal(chain.count, 0);
    return true;
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
            assert_true(push(&exchanges[i]));
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
    assert_true(push(&exchanges[0]));
    for (int i = 1; i < 1000; i++) {
        assert_true(push(&exchanges[i]));
        assert_ptr_equal(pop(PATIENCE_MS), &exchanges[i - 1]);
    }
}

static void test_bound(void **state)
{
    (void)state;
    for (int i = 0; i < LENGTH; i++) {
        assert_true(push(&exchanges[i]));
    }
    assert_false(push(&exchanges[LENGTH]));
    assert_false(push(&exchanges[LENGTH]));
    assert_ptr_equal(pop(PATIENCE_MS), &exchanges[0]);
    assert_true(push(&exchanges[LENGTH])); /* room again, for one */
    assert_false(push(&exchanges[LENGTH + 1]));
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
    assert_true(push(&exchanges[3]));
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
    assert_true(push(&exchanges[0]));
    queue_close(queue);
    assert_null(queue_pop(queue, PATIENCE_MS, &closed));
    assert_true(closed);
}

static size_t length_of(const struct http_exchange *batch)
{
    size_t count = 0;
    for (; batch != NULL; batch = batch->next) {
        count++;
    }
    return count;
}

static void test_batches(void **state)
{
    (void)state;
    static const struct {
        const char *routes; /* q: quick, b: blocking */
        size_t batches[6];
    } cases[] = {
        {"q", {1}},
        {"qqq", {3}},
        {"b", {1}},
        {"bb", {1, 1}},
        {"qqbqq", {2, 1, 2}},
        {"bqqqb", {1, 3, 1}},
        {"qqqqqqqqqq", {QUEUE_BATCH, 2}},
    };
    queue_destroy(queue);
    queue = queue_create(REQUESTS);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct queue_chain chain = {0};
        size_t count = strlen(cases[i].routes), seen = 0;
        for (size_t k = 0; k < count; k++) {
            exchanges[k].route = cases[i].routes[k] == 'q' ? &quick : &blocking;
            assert_true(queue_reserve(queue));
            queue_chain_add(&chain, &exchanges[k]);
        }
        assert_int_equal(chain.count, count);
        queue_push(queue, &chain);
        for (size_t k = 0; cases[i].batches[k] != 0; k++) {
            struct http_exchange *batch = pop(0);
            assert_ptr_equal(batch, &exchanges[seen]);
            assert_int_equal(length_of(batch), cases[i].batches[k]);
            seen += cases[i].batches[k];
        }
        assert_int_equal(seen, count);
        assert_null(pop(0));
    }
}

/* A place is taken when it is reserved, not when the request comes. */
static void test_reservation(void **state)
{
    (void)state;
    struct queue_chain chain = {0};
    for (int i = 0; i < LENGTH; i++) {
        assert_true(queue_reserve(queue));
        exchanges[i].route = &quick;
        queue_chain_add(&chain, &exchanges[i]);
    }
    assert_false(queue_reserve(queue));
    assert_null(pop(0));
    queue_push(queue, &chain);
    assert_false(queue_reserve(queue));
    assert_int_equal(length_of(pop(0)), LENGTH); /* a batch frees all its places */
    for (int i = 0; i < LENGTH; i++) {
        assert_true(queue_reserve(queue));
    }
    assert_false(queue_reserve(queue));
}

static void test_an_empty_chain_is_nothing(void **state)
{
    (void)state;
    struct queue_chain chain = {0};
    queue_push(queue, &chain);
    assert_null(pop(0));
}

/* Requests that block go to as many threads at once, though they come in one chain. */
static void *hold_one(void *barrier)
{
    bool closed;
    struct http_exchange *got = queue_pop(queue, PATIENCE_MS, &closed);
    pthread_barrier_wait(barrier); /* nobody goes on before all have one */
    return got;
}

static void test_a_chain_wakes_a_thread_for_each_that_blocks(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    struct queue_chain chain = {0};
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hold_one, &barrier), 0);
        assert_true(queue_reserve(queue));
        queue_chain_add(&chain, &exchanges[i]);
    }
    usleep(20000); /* they wait by now, most likely; if not, the result is the same */
    uint64_t before_ms = clock_monotonic_ms();
    queue_push(queue, &chain);
    pthread_barrier_wait(&barrier);
    assert_in_range(clock_monotonic_ms() - before_ms, 0, PATIENCE_MS / 2);
    for (int i = 0; i < THREADS; i++) {
        void *got;
        assert_int_equal(pthread_join(threads[i], &got), 0);
        assert_non_null(got);
    }
    pthread_barrier_destroy(&barrier);
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
        for (; exchange != NULL; exchange = exchange->next) {
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
    for (size_t i = 0; i < REQUESTS; i++) {
        exchanges[i].route = i % 7 < 5 ? &quick : &blocking;
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&consumers[i].thread, NULL, consume, &consumers[i]), 0);
    }
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    for (size_t i = 0; i < REQUESTS;) {
        if (push(&exchanges[i])) {
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
        total += length_of(left);
    }
    queue_close(queue);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(consumers[i].thread, NULL), 0);
        assert_true(consumers[i].in_order);
        total += consumers[i].count;
    }
    assert_int_equal(total, REQUESTS);
}

static void push_without_a_place(void)
{
    struct queue_chain chain = {0};
    queue_chain_add(&chain, &exchanges[0]);
    queue_push(queue, &chain);
}

static void push_with_something_behind(void)
{
    struct queue_chain chain = {0};
    queue_reserve(queue);
    queue_chain_add(&chain, &exchanges[0]);
    exchanges[0].next = &exchanges[1];
    queue_push(queue, &chain);
}

static void close_twice(void)
{
    queue_close(queue);
    queue_close(queue);
}

static void test_what_callers_must_not_do(void **state)
{
    (void)state;
    assert_check_fails(push_without_a_place,
                       "atomic_load_explicit(&queue->count, memory_order_relaxed) >= chain->count");
    assert_check_fails(push_with_something_behind, "chain->last->next == NULL");
    assert_check_fails(close_twice, "!queue->closed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_what_callers_must_not_do),
        TEST(test_order_when_it_never_empties),
        TEST(test_bound),
        TEST(test_timeout),
        TEST(test_push_wakes),
        TEST(test_close_wakes),
        TEST(test_close_wakes_everybody),
        TEST(test_closed_hands_nothing_out),
        TEST(test_batches),
        TEST(test_reservation),
        TEST(test_an_empty_chain_is_nothing),
        TEST(test_a_chain_wakes_a_thread_for_each_that_blocks),
        TEST(test_many_consumers),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
