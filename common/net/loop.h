/* What a connection borrows of its worker's event loop. It belongs to the loop's thread. */
#ifndef TWINHTTPD_COMMON_NET_LOOP_H
#define TWINHTTPD_COMMON_NET_LOOP_H

#include "common/base/clock.h"
#include "common/http/exchange.h"
#include "common/net/access_log.h"
#include "common/net/client_counts.h"
#include "common/net/lending.h"
#include "common/net/log_budget.h"
#include "common/net/worker_options.h"
#include "common/scoreboard/slot.h"

#include <event2/event_struct.h>
#include <pthread.h>
#include <sys/queue.h>

enum { DATE_LINE_BYTES = 40 };

struct connection;
TAILQ_HEAD(connection_list, connection);

/* In which of the loop's lists a connection is; each is in the order of arrival there. */
enum connection_place {
    PLACE_ASKING,    /* it has not asked for anything yet, or its next head stands still */
    PLACE_IN_USE,    /* it has asked */
    PLACE_LINGERING, /* answered for the last time */
    PLACE_PARKED,    /* idle and served before: not looked at before its deadline, the first's */
    CONNECTION_PLACES
} __attribute__((packed));

struct loop {
    struct worker_options options;
    struct event_base *base;
    struct access_log *access_log; /* NULL: off */
    struct http_limits limits;

    struct connection_list places[CONNECTION_PLACES];
    uint64_t connection_count;
    uint64_t asking_count;              /* of these, at PLACE_ASKING */
    struct client_counts client_counts; /* only with max_connections_per_client */
    void (*place_freed)(void *data);    /* called when a connection has ended */
    void *place_freed_data;

    struct lending lending;
    struct http_exchange_pool exchanges;
    uint64_t replaying; /* connections with requests that a predecessor had begun */
    size_t text_bytes;  /* of handlers, in the outputs of all connections */
    struct log_budget refusals;
    struct log_budget cut_files;
    struct log_budget given_up;
    uint64_t strange_told_ms; /* that no connection was in the inbox; 0: never */
    bool draining;            /* retiring, or on the way to the server's end */
    bool hurrying;            /* the latter: silent connections have a second */
    bool stopped;             /* nothing runs any more, on no thread */

    uint64_t now_turn;      /* the turn that context->now_ms and moment_ns belong to */
    uint64_t moment_ns;     /* CLOCK_MONOTONIC, as it was last read */
    uint64_t turn_began_ns; /* of the event loop; 0: nothing has come to it in this turn */
    int64_t date_second;
    char date_line[DATE_LINE_BYTES];
    size_t date_line_bytes;

    int wake_fd; /* wake.h */
    pthread_mutex_t completed_lock;
    struct http_exchange *completed; /* newest first; filled by pool threads */
};

/* Everything options points to must outlive the loop. Takes over the base and the eventfd. */
void loop_open(struct loop *loop, const struct worker_options *options, struct event_base *base,
               int wake_fd);

/* When its connections are gone. */
void loop_close(struct loop *loop);

/* Nobody has asked for the time in the current turn yet. */
void loop_look_at_clock(struct loop *loop);

/* Around what the event base does at a time: how long it took, from the first event on, is counted
 * in the slot. */
void loop_begin_turn(struct loop *loop);
void loop_end_turn(struct loop *loop);

/* The line "Date: ..." for a response, as of the last loop_render_date. file is what it is made
 * from (NULL: none): Last-Modified must not be later than Date (RFC 9110, 8.8.2.1), so for one that
 * has just been written the clock is read anew. */
struct span loop_date_line(struct loop *loop, const struct file_entry *file);

/* The line "Date: ..." of that second; its bytes. */
size_t loop_format_date(int64_t second, char line[DATE_LINE_BYTES]);

/* To be called in each tick: what the date is by now. */
void loop_render_date(struct loop *loop);

/* From any thread: ends the loop's wait. */
void loop_wake(struct loop *loop);

/* Hands a finished exchange to its owner; the complete function of every exchange. Any thread. */
void loop_complete(struct http_exchange *exchange);

/* Takes what has been handed over meanwhile, the first finished first. */
struct http_exchange *loop_take_completed(struct loop *loop);

/* What comes first in every function that the event base calls: so the loop's turn is known to have
 * begun, and how late it is. */
static inline void loop_note_turn(struct loop *loop)
{
    if (loop->now_turn != loop->options.context->turn) {
        loop_look_at_clock(loop);
    }
}

/* CLOCK_MONOTONIC of the current turn: what it was when it was first asked for. */
static inline uint64_t loop_now_ms(struct loop *loop)
{
    loop_note_turn(loop);
    return loop->options.context->now_ms;
}

/* The latest reading of the same clock in the current turn, in nanoseconds. What is found ready now
 * was so by then: the kernel said so before the turn began. */
static inline uint64_t loop_moment_ns(struct loop *loop)
{
    loop_note_turn(loop);
    return loop->moment_ns;
}

/* Reads it anew. */
static inline uint64_t loop_read_moment_ns(struct loop *loop)
{
    loop->moment_ns = clock_monotonic_ns();
    return loop->moment_ns;
}

static inline struct worker_slot *loop_slot(struct loop *loop)
{
    return loop->options.context->slot;
}

/* The flag comes before the order, which a busy loop reads only after its handler. */
static inline bool loop_is_draining(struct loop *loop)
{
    return loop->draining || atomic_load_explicit(&loop_slot(loop)->draining, memory_order_relaxed);
}

static inline bool loop_has_free_place(const struct loop *loop)
{
    return loop->connection_count < loop->options.max_connections;
}

#endif
