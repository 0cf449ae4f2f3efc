/* A worker: one event loop with its connections. It belongs to one thread, and knows neither
 * whether that thread has a process to itself nor what runs its handlers. */
#ifndef TWINHTTPD_COMMON_NET_WORKER_H
#define TWINHTTPD_COMMON_NET_WORKER_H

#include "common/config/config.h"
#include "common/http/exchange.h"
#include "common/net/endpoint.h"
#include "common/scoreboard/slot.h"

struct event_base;
struct worker;

enum dispatch_result {
    DISPATCH_INLINE, /* the loop is to run the handler itself */
    DISPATCH_TAKEN,  /* somebody else runs it and then calls exchange->complete */
    DISPATCH_FULL    /* too many wait already: the client gets 503 */
};

/* Decides where a request is handled. data is the process model's. */
typedef enum dispatch_result (*dispatch_fn)(void *data, struct http_exchange *exchange);

/* How requests are handed to other threads. All zero: the loop handles every request itself. */
struct worker_dispatch {
    dispatch_fn take;
    void (*turn_end)(void *data); /* behind each turn of the loop, in which take may be called */
    void *data;
};

struct worker_options {
    const struct config *config;
    const struct router *router;
    struct handler_context *context; /* of the loop's thread */
    int listen_fds[ENDPOINTS_MOST];  /* one for each address; kept open by the caller */
    size_t listen_count;
    /* Asked when this worker stops accepting: whether nobody is to accept from that socket any
     * more, so that it may be shut down for all that share it. NULL: never. */
    bool (*may_shut_down)(const void *data, size_t listen_index);
    const void *may_shut_down_data;
    int access_log_fd; /* -1: off; kept open by the caller */
    uint64_t max_connections;
    /* Asked before a connection is accepted from a socket that others watch, too; false leaves it
     * to them for a moment. NULL: always. */
    bool (*may_accept)(const void *data, uint32_t slot_index);
    const void *may_accept_data;
    /* Called in each tick: the time for worker_hand_over. NULL: never. */
    void (*rebalance)(const void *data, struct worker *worker, uint32_t slot_index);
    const void *rebalance_data;
    int inbox_fd; /* with rebalance: where it is handed connections; kept open by the caller */
    struct worker_dispatch dispatch;
};

/* To be called after the last fork, on the thread that will run it. NULL, reported in the log, if
 * the event loop cannot be made. Everything options points to must outlive the worker. */
struct worker *worker_create(const struct worker_options *options);

/* Serves until it is told to stop. The caller has set the slot's state to SLOT_READY. */
void worker_run(struct worker *worker);

/* Closes what is left. Nobody may call worker_stop, worker_drain or an exchange's complete any
 * more. */
void worker_destroy(struct worker *worker);

/* From any thread. Each makes worker_run return: stop at once; the others when the last connection
 * has ended or drain_timeout_ms is over. What is asked meanwhile is answered with "Connection:
 * close".
 * - retire: others go on serving. Open connections keep the chance to ask once more until the
 *   deadline. Nothing more is accepted, but what is queued where nobody serves any more.
 * - drain: the server ends. What is queued is taken, and who is silent has a second to ask once
 *   more. */
void worker_stop(struct worker *worker);
void worker_drain(struct worker *worker);
void worker_retire(struct worker *worker);

/* On its own thread: sends up to count connections, of those that are in use but between two
 * requests just now, to whoever reads the other end of to_fd (a pair of SOCK_SEQPACKET sockets).
 * Their clients notice nothing. Returns how many went: fewer when no more can be had, or the queue
 * is full. */
uint64_t worker_hand_over(struct worker *worker, int to_fd, uint64_t count);

/* On its own thread: takes connections that others have sent to from_fd. It reads its inbox by
 * itself; this is for the inbox of a worker that cannot. False: what is there stays for later,
 * since no descriptor is free, or what came before was no connection (and was thrown away). */
bool worker_take_over(struct worker *worker, int from_fd);

/* The loop, for the process model's own events on the same thread. */
struct event_base *worker_event_base(struct worker *worker);

#endif
