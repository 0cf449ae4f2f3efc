/* A bounded queue of requests between event loops and pool threads. */
#ifndef TWINHTTPD_SERVER_THREADPOOL_QUEUE_H
#define TWINHTTPD_SERVER_THREADPOOL_QUEUE_H

#include "common/http/exchange.h"

struct queue;

/* Holds at most length requests. Freed by queue_destroy, when no thread uses it any more; requests
 * that are still in it stay with their connections. */
struct queue *queue_create(size_t length);
void queue_destroy(struct queue *queue);

/* Puts a request at the end. False: it is full. */
bool queue_push(struct queue *queue, struct http_exchange *exchange);

/* Takes the first request, waiting for one at most timeout_ms. NULL: none came, or the queue is
 * closed (*closed says so). */
struct http_exchange *queue_pop(struct queue *queue, unsigned timeout_ms, bool *closed);

/* Wakes every waiting thread: nothing will be handed out any more. */
void queue_close(struct queue *queue);

#endif
