/* A worker from inside: what worker.c, acceptor.c and connection.c share. */
#ifndef TWINHTTPD_COMMON_NET_WORKER_INTERNAL_H
#define TWINHTTPD_COMMON_NET_WORKER_INTERNAL_H

#include "common/net/acceptor.h"
#include "common/net/access_log.h"
#include "common/net/client_counts.h"
#include "common/net/log_budget.h"
#include "common/net/lending.h"
#include "common/net/worker.h"

#include <event2/event_struct.h>
#include <pthread.h>
#include <sys/queue.h>

enum { DATE_LINE_BYTES = 40 };

struct connection;
TAILQ_HEAD(connection_list, connection);

/* In which of the worker's lists a connection is; each is in the order of arrival there. */
enum connection_place {
    PLACE_ASKING,    /* it has not asked for anything yet, or its next head stands still */
    PLACE_IN_USE,    /* it has asked */
    PLACE_LINGERING, /* answered for the last time */
    PLACE_PARKED,    /* idle and served before: not looked at before its deadline, the first's */
    CONNECTION_PLACES
};

struct worker {
    struct worker_options options;
    struct event_base *base;
    struct event tick_event;
    struct event wake_event;
    struct event inbox_event; /* only with rebalance */
    int wake_fd;
    _Atomic int command; /* enum worker_command, the latest wins */
    pthread_mutex_t completed_lock;
    struct http_exchange *completed; /* newest first; filled by pool threads */
    struct access_log *access_log;   /* NULL: off */
    struct http_limits limits;

    struct acceptor acceptor;
    struct connection_list places[CONNECTION_PLACES];
    uint64_t connection_count;
    uint64_t asking_count;              /* of these, at PLACE_ASKING */
    struct client_counts client_counts; /* only with max_connections_per_client */
    struct log_budget refusals;
    struct log_budget cut_files;
    size_t text_bytes;        /* of handlers, in the outputs of all connections */
    uint64_t strange_told_ms; /* that no connection was in the inbox; 0: never */
    bool draining;            /* retiring, or on the way to the server's end */
    bool hurrying;            /* the latter: silent connections have a second */
    uint64_t drain_until_ms;
    bool stopped;

    uint64_t now_turn; /* the turn that context->now_ms belongs to */
    uint64_t swept_ms;
    int64_t date_second;
    char date_line[DATE_LINE_BYTES];
    size_t date_line_bytes;

    struct lending lending;
};

/* CLOCK_MONOTONIC of the current turn: read at most once a turn. */
uint64_t worker_now_ms(struct worker *worker);

/* The line "Date: ..." for a response, as of the last tick. file is what it is made from (NULL:
 * none): Last-Modified must not be later than Date (RFC 9110, 8.8.2.1), so for one that has just
 * been written the clock is read anew. */
struct span worker_date_line(struct worker *worker, const struct file_entry *file);

static inline struct worker_slot *worker_slot_of(struct worker *worker)
{
    return worker->options.context->slot;
}

static inline bool worker_has_free_place(const struct worker *worker)
{
    return worker->connection_count < worker->options.max_connections;
}

/* Hands a finished exchange to the loop; the complete function of every exchange. Any thread. */
void worker_complete(struct http_exchange *exchange);

#endif
