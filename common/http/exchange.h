/* A request with its response: the unit that a handler works on, on whichever thread. */
#ifndef TWINHTTPD_COMMON_HTTP_EXCHANGE_H
#define TWINHTTPD_COMMON_HTTP_EXCHANGE_H

#include "common/http/handler.h"
#include "common/http/parser.h"
#include "common/http/router.h"

struct connection;
struct worker;

struct http_exchange {
    struct http_request request;
    struct http_response response;
    struct http_parser *parser;
    const struct route *route; /* NULL: the response is already made (an error, OPTIONS) */
    const struct client_address *client;
    struct http_exchange *next;    /* of whichever list holds it: free, queued, completed */
    struct connection *connection; /* whose it is; only its loop's thread may look inside */
    struct worker *owner;          /* whose connection that is */
    /* Hands a finished exchange back to its owner; callable from any thread. */
    void (*complete)(struct http_exchange *exchange);
};

struct http_exchange *http_exchange_create(const struct http_limits *limits);
void http_exchange_destroy(struct http_exchange *exchange);

/* Ready for the next request; memory is kept. */
void http_exchange_reset(struct http_exchange *exchange);

/* Gives back what memory a reset has kept. */
void http_exchange_strip(struct http_exchange *exchange);

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
