/* The bulletin: what the master says of itself and of its processes, for the observer. It lies in
 * memory of its own, which no serving process has: what stands here is the master's word, while the
 * scoreboard is testimony of whoever wrote there last.
 *
 * The master writes and never waits. A reader takes a copy, and finds out whether it changed
 * meanwhile: so it can add up the slots of the living and the totals of the dead without seeing a
 * burial half done (bulletin_read, then the slots, then bulletin_is_unchanged). */
#ifndef TWINHTTPD_SERVER_OBSERVE_BULLETIN_H
#define TWINHTTPD_SERVER_OBSERVE_BULLETIN_H

#include "common/scoreboard/ledger.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    BULLETIN_PROCESSES = 1088, /* as many as the largest scoreboard has room for */
    BULLETIN_BEAT_MS = 500, /* as often at least the master posts it, while an observer is there */
    BULLETIN_TOKEN_BYTES = 33 /* 128 bits in hexadecimal */
};

/* As in enum master_phase; what follows on what is the master's business. */
enum bulletin_phase {
    BULLETIN_STARTING,
    BULLETIN_RUNNING,
    BULLETIN_HANDED_OVER, /* to a new program that is on trial */
    BULLETIN_DRAINING,
    BULLETIN_STOPPING
};

/* "starting", "running", "handed-over", "draining", "stopping" */
const char *bulletin_phase_name(enum bulletin_phase phase);

enum bulletin_state { BULLETIN_CHILD_STARTING, BULLETIN_CHILD_READY, BULLETIN_CHILD_RETIRING };

/* A serving process. */
struct bulletin_process {
    int32_t pid;
    uint32_t number; /* of its seat; its successor, and one that retires, may have the same */
    uint32_t generation;
    uint32_t first_slot; /* in the scoreboard, and never out of its range */
    uint32_t slot_count;
    uint32_t state;      /* enum bulletin_state */
    uint32_t inherits;   /* 1: it goes on with what a death has left */
    uint64_t started_ns; /* CLOCK_MONOTONIC */
};

/* What a reader holds. */
struct bulletin_copy {
    uint64_t sequence; /* for bulletin_is_unchanged */
    uint64_t beat_ms;  /* CLOCK_MONOTONIC, when it was posted */
    int32_t master_pid;
    uint32_t phase;              /* enum bulletin_phase */
    uint32_t wanted;             /* processes */
    uint64_t observer_deaths;    /* observers that ended without being told to */
    struct ledger_totals totals; /* of the dead, and what deaths have cost */
    uint32_t process_count;      /* never more than BULLETIN_PROCESSES */
    struct bulletin_process processes[BULLETIN_PROCESSES]; /* in the order of their start */
};

struct bulletin;

/* ---- For an observer ---- */

/* It is still there: to be called now and then. This and the next are all that it can write to what
 * it shares with the master. */
void bulletin_acknowledge(struct bulletin *bulletin, uint64_t now_ms);

/* It (pid) accepts nobody any more: another one may begin, and nobody hears from the two by turns.
 */
void bulletin_retire(struct bulletin *bulletin, int32_t pid);

/* Copies it. False: it was written to on every try, or the master has stopped in the middle: an
 * older copy is the best there is. */
bool bulletin_read(const struct bulletin *bulletin, struct bulletin_copy *copy);

/* The same, and waits for up to patience_ms until it can be read: for who has no older copy. */
bool bulletin_await(const struct bulletin *bulletin, struct bulletin_copy *copy,
                    uint32_t patience_ms);

/* Whether nothing has been posted, or is about to be, since the copy was taken. */
bool bulletin_is_unchanged(const struct bulletin *bulletin, const struct bulletin_copy *copy);

/* For how long the master has not been heard, in milliseconds: since its last beat, which is there
 * even when bulletin_read is false. */
uint64_t bulletin_heard_ms(const struct bulletin *bulletin, uint64_t now_ms);

/* What a command takes; 32 hexadecimal digits. */
const char *bulletin_token(const struct bulletin *bulletin);

/* ---- For the master ---- */

/* Maps one, with a new token. NULL with errno set. No process that is forked has it, except while
 * it is shared. False with errno set. */
struct bulletin *bulletin_create(void);
void bulletin_destroy(struct bulletin *bulletin); /* NULL: nothing */
bool bulletin_share(struct bulletin *bulletin, bool shared);

/* When the observer was last heard of (CLOCK_MONOTONIC), by its own word: it may be anything. */
uint64_t bulletin_acknowledged_ms(const struct bulletin *bulletin);

/* Who was the last to say that it accepts nobody any more, by its own word; 0: nobody was. */
int32_t bulletin_retired_pid(const struct bulletin *bulletin);

/* In the observer: but for those words it can only read from now on. False with errno set. */
bool bulletin_seal(struct bulletin *bulletin);

/* What a reader adds up is about to change: until the next post no copy can be had. */
void bulletin_begin(struct bulletin *bulletin);

/* Puts it up: all of copy but the sequence. */
void bulletin_post(struct bulletin *bulletin, const struct bulletin_copy *copy);

#endif
