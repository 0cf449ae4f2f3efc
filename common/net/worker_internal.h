/* What worker.c and connection.c share. */
#ifndef TWINHTTPD_COMMON_NET_WORKER_INTERNAL_H
#define TWINHTTPD_COMMON_NET_WORKER_INTERNAL_H

#include "common/net/access_log.h"
#include "common/net/worker.h"

#include <event2/event_struct.h>
#include <pthread.h>
#include <sys/queue.h>

enum {
    WORKER_SPARE_BUFFERS = 64,
    WORKER_SPARE_BUFFER_BYTES = 65536, /* a larger one is given back at once */
    WORKER_SPARE_EXCHANGES = 1024,
    DATE_LINE_BYTES = 40
};

struct connection;
TAILQ_HEAD(connection_list, connection);

struct worker {
    struct worker_options options;
    struct event_base *base;
    struct event listen_event;
    struct event tick_event;
    struct event wake_event;
    int wake_fd;
    _Atomic int command; /* enum worker_command, the latest wins */
    pthread_mutex_t completed_lock;
    struct http_exchange *completed; /* newest first; filled by pool threads */
    struct access_log *access_log;   /* NULL: off */
    struct http_limits limits;

    struct connection_list connections;
    uint64_t connection_count;
    struct event yield_event; /* ends a moment in which connections are left to others */
    bool has_yielded;         /* and nobody took them: accept whatever the shares are */
    bool listening;           /* the listening socket is being watched */
    uint64_t listen_at_ms;    /* when it was given up for want of descriptors: try again then */
    bool draining;
    uint64_t drain_until_ms;
    bool stopped;

    uint64_t now_turn; /* the turn that context->now_ms belongs to */
    uint64_t swept_ms;
    int64_t date_second;
    char date_line[DATE_LINE_BYTES];
    size_t date_line_bytes;

    /* Memory kept for the next use. */
    struct buffer spare_buffers[WORKER_SPARE_BUFFERS];
    size_t spare_buffer_count;
    struct http_exchange *spare_exchanges;
    size_t spare_exchange_count;
};

/* CLOCK_MONOTONIC of the current turn: read at most once a turn. */
uint64_t worker_now_ms(struct worker *worker);

static inline struct worker_slot *worker_slot_of(struct worker *worker)
{
    return worker->options.context->slot;
}

/* Lends a buffer with room for at least bytes; an empty connection holds none. */
struct buffer worker_take_buffer(struct worker *worker, size_t bytes);
void worker_give_buffer(struct worker *worker, struct buffer *buffer);

struct http_exchange *worker_take_exchange(struct worker *worker);
void worker_give_exchange(struct worker *worker, struct http_exchange *exchange);

/* Hands a finished exchange to the loop; the complete function of every exchange. Any thread. */
void worker_complete(struct http_exchange *exchange);

/* A connection has ended: there is room for another one. */
void worker_connection_ended(struct worker *worker);

#endif
