/* A bounded queue of requests between event loops and pool threads. Requests move in chains, so
 * that locks and wake-ups are shared by what arrives together. */
#ifndef TWINHTTPD_SERVER_THREADPOOL_QUEUE_H
#define TWINHTTPD_SERVER_THREADPOOL_QUEUE_H

#include "common/http/exchange.h"

enum { QUEUE_BATCH = 8 }; /* requests that one thread takes at a time, at most */

struct queue;

/* Requests that one thread gathers before they enter the queue. Zero-initialised: empty. */
struct queue_chain {
    struct http_exchange *first, *last; /* linked by next */
    size_t count;
    size_t blocking; /* of these, the ones whose handler may block */
};

void queue_chain_add(struct queue_chain *chain, struct http_exchange *exchange);

/* Holds at most length requests. Freed by queue_destroy, when no thread uses it any more; requests
 * that are still in it stay with their connections. */
struct queue *queue_create(size_t length);
void queue_destroy(struct queue *queue);

/* Takes a place for one request, which the caller will push. False: the queue is full. */
bool queue_reserve(struct queue *queue);

/* Moves requests, each with a reserved place, to the end, and wakes threads: one for each that may
 * block, and one for all others together. Leaves the chain empty. */
void queue_push(struct queue *queue, struct queue_chain *chain);

/* Takes requests from the front, linked by next, waiting for one at most timeout_ms: one that may
 * block comes alone, others in batches. NULL: none came, or the queue is closed (*closed says so).
 */
struct http_exchange *queue_pop(struct queue *queue, unsigned timeout_ms, bool *closed);

/* Wakes every waiting thread: nothing will be handed out any more. */
void queue_close(struct queue *queue);

#endif
