/* A client connection: reads requests, has them handled, sends the responses in order. */
#ifndef TWINHTTPD_COMMON_NET_CONNECTION_H
#define TWINHTTPD_COMMON_NET_CONNECTION_H

#include "common/base/client_address.h"
#include "common/http/exchange.h"

struct connection;
struct worker;

/* Takes over an accepted, non-blocking socket and serves it until it ends; the worker's list holds
 * the connection. With max_connections_per_client the client has been counted. */
void connection_create(struct worker *worker, int fd, const struct client_address *client);

/* The handler of its request has finished elsewhere; called on the loop's thread. */
void connection_complete(struct http_exchange *exchange);

/* Whether its deadline has passed. */
bool connection_is_due(const struct connection *connection, uint64_t now_ms);

/* Called every now and then: acts on deadlines, notes whether it has fallen idle. May end it. */
void connection_sweep(struct connection *connection, uint64_t now_ms);

/* The worker drains: one that waits for a request gets a short last chance. */
void connection_drain(struct connection *connection, uint64_t now_ms);

/* Makes room for a newcomer by ending one connection, of those that nobody will miss. First whoever
 * has not asked for anything (or whose next head stands still), the oldest, but not within its
 * first second; then who has been answered for the last time and sends on; then the longest idle.
 * While many have just come and not asked, no idle one goes: the newcomer waits for the second to
 * be over. False: there is none. */
bool connection_evict(struct worker *worker);

/* Whether there probably is one; at no cost. */
bool connection_may_evict(struct worker *worker);

/* It will not send any more, whatever is left: the access log is told. */
void connection_log_cut(struct connection *connection);

/* Ends it now, whatever it was doing. */
void connection_destroy(struct connection *connection);

/* The one behind it in the worker's list. */
struct connection *connection_next(const struct connection *connection);

#endif
