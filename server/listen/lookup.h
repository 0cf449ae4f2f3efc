/* Finds the addresses that the names in "listen" stand for. Who is asked (a name server, say) may
 * not answer: so a process of its own asks, for so long and no longer, and nobody else waits. */
#ifndef TWINHTTPD_SERVER_LISTEN_LOOKUP_H
#define TWINHTTPD_SERVER_LISTEN_LOOKUP_H

#include "common/base/error.h"
#include "common/net/endpoint.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { LOOKUP_PATIENCE_MS = 10000 };

enum lookup_result { LOOKUP_WAITS, LOOKUP_FOUND, LOOKUP_FAILED };

/* A question that is under way; zeroed: none is. */
struct lookup {
    pid_t pid; /* the process that asks; 0: none, or it has ended */
    int fd;    /* where the answer comes from; valid while deadline_ms is not 0 */
    uint64_t deadline_ms;
};

/* Whether there is a name in this list of "listen". */
bool lookup_is_needed(const char *listen);

/* The addresses of a list without names. False with one line in error: there are too many. */
bool lookup_read(const char *listen, struct endpoints *endpoints, struct error *error);

/* Begins to ask. False with one line in error: cause and fix. */
bool lookup_begin(struct lookup *lookup, const char *listen, struct error *error);

/* Looks whether there is an answer, or the time is over; then the question is no longer under way.
 * LOOKUP_FAILED with one line in error. */
enum lookup_result lookup_proceed(struct lookup *lookup, const char *listen,
                                  struct endpoints *endpoints, struct error *error);

/* What to poll for the answer; -1: no question is under way. */
int lookup_fd(const struct lookup *lookup);

/* When to look at the latest; 0: never. */
uint64_t lookup_due_ms(const struct lookup *lookup);

/* Gives the question up. */
void lookup_abandon(struct lookup *lookup);

/* That process has been reaped: true if it was the one that asked. */
bool lookup_is_over(struct lookup *lookup, pid_t pid);

/* Names or not: finds the addresses, and waits for them until the deadline. Ends early, with
 * *interrupted set, when stop_fd (see signals_open; -1: none) has a signal. False with one
 * line in error. */
bool lookup_wait(const char *listen, struct endpoints *endpoints, int stop_fd, bool *interrupted,
                 struct error *error);

#endif
