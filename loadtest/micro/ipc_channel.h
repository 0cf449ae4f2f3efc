/* The ways to bring a message from one side to another, all behind one interface.
 *
 * A channel has two directions. The sender asks for the place of the message, writes it there and
 * sends it; the receiver gets the place where it can read it, and gives it back. Where the message
 * stays in place nothing is copied; elsewhere the place is memory of each side's own, and the
 * channel copies. */
#ifndef TWINHTTPD_LOADTEST_MICRO_IPC_CHANNEL_H
#define TWINHTTPD_LOADTEST_MICRO_IPC_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum direction { THERE, BACK };

struct channel;

struct channel_kind {
    const char *name;
    bool for_threads;     /* the other side is a thread, not a process */
    size_t message_bytes; /* at most; 0: any */
    bool streams;         /* may be measured without waiting for each answer */
    void (*open)(struct channel *channel);
    void (*close)(struct channel *channel);
    char *(*place)(struct channel *channel, enum direction direction);
    void (*send)(struct channel *channel, enum direction direction, size_t bytes);
    char *(*receive)(struct channel *channel, enum direction direction, size_t bytes);
    void (*give_back)(struct channel *channel, enum direction direction);
};

struct way; /* what one direction consists of; differs by kind */

struct channel {
    const struct channel_kind *kind;
    size_t bytes;       /* of the largest message */
    char *own[2];       /* each side's own memory for a direction; after fork private */
    struct way *way[2]; /* in memory that both sides see */
    pid_t pids[2];      /* who sends in this direction */
};

extern const struct channel_kind channel_kinds[];
extern const size_t channel_kind_count;

/* Why this machine lacks a kind; NULL: it does not. */
const char *channel_kind_unavailable(const struct channel_kind *kind);
void channel_open(struct channel *channel, const struct channel_kind *kind, size_t bytes);
/* After both sides have stopped. */
void channel_close(struct channel *channel);

/* Where files of the experiments lie on disk: TMPDIR or /var/tmp. */
const char *channel_directory(void);
/* A new file without a name in this directory; -1 with errno when there is none. */
int channel_file(const char *directory, size_t bytes);

#endif
