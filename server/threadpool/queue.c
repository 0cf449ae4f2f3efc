#include "server/threadpool/queue.h"

#include "common/base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    struct http_exchange *first, *last;
    size_t count;
    size_t length;
    bool closed;
};

struct queue *queue_create(size_t length)
{
    struct queue *queue = memory_alloc_zeroed(1, sizeof(*queue));
    pthread_condattr_t monotonic;
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
    pthread_cond_destroy(&queue->not_empty);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

bool queue_push(struct queue *queue, struct http_exchange *exchange)
{
    pthread_mutex_lock(&queue->lock);
    bool has_room = queue->count < queue->length;
    if (has_room) {
        exchange->next = NULL;
        if (queue->last != NULL) {
            queue->last->next = exchange;
        } else {
            queue->first = exchange;
        }
        queue->last = exchange;
        queue->count++;
    }
    pthread_mutex_unlock(&queue->lock);
    if (has_room) {
        pthread_cond_signal(&queue->not_empty);
    }
    return has_room;
}

static struct timespec time_after(unsigned timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

struct http_exchange *queue_pop(struct queue *queue, unsigned timeout_ms, bool *closed)
{
    struct http_exchange *exchange = NULL;
    struct timespec until = time_after(timeout_ms);
    int error = 0;
    pthread_mutex_lock(&queue->lock);
    while (queue->first == NULL && !queue->closed && error != ETIMEDOUT) {
        error = pthread_cond_timedwait(&queue->not_empty, &queue->lock, &until);
    }
    *closed = queue->closed;
    if (queue->first != NULL && !queue->closed) {
        exchange = queue->first;
        queue->first = exchange->next;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
        queue->count--;
    }
    pthread_mutex_unlock(&queue->lock);
    return exchange;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_mutex_unlock(&queue->lock);
    pthread_cond_broadcast(&queue->not_empty);
}
