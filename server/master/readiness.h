/* How a process that has been forked tells its master that all of it serves. Not by the scoreboard,
 * where any process could say it of another, or take it back: by a socket that each process closes
 * when it has spoken, which is before it serves anybody. So none that has gone astray can use it.
 */
#ifndef TWINHTTPD_SERVER_MASTER_READINESS_H
#define TWINHTTPD_SERVER_MASTER_READINESS_H

#include <stdbool.h>
#include <stdint.h>

struct readiness_news {
    uint32_t generation;
    uint32_t
        goes_on; /* 0: with nothing that a predecessor has left, nor will anybody with its own */
    int32_t keeper_pid; /* of whoever keeps its descriptors; 0: nobody does */
};

struct readiness {
    int heard_fd; /* the master's end */
    int told_fd;  /* inherited by who is forked */
};

/* False with errno set. Closed by readiness_close. */
bool readiness_open(struct readiness *readiness);
void readiness_close(struct readiness *readiness);

/* What the master polls for input. */
int readiness_fd(const struct readiness *readiness);

/* Master: takes what the next one says. False: nobody has spoken. Never waits. */
bool readiness_next(struct readiness *readiness, struct readiness_news *news);

/* In a forked process: closes what is the master's own. */
void readiness_forget(struct readiness *readiness);

/* In a forked process, once: it is ready. */
void readiness_tell(struct readiness *readiness, const struct readiness_news *news);

#endif
