/* A request with its response: the unit that a handler works on, on whichever thread. */
#ifndef TWINHTTPD_COMMON_HTTP_EXCHANGE_H
#define TWINHTTPD_COMMON_HTTP_EXCHANGE_H

#include "common/http/handler.h"
#include "common/http/parser.h"
#include "common/http/router.h"

struct connection;
struct loop;

struct http_exchange {
    struct http_request request;
    struct http_response response;
    struct http_parser *parser;
    const struct route *route; /* NULL: the response is already made (an error, OPTIONS) */
    const struct client_address *client;
    uint64_t began_us;   /* CLOCK_MONOTONIC when its head began; set only for an access log */
    uint32_t slot_index; /* in the scoreboard: of the thread that has made the response */
    struct http_exchange *next;    /* of whichever list holds it: spare, queued, completed */
    struct connection *connection; /* whose it is; only its loop's thread may look inside */
    struct loop *owner;            /* whose connection that is */
    /* Hands a finished exchange back to its owner; callable from any thread. */
    void (*complete)(struct http_exchange *exchange);
};

enum {
    HTTP_EXCHANGES_SPARE = 1024,
    HTTP_EXCHANGES_FULL = 64 /* of these, those that keep the memory that they have gathered */
};

/* Exchanges that have been given back, up to the number above: a connection at rest holds none.
 * Zero-initialised is empty. It belongs to one thread. */
struct http_exchange_pool {
    struct http_exchange *spare;
    size_t count;
};

/* One that is ready for a request; limits matter for one that has to be made. */
struct http_exchange *http_exchange_take(struct http_exchange_pool *pool,
                                         const struct http_limits *limits);

/* In whatever state: resets it. */
void http_exchange_give(struct http_exchange_pool *pool, struct http_exchange *exchange);

/* Gives all memory back. */
void http_exchange_pool_free(struct http_exchange_pool *pool);

struct http_exchange *http_exchange_create(const struct http_limits *limits);
void http_exchange_destroy(struct http_exchange *exchange);

/* Ready for the next request; memory is kept. */
void http_exchange_reset(struct http_exchange *exchange);

/* After the head of a request with a body: copies the head, so that the buffer it came in can take
 * the body. */
void http_exchange_keep_head(struct http_exchange *exchange);

/* After the head: finds path and route, or makes the answer that needs no handler (400, 404, 405,
 * OPTIONS). */
void http_exchange_route(struct http_exchange *exchange, const struct router *router);

/* Runs the handler, and notes in the context's slot what it works on meanwhile. The exchange must
 * have a route. */
void http_exchange_run(struct http_exchange *exchange, struct handler_context *context);

#endif
