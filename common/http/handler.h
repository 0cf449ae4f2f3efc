/* What a handler is, and what it may use. Routes name handlers; exchange.c runs them. */
#ifndef TWINHTTPD_COMMON_HTTP_HANDLER_H
#define TWINHTTPD_COMMON_HTTP_HANDLER_H

#include <stdbool.h>
#include <stdint.h>

struct file_cache;
struct http_request;
struct http_response;
struct worker_slot;

/* What a handler may use besides request and response: one for each thread that runs handlers. */
struct handler_context {
    struct worker_slot *slot;
    uint32_t slot_index;
    struct file_cache *files;
    bool gzip;       /* compress on the fly */
    uint64_t turn;   /* counts the thread's turns; see handler_context_next_turn */
    uint64_t now_ms; /* CLOCK_MONOTONIC, as of this turn */
};

/* Begins the thread's next turn. Within a turn the time is what it was when it was first asked for,
 * and a file is looked at at most once (file_cache_open). So a turn ends where what comes next must
 * see what has changed meanwhile: before each look at the sockets or the queue, with a new
 * connection, and behind a handler that blocks. */
static inline void handler_context_next_turn(struct handler_context *context)
{
    context->turn++;
}

/* Fills in the response. Runs on the loop's thread or on a pool thread; touches nothing of the
 * connection. data is what the route was registered with. */
typedef void (*handler_fn)(const struct http_request *request, struct http_response *response,
                           struct handler_context *context, void *data);

#endif
