/* Who tells what has been found of stacks: processes that are forked from the master one after the
 * other, look the names of functions up, write the log, and end (teller.h). The master remembers
 * them itself, has no more than a few at a time, and does not wait for any. */
#ifndef TWINHTTPD_SERVER_CRASH_TELLERS_H
#define TWINHTTPD_SERVER_CRASH_TELLERS_H

#include "common/scoreboard/scoreboard.h"

#include <sys/queue.h>
#include <sys/types.h>

enum {
    TELLERS = 2,          /* at a time */
    TALES_WAITING = 64,   /* of more, the oldest is given up */
    TELLER_OVERDUE_S = 35 /* a teller ends itself before; then it is killed */
};

/* Something to be told; the first member of what has the particulars. */
struct tale {
    STAILQ_ENTRY(tale) link;
    const struct tale_kind *kind;
};

struct tale_kind {
    const char *teller; /* who tells it, in the log */
    /* Looks names up. */
    void (*resolve)(struct tale *tale);
    /* Writes it to the log and to the scoreboard. */
    void (*tell)(const struct tale *tale, struct scoreboard *scoreboard);
};

struct running_teller {
    pid_t pid;         /* 0: none */
    struct tale *tale; /* what it tells: should it fail, that is told without names */
    uint64_t kill_at_ms;
};

struct tellers {
    struct scoreboard *scoreboard;
    STAILQ_HEAD(tale_queue, tale) waiting;
    unsigned waiting_count;
    unsigned given_up; /* since that was last told */
    struct running_teller running[TELLERS];
};

void tellers_open(struct tellers *tellers, struct scoreboard *scoreboard);

/* What still waits is told without names. Those that run go on. */
void tellers_close(struct tellers *tellers);

/* Takes over a tale that was allocated (memory.h). */
void tellers_add(struct tellers *tellers, struct tale *tale);

/* Starts and kills tellers. Where none can be forked, a tale is told at once, without names. To be
 * called behind everything that is urgent. */
void tellers_run(struct tellers *tellers);

/* A process has ended, as waitpid says. True: it was a teller. If it has not done its work, that is
 * told at once, without names. */
bool tellers_reap(struct tellers *tellers, pid_t pid, int wait_status);

/* When one is to be killed; 0: none runs. */
uint64_t tellers_due_ms(const struct tellers *tellers);

#endif
