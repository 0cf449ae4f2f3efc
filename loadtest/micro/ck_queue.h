/* The interface of server/threadpool/queue.h over the lock-free ring of libck: an experiment that
 * only queue_contention links. Its struct queue is not that of queue.c: never mix the two. */
#ifndef TWINHTTPD_LOADTEST_MICRO_CK_QUEUE_H
#define TWINHTTPD_LOADTEST_MICRO_CK_QUEUE_H

#include "server/threadpool/queue.h"

struct queue *ck_queue_create(size_t length);
void ck_queue_destroy(struct queue *queue);
bool ck_queue_reserve(struct queue *queue);
void ck_queue_push(struct queue *queue, struct queue_chain *chain);
struct http_exchange *ck_queue_pop(struct queue *queue, unsigned timeout_ms, bool *closed);
void ck_queue_close(struct queue *queue);

#endif
