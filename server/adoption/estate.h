/* What a serving process leaves to its successor when it dies: the durable part of its connections
 * and of its access log, in memory that outlives it, and their sockets, in the hands of its keeper.
 *
 * The master makes an estate for each process, holds it, and passes it on: it looks at nothing in
 * it. The process that it is forked for moves in, and goes on with what is there. Whoever dies
 * while it does so leaves the same estate with one keeper more. */
#ifndef TWINHTTPD_SERVER_ADOPTION_ESTATE_H
#define TWINHTTPD_SERVER_ADOPTION_ESTATE_H

#include "common/base/error.h"
#include "common/net/worker.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct estate;

/* ---- For the master ---- */

/* For a process with so many event loops, of so many connections each. NULL with one line in error.
 * Ended by estate_destroy: what nobody has gone on with is cut then. */
struct estate *estate_create(uint32_t loops, size_t connections, struct error *error);
void estate_destroy(struct estate *estate); /* NULL: nothing */

/* Whether a process with so many loops and connections can take it over. */
bool estate_fits(const struct estate *estate, uint32_t loops, size_t connections);

/* The process that it is for has died; served: after it was ready. Whether there can be something
 * in it, and somebody may still go on with it: not after ever more deaths without one that served,
 * or that nobody can be blamed for. */
bool estate_is_of_use(const struct estate *estate, bool served);

/* Before the fork: a process of this generation will move in. False with one line in error. */
bool estate_expect(struct estate *estate, uint32_t generation, struct error *error);

/* After the fork, in the master; forked false: it has failed. */
void estate_forked(struct estate *estate, bool forked);

/* The process serves: those who kept the sockets of its predecessors may go. */
void estate_settled(struct estate *estate);

/* The process has died, in this way. */
void estate_bereaved(struct estate *estate, const struct worker_end *end);

/* In a forked process that has nothing to do with it: closes its descriptors. */
void estate_forget(struct estate *estate);

/* ---- For the process that it is for ---- */

/* Moves in: starts a keeper and makes the memory its own. As the user that serves, before there are
 * threads and before the sandbox. False with one line in error: the process serves without. */
bool estate_enter(struct estate *estate, struct error *error);

/* Then: of the keeper, whose parent is the process's. */
pid_t estate_keeper_pid(const struct estate *estate);

/* The durable part of an event loop's connections; on the loop's thread, once. NULL: without. */
struct durable *estate_open_loop(struct estate *estate, uint32_t loop);

/* That of its access log, of which the same holds. */
struct durable_lines *estate_open_lines(struct estate *estate, uint32_t loop);

/* Whose turn it is to write the access log through the descriptor that all loops share, and to lead
 * that elsewhere. */
pthread_mutex_t *estate_log_turn(struct estate *estate);

/* Goes on with what the loop's predecessor has left, and tells it in the log; on the loop's thread,
 * before worker_run. */
void estate_adopt(struct estate *estate, uint32_t loop, struct worker *worker);

/* When all workers are destroyed: gives back what the process itself holds. */
void estate_leave(struct estate *estate);

#endif
