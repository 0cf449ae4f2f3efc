/* A keeper: a process that shares another's table of descriptors and nothing else, so that the
 * sockets of a worker stay open when the worker dies, in whatever way. As the table is one, a
 * close() in the worker truly closes, and no connection costs a system call.
 *
 * Three take part:
 * - The master opens a pair before it forks a worker, keeps the asking end, and closes the keeping
 *   end after the fork. It closes the asking ends of others in each worker.
 * - The worker starts the keeper, which becomes a child of the master.
 * - When the worker is dead, a successor that has the asking end by fork asks for descriptors, and
 *   closes that end. When the last copy of it is closed, the master's, too, the keeper ends, and
 *   with it what nobody took.
 *
 * The keeper has a page of code and a page of data, blocks all signals, and may make four system
 * calls (recvmsg, sendmsg, exit_group, fcntl F_GETFD); any other kills it. If it dies before the
 * worker, the worker goes on, and its connections are cut when it dies: the master replaces it.
 *
 * Whom to trust: while the worker lived, it had the keeping end, too. So a successor takes what
 * lies in the pair for junk and believes only an answer that repeats the random number of its
 * request. A worker that lives can take requests away, or answer in the keeper's place: ask only
 * when it is dead. The keeper bounds what it reads. A worker that closes the keeping end, or shuts
 * it down, ends its keeper, and harms itself alone. */
#ifndef TWINHTTPD_SERVER_ADOPTION_KEEPER_H
#define TWINHTTPD_SERVER_ADOPTION_KEEPER_H

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct keeper_pair {
    int asking;  /* the master's and the successors'; -1: closed */
    int keeping; /* the worker's and the keeper's; -1: closed */
};

/* Whether there can be keepers: on x86-64 and AArch64, with seccomp filters, not in valgrind. False
 * with one line in error. */
bool keeper_is_supported(struct error *error);

/* For the master. An exec closes both ends. False with one line in error, and both are -1. */
bool keeper_pair_open(struct keeper_pair *pair, struct error *error);

/* Closes what is open of it. */
void keeper_pair_close(struct keeper_pair *pair);

/* For a worker: closes the asking end, and starts a keeper of all descriptors that the process has
 * or will have. Call it after the fork, as the user that serves, and before any other thread and
 * the sandbox. Returns the keeper's pid, or -1 with one line in error. The keeping end stays open
 * until the worker ends. The caller's parent is the one to reap the keeper.
 *
 * From then on the table is shared: each call takes a reference of the file it works with (about
 * 10 ns), and a table that grows waits for the kernel (milliseconds), so let it grow before. */
pid_t keeper_start(struct keeper_pair *pair, struct error *error);

/* For a successor: takes copies of descriptors, wanted by the dead worker's numbers, in order:
 * taken has the successor's own numbers (close-on-exec), or -1 where nothing is open, or what no
 * message can carry. Waits timeout_ms in all at most. False with one line in error if the keeper is
 * gone, stopped or refuses, or the process may have no more descriptors: then taken has what
 * arrived until then, and -1. The caller closes what it has got in any case. */
bool keeper_take(int asking, const int *wanted, int *taken, size_t count, unsigned timeout_ms,
                 struct error *error);

/* For a successor: the numbers from first up to, not including, end under which the dead worker has
 * something open, in order. numbers has room for all of them, and *count is how many there are.
 * Waits timeout_ms in all at most. False with one line in error, as for keeper_take: then those
 * until then. */
bool keeper_list(int asking, int first, int end, int *numbers, size_t *count, unsigned timeout_ms,
                 struct error *error);

#endif
