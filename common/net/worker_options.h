/* What a worker is made of by its process model, and what it asks the model for. */
#ifndef TWINHTTPD_COMMON_NET_WORKER_OPTIONS_H
#define TWINHTTPD_COMMON_NET_WORKER_OPTIONS_H

#include "common/base/client_address.h"
#include "common/config/config.h"
#include "common/http/exchange.h"
#include "common/net/endpoint.h"

#include <pthread.h>

struct claims;
struct durable;
struct durable_lines;
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

/* How a predecessor of this process ended. */
enum { WORKER_SUSPECTS = 16 };

/* How a process ended, for its successor. */
struct worker_end {
    bool by_itself;      /* it crashed, hung, or took too much memory */
    bool suspects_known; /* else it may have been any of the requests that had begun */
    uint32_t suspect_count;
    char suspects[WORKER_SUSPECTS][CLIENT_TEXT_BYTES]; /* the clients of the requests at work */
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
    struct claims *claims; /* ... whose they are on the way, if a process dies; NULL: nobody asks */
    uint32_t giver_id;     /* ... this loop's, for claims_choose */
    uint32_t generation;   /* of the process, for claims_take */
    struct worker_dispatch dispatch;
    struct durable *durable; /* the durable part of its connections; NULL: they die with it */
    /* That of its access log; NULL: what is collected dies with it. */
    struct durable_lines *durable_lines;
    pthread_mutex_t *access_log_turn; /* with durable_lines: see access_log_keep */
};

#endif
