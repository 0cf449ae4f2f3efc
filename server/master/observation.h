/* The observer from its master's side (server/observe): the master starts it, tells it what happens
 * (the bulletin), carries out what it asks for, and starts another one when it dies. */
#ifndef TWINHTTPD_SERVER_MASTER_OBSERVATION_H
#define TWINHTTPD_SERVER_MASTER_OBSERVATION_H

#include "server/control/control_peer.h"
#include "server/master/respawn.h"
#include "server/observe/bulletin.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct master;
struct carried;
struct server;

/* Zeroed: there is none. */
struct observation {
    struct bulletin *bulletin;      /* NULL: nobody has been to observe yet */
    struct bulletin_copy *draft;    /* of the next one */
    struct carried *carried;        /* what other programs have counted; NULL: not opened yet */
    struct control_peer *petitions; /* NULL: the observer gives no commands */
    pid_t pid;                      /* 0: there is none */
    uint32_t epoch;                 /* of the configuration that it was started with */
    uint64_t started_ms;
    bool killed;             /* as it was stuck */
    uint64_t start_at_ms;    /* not before this */
    uint64_t await_until_ms; /* others may have to make way until then; 0: they need not */
    struct respawn respawn;
    uint64_t deaths;                        /* not counting those that were told to leave */
    uint64_t beat_at_ms;                    /* when the bulletin is to be posted at the latest */
    pid_t leaving;                          /* one in whose place another observes; 0: none */
    struct control_peer *leaving_petitions; /* what it has asked for; NULL: nothing */
    uint64_t kill_at_ms;                    /* if it has not left by then */
};

/* Makes the bulletin if the configuration in force has an observer. False when it cannot, reported.
 */
bool observation_open(struct master *master);

/* Ends the observer, and waits for its end for a moment. */
void observation_close(struct master *master);

/* In a forked process that serves: closes what is the observer's and the master's alone. */
void observation_forget(struct master *master);

/* What it asks for, and one that leaves; -1 in fd: nothing can come. */
struct pollfd observation_poll(const struct master *master);
struct pollfd observation_poll_leaving(const struct master *master);

/* Hears what it asks for, and answers. */
void observation_hear(struct master *master);
uint64_t observation_hear_due_ms(const struct master *master);

/* At the end of a turn: an observer is there if there is to be one, and the bulletin says what is
 * true now. */
void observation_run(struct master *master);
uint64_t observation_due_ms(const struct master *master);

/* The bulletin says it now: before somebody else is told, who may ask the observer at once. */
void observation_tell(struct master *master);

/* Counters are about to move from slots into the books: who adds them up waits for the end of the
 * turn. */
void observation_changing(struct master *master);

/* A process has ended: true if it was the observer. */
bool observation_is_over(struct master *master, pid_t pid, int wait_status);

/* The logs are elsewhere: it opens them again, too, or (not reachable) is followed by another one.
 */
void observation_reopen_logs(struct master *master, bool reachable);

/* After a reload: says where the observer is now, if that has changed. */
void observation_announce(struct master *master, const struct server *predecessor);

/* The answer to those of its commands that have waited for it. */
void observation_answer_waiting(struct master *master, struct span answer);

/* What a command takes; NULL: none is taken. */
const char *observation_token(const struct master *master);

#endif
