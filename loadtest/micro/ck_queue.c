#include "loadtest/micro/ck_queue.h"

#include "common/base/memory.h"

#include <ck_ring.h>
#include <errno.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stdlib.h>
#include <time.h>

enum { CACHE_LINE_BYTES = 64 };

struct ck_queue {
    ck_ring_t ring; /* of batches: the chain is cut where it enters, a ring cannot look ahead */
    ck_ring_buffer_t *slots;
    size_t length;
    alignas(CACHE_LINE_BYTES) _Atomic size_t count; /* with those that have only a place reserved */
    alignas(CACHE_LINE_BYTES) _Atomic size_t asleep; /* or about to be; without those being woken */
    sem_t wake_ups; /* one for each thread that was taken off asleep by another */
    _Atomic bool closed;
};

static struct ck_queue *own(struct queue *queue)
{
    return (struct ck_queue *)(void *)queue;
}

struct queue *ck_queue_create(size_t length)
{
    struct ck_queue *queue = aligned_alloc(CACHE_LINE_BYTES, sizeof(*queue));
    unsigned slots = 4;
    if (queue == NULL) {
        abort();
    }
    *queue = (struct ck_queue){.length = length};
    while (slots < length + 1) { /* a ring of n holds n - 1 */
        slots *= 2;
    }
    queue->slots = memory_alloc_zeroed(slots, sizeof(*queue->slots));
    ck_ring_init(&queue->ring, slots);
    sem_init(&queue->wake_ups, 0, 0);
    return (struct queue *)(void *)queue;
}

void ck_queue_destroy(struct queue *queue)
{
    sem_destroy(&own(queue)->wake_ups);
    free(own(queue)->slots);
    free(own(queue));
}

bool ck_queue_reserve(struct queue *queue)
{
    if (atomic_fetch_add_explicit(&own(queue)->count, 1, memory_order_relaxed) <
        own(queue)->length) {
        return true;
    }
    atomic_fetch_sub_explicit(&own(queue)->count, 1, memory_order_relaxed);
    return false;
}

/* Takes up to so many threads off the count of sleepers. */
static size_t claim_sleepers(struct ck_queue *queue, size_t wanted)
{
    size_t asleep = atomic_load(&queue->asleep);
    size_t claimed;
    do {
        claimed = wanted < asleep ? wanted : asleep;
    } while (claimed > 0 &&
             !atomic_compare_exchange_weak(&queue->asleep, &asleep, asleep - claimed));
    return claimed;
}

static void wake(struct ck_queue *queue, size_t wanted)
{
    /* Against the other order in wait_for_wake_up: either we see the sleeper or it sees the batch.
     */
    atomic_thread_fence(memory_order_seq_cst);
    for (size_t claimed = claim_sleepers(queue, wanted); claimed > 0; claimed--) {
        sem_post(&queue->wake_ups);
    }
}

/* Cuts the first batch off the list, and returns what follows. */
static struct http_exchange *cut_batch(struct http_exchange *first)
{
    struct http_exchange *last = first;
    for (size_t taken = 1; taken < QUEUE_BATCH && !last->route->blocks && last->next != NULL &&
                           !last->next->route->blocks;
         taken++) {
        last = last->next;
    }
    struct http_exchange *rest = last->next;
    last->next = NULL;
    return rest;
}

void ck_queue_push(struct queue *queue, struct queue_chain *chain)
{
    struct ck_queue *ck = own(queue);
    struct http_exchange *batch = chain->first;
    size_t wanted = chain->blocking + (chain->blocking < chain->count);
    while (batch != NULL) {
        struct http_exchange *rest = cut_batch(batch);
        if (!ck_ring_enqueue_mpmc(&ck->ring, ck->slots, batch)) {
            abort(); /* each request has a place reserved: the caller pushed one that has none */
        }
        batch = rest;
    }
    wake(ck, wanted);
    *chain = (struct queue_chain){0};
}

static struct http_exchange *try_pop(struct ck_queue *queue)
{
    struct http_exchange *batch = NULL;
    size_t taken = 0;
    if (!ck_ring_dequeue_mpmc(&queue->ring, queue->slots, &batch)) {
        return NULL;
    }
    for (struct http_exchange *exchange = batch; exchange != NULL; exchange = exchange->next) {
        taken++;
    }
    atomic_fetch_sub_explicit(&queue->count, taken, memory_order_relaxed);
    return batch;
}

static struct timespec time_after(unsigned timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

/* Gets up by itself. Whoever has been claimed meanwhile takes the wake-up that is on its way. */
static void get_up(struct ck_queue *queue)
{
    if (claim_sleepers(queue, 1) == 0) {
        while (sem_wait(&queue->wake_ups) != 0) {
        }
    }
}

/* Returns what it found instead of falling asleep, or NULL after a wake-up, the end of the time, or
 * the close. */
static struct http_exchange *wait_for_wake_up(struct ck_queue *queue, const struct timespec *until)
{
    int failed;
    atomic_fetch_add(&queue->asleep, 1);
    atomic_thread_fence(memory_order_seq_cst);
    struct http_exchange *batch = try_pop(queue);
    if (batch != NULL || atomic_load(&queue->closed)) {
        get_up(queue);
        return batch;
    }
    do {
        failed = sem_clockwait(&queue->wake_ups, CLOCK_MONOTONIC, until);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0) {
        get_up(queue);
    }
    return try_pop(queue);
}

static bool is_over(const struct timespec *until)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > until->tv_sec ||
           (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

static struct http_exchange *pop_or_wait(struct ck_queue *queue, unsigned timeout_ms)
{
    struct http_exchange *batch = try_pop(queue);
    if (batch != NULL) {
        return batch;
    }
    struct timespec until = time_after(timeout_ms);
    do {
        batch = wait_for_wake_up(queue, &until);
    } while (batch == NULL && !atomic_load(&queue->closed) && !is_over(&until));
    return batch;
}

struct http_exchange *ck_queue_pop(struct queue *queue, unsigned timeout_ms, bool *closed)
{
    struct ck_queue *ck = own(queue);
    *closed = atomic_load(&ck->closed);
    if (*closed) {
        return NULL;
    }
    struct http_exchange *batch = pop_or_wait(ck, timeout_ms);
    *closed = atomic_load(&ck->closed);
    if (batch != NULL && ck_ring_size(&ck->ring) > 0) { /* there is more to do */
        wake(ck, 1);
    }
    return batch;
}

void ck_queue_close(struct queue *queue)
{
    atomic_store(&own(queue)->closed, true);
    wake(own(queue), SIZE_MAX);
}
