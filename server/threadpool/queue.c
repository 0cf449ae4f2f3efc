#include "server/threadpool/queue.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct queue {
    _Atomic size_t count; /* with those that have only a place reserved */
    size_t length;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t not_empty;
    struct http_exchange *first, *last;
    size_t waiting; /* threads that wait for a request */
    size_t woken;   /* of these, the ones that have been signalled and are on their way */
    bool closed;
};

struct queue *queue_create(size_t length)
{
    struct queue *queue = memory_alloc_zeroed(1, sizeof(*queue));
    pthread_condattr_t monotonic;
    CHECK(length > 0); /* else nothing would ever have a place */
    queue->length = length;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->not_empty, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return queue;
}

void queue_destroy(struct queue *queue)
{
    CHECK(queue->waiting == 0);
    pthread_cond_destroy(&queue->not_empty);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

void queue_chain_add(struct queue_chain *chain, struct http_exchange *exchange)
{
    CHECK((chain->first == NULL) == (chain->count == 0));
    exchange->next = NULL;
    *(chain->last != NULL ? &chain->last->next : &chain->first) = exchange;
    chain->last = exchange;
    chain->count++;
    chain->blocking += exchange->route->blocks;
    CHECK(chain->blocking <= chain->count);
}

bool queue_reserve(struct queue *queue)
{
    if (atomic_fetch_add_explicit(&queue->count, 1, memory_order_relaxed) < queue->length) {
        return true;
    }
    atomic_fetch_sub_explicit(&queue->count, 1, memory_order_relaxed);
    return false;
}

/* How many of the waiting threads to signal for so many that are wanted. Counts them as woken. */
static size_t choose_to_wake(struct queue *queue, size_t wanted)
{
    CHECK(queue->woken <= queue->waiting);
    size_t asleep = queue->waiting - queue->woken;
    size_t chosen = wanted < asleep ? wanted : asleep;
    queue->woken += chosen;
    return chosen;
}

static void signal_threads(struct queue *queue, size_t threads)
{
    for (size_t i = 0; i < threads; i++) {
        pthread_cond_signal(&queue->not_empty);
    }
}

void queue_push(struct queue *queue, struct queue_chain *chain)
{
    if (chain->count == 0) {
        return;
    }
    CHECK(chain->last->next == NULL); /* no request of another chain hangs on to it */
    CHECK(atomic_load_explicit(&queue->count, memory_order_relaxed) >= chain->count);
    pthread_mutex_lock(&queue->lock);
    *(queue->first != NULL ? &queue->last->next : &queue->first) = chain->first;
    queue->last = chain->last;
    size_t threads = choose_to_wake(queue, chain->blocking + (chain->blocking < chain->count));
    pthread_mutex_unlock(&queue->lock);
    signal_threads(queue, threads);
    *chain = (struct queue_chain){0};
}

/* Holds the lock. Returns when there is a request, the time is over, or the queue is closed. */
static void wait_for_request(struct queue *queue, unsigned timeout_ms)
{
    int error = 0;
    if (queue->first != NULL || queue->closed) {
        return;
    }
    struct timespec until = clock_after(CLOCK_MONOTONIC, timeout_ms);
    queue->waiting++;
    while (queue->first == NULL && !queue->closed && error != ETIMEDOUT) {
        error = pthread_cond_timedwait(&queue->not_empty, &queue->lock, &until);
        if (queue->woken > 0) { /* it may have been another's signal: then the other finds none */
            queue->woken--;
        }
    }
    CHECK(queue->waiting > 0);
    queue->waiting--;
}

/* Holds the lock; there is a request. */
static struct http_exchange *take_batch(struct queue *queue)
{
    struct http_exchange *first = queue->first;
    struct http_exchange *last = first;
    size_t taken = 1;
    while (!last->route->blocks && last->next != NULL && !last->next->route->blocks &&
           taken < QUEUE_BATCH) {
        last = last->next;
        taken++;
    }
    queue->first = last->next;
    last->next = NULL;
    CHECK(taken <= QUEUE_BATCH && (taken == 1 || !first->route->blocks));
    size_t before = atomic_fetch_sub_explicit(&queue->count, taken, memory_order_relaxed);
    CHECK(taken <= before);
    return first;
}

struct http_exchange *queue_pop(struct queue *queue, unsigned timeout_ms, bool *closed)
{
    struct http_exchange *batch = NULL;
    size_t threads = 0;
    pthread_mutex_lock(&queue->lock);
    wait_for_request(queue, timeout_ms);
    *closed = queue->closed;
    if (queue->first != NULL && !queue->closed) {
        batch = take_batch(queue);
        threads = queue->first != NULL ? choose_to_wake(queue, 1) : 0; /* there is more to do */
    }
    pthread_mutex_unlock(&queue->lock);
    signal_threads(queue, threads);
    return batch;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    CHECK(!queue->closed);
    queue->closed = true;
    pthread_mutex_unlock(&queue->lock);
    pthread_cond_broadcast(&queue->not_empty);
}
