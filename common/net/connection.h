/* A client connection: reads requests, has them handled, sends the responses in order. */
#ifndef TWINHTTPD_COMMON_NET_CONNECTION_H
#define TWINHTTPD_COMMON_NET_CONNECTION_H

#include "common/base/client_address.h"
#include "common/http/exchange.h"

struct connection;
struct durable_expected;
struct durable_record;
struct worker_end;
struct loop;

/* Takes over an accepted, non-blocking socket and serves it until it ends; the loop's list holds
 * the connection. With max_connections_per_client the client has been counted. */
void connection_create(struct loop *loop, int fd, const struct client_address *client);

/* On the loop's thread: goes on with all whose handlers have finished elsewhere. */
void connection_complete_all(struct loop *loop);

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
bool connection_evict(struct loop *loop);

/* Whether there probably is one; at no cost. */
bool connection_may_evict(struct loop *loop);

/* It will not send any more, whatever is left: the access log is told. */
void connection_log_cut(struct connection *connection);

/* Sends up to count connections, of those that are in use but between two requests just now, to
 * whoever reads the other end of to_fd; see worker_hand_over. */
uint64_t connection_hand_over(struct loop *loop, int to_fd, uint64_t count);

/* Whether a descriptor is a connection over TCP that nobody waits for; then who the client is: that
 * goes into logs and limits. One that is gone meanwhile has no address. */
bool connection_find_client(int fd, struct client_address *client);

/* By which the kernel tells a socket from all others, whoever holds it; 0: it does not. */
uint64_t connection_cookie(int fd);

/* Takes connections that others have sent to from_fd; see worker_take_over. */
bool connection_take_over(struct loop *loop, int from_fd);

/* Goes on with a connection that a process has left behind when it died: record is one of the
 * loop's durable area, fd the socket (taken over in any case). end: how that process died, which
 * decides whether a request that it worked on is tried once more. False: it could not be; an answer
 * is half sent and cannot be made again, or the record is not to be believed. */
bool connection_adopt(struct loop *loop, struct durable_record *record, int fd,
                      const struct worker_end *end);

/* Goes on with a connection that a process was just being given when it died: fd is the socket that
 * it expected, and is taken over. */
void connection_adopt_expected(struct loop *loop, int fd, const struct durable_expected *expected);

/* Drops the record of one whose socket nobody has; in the books it is lost. */
void connection_lose(struct loop *loop, struct durable_record *record);

/* The same of all whose records cannot be believed, which are gone already. */
void connection_lose_disbelieved(struct loop *loop);

/* Ends it now, whatever it was doing. */
void connection_destroy(struct connection *connection);

/* The one behind it in the loop's list. */
struct connection *connection_next(const struct connection *connection);

#endif
