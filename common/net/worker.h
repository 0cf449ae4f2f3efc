/* A worker: one event loop with its connections. It belongs to one thread, and knows neither
 * whether that thread has a process to itself nor what runs its handlers. */
#ifndef TWINHTTPD_COMMON_NET_WORKER_H
#define TWINHTTPD_COMMON_NET_WORKER_H

#include "common/net/worker_options.h"
#include "common/scoreboard/slot.h"

struct durable_expected;
struct durable_record;
struct event_base;

/* To be called after the last fork, on the thread that will run it. NULL, reported in the log, if
 * the event loop cannot be made. Everything options points to must outlive the worker. */
struct worker *worker_create(const struct worker_options *options);

/* Serves until it is told to stop. The caller has set the slot's state to SLOT_READY. */
void worker_run(struct worker *worker);

/* Behind worker_run: closes all connections, whose handlers' data is still there. */
void worker_cut(struct worker *worker);

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

/* On its own thread, before worker_run: goes on with a connection that a process has left behind
 * when it died; see connection_adopt. */
bool worker_adopt(struct worker *worker, struct durable_record *record, int fd,
                  const struct worker_end *end);

/* ... that it was just being given; see connection_adopt_expected. */
void worker_adopt_expected(struct worker *worker, int fd, const struct durable_expected *expected);

/* On its own thread, before worker_adopt, in this order: goes on with the access log of a process
 * that has died. Whether it died while it wrote; then *fd of that generation knows how far it came,
 * and a copy of it is to be asked, which stays the caller's. */
bool worker_log_writer(const struct worker *worker, uint32_t *generation, int *fd);
void worker_ask_log_writer(struct worker *worker, int fd);

/* Whether this record's connection was sending: it is to be adopted before all others. When it is,
 * or there is none, worker_settle_log goes before the others. */
bool worker_log_awaits(const struct worker *worker, const struct durable_record *record);
void worker_settle_log(struct worker *worker);

/* ... that it cannot go on with, as nobody has its socket. */
void worker_lose(struct worker *worker, struct durable_record *record);

/* ... and those of which nothing can be believed, when durable_next has had them all. */
void worker_lose_disbelieved(struct worker *worker);

/* What has become of them so far. */
struct adoption_counts worker_adoption(struct worker *worker);

/* The loop, for the process model's own events on the same thread. */
struct event_base *worker_event_base(struct worker *worker);

#endif
