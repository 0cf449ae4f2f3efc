/* The slot of a thread in the scoreboard: what it says of itself while it lives, and the request
 * journal. It belongs to one thread that runs an event loop or handlers. Only that thread writes to
 * it (single writer, so plain load and store of relaxed atomics do); anybody may read. Fields for
 * bookkeeping are written by the master alone. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_SLOT_H
#define TWINHTTPD_COMMON_SCOREBOARD_SLOT_H

#include "common/base/client_address.h"
#include "common/base/span.h"
#include "common/scoreboard/adoption.h"
#include "common/scoreboard/latency.h"
#include "common/scoreboard/stack_note.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum slot_state {
    SLOT_EMPTY,
    SLOT_CLAIMED,
    SLOT_STARTING,
    SLOT_READY,
    SLOT_DRAINING,
    SLOT_ENDED,
    SLOT_DEAD,
    SLOT_SPARE, /* the place of a spare thread that is not there */
    SLOT_STATES
};
enum slot_role { SLOT_LOOP, SLOT_POOL };
/* What the watchdog says of a thread; the last two: it is stuck. */
enum slot_verdict { SLOT_MOVING, SLOT_STOPPED, SLOT_SPINNING, SLOT_BLOCKED };

enum {
    NOTE_LINE_BYTES = 120, /* of a request line; longer ones are cut */
    NOTE_LINE_WORDS = NOTE_LINE_BYTES / sizeof(uint64_t),
    CRASH_ASSERTION_BYTES = 160 /* of a longer text the end is kept, which names the line */
};
_Static_assert(NOTE_LINE_WORDS * sizeof(uint64_t) == NOTE_LINE_BYTES,
               "a line that fills its room ends with a word");

/* The request that a thread's handler is working on. */
struct request_note {
    _Atomic uint32_t sequence; /* odd while it is being written */
    _Atomic uint32_t bytes;    /* 0: none */
    _Atomic uint64_t line[NOTE_LINE_WORDS];
    _Atomic uint64_t client[CLIENT_WORDS];
};

/* A note as a reader holds it. */
struct request_copy {
    uint32_t slot;
    char line[NOTE_LINE_BYTES + 1];
    char client[CLIENT_TEXT_BYTES];
};

/* What a thread that dies of a fault writes in its signal handler. Whoever reads it trusts no
 * number in it: the process may have been damaged. */
struct crash_note {
    _Atomic uint32_t written; /* all but the frames is there */
    int32_t signal;
    int32_t code; /* si_code */
    int32_t pid;
    int32_t tid;
    int32_t slot;       /* in the scoreboard; -1: a thread that has none */
    int32_t sender_pid; /* of a signal that was sent */
    uint32_t sender_uid;
    uint32_t stack_overflow;               /* 0: no */
    uint64_t address;                      /* si_addr */
    char assertion[CRASH_ASSERTION_BYTES]; /* that failed (check.h); "": none */
    struct stack_note stack;
};

/* A living thread is asked for its stack, and answers in a signal handler. */
struct stack_inquiry {
    _Atomic uint32_t asked;    /* number of the newest question; written by the master */
    _Atomic uint32_t answered; /* number of the one that the stack answers */
    struct stack_note stack;
};

/* Counters only grow; the master moves them into the scoreboard's totals when the process dies. */
struct slot_counters {
    _Atomic uint64_t requests_started;  /* headers read */
    _Atomic uint64_t requests_finished; /* last byte of the response taken by the kernel */
    _Atomic uint64_t requests_aborted;  /* started, and then the client went away or was cut */
    _Atomic uint64_t requests_handled;  /* handlers run by this thread */
    _Atomic uint64_t bytes_sent;
    _Atomic uint64_t connections_accepted;
    _Atomic uint64_t connections_adopted; /* handed over by another event loop */
    _Atomic uint64_t connections_refused; /* of clients that have too many */
    _Atomic uint64_t faults_recovered;    /* of handlers, answered with 500 */
    adoption_counters adoption;
};

struct worker_slot {
    alignas(64) _Atomic int32_t pid;
    _Atomic int32_t tid;
    _Atomic uint32_t process; /* which of the master's children */
    _Atomic uint32_t generation;
    _Atomic uint32_t state;         /* enum slot_state */
    _Atomic uint32_t role;          /* enum slot_role */
    _Atomic uint32_t inbox;         /* where it is handed connections; 0: nowhere */
    _Atomic uint32_t spares_wanted; /* in a process's first slot; written by the master */
    _Atomic uint32_t
        draining; /* 0: no; set before the order, so that a busy worker knows in time */
    _Atomic uint64_t heartbeat_ms; /* CLOCK_MONOTONIC, written by the loop or pool thread itself */
    _Atomic uint64_t ready_ns; /* in a process's first slot: since when all of it is; 0: is not */
    alignas(64) struct slot_counters counters;
    /* Gauges. A connection counts as open until its last response has been sent. */
    _Atomic uint64_t connections_open;
    _Atomic uint64_t connections_busy;   /* with at least one request started and not answered */
    _Atomic uint64_t connections_idle;   /* between requests, and silent for a second */
    _Atomic uint64_t connections_mortal; /* in a process whose connections outlive it: not these */
    _Atomic uint64_t deaths;             /* of threads in this place; written by the master */
    _Atomic uint64_t legacy;  /* number of the death whose connections it took over, plus 1; 0:
                               * none; written by the master */
    _Atomic uint32_t verdict; /* enum slot_verdict; written by the master */
    struct latency latency;
    alignas(64) struct request_note current;
    alignas(64) struct crash_note crash; /* of the whole process: in its first slot */
    struct stack_inquiry inquiry;
};
_Static_assert(sizeof(struct worker_slot) % 64 == 0, "two threads never write to one cache line");

/* For the one writer of a counter: no locked instruction needed. */
static inline void slot_add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

static inline void slot_subtract(_Atomic uint64_t *gauge, uint64_t amount)
{
    atomic_store_explicit(gauge, atomic_load_explicit(gauge, memory_order_relaxed) - amount,
                          memory_order_relaxed);
}

/* The calling thread moves into the slot: pid, tid, generation, role; state becomes STARTING. From
 * now on it is the only slot that the thread writes to. */
void slot_enter(struct worker_slot *slot, uint32_t process, uint32_t generation,
                enum slot_role role);

/* The owner's state changes: STARTING, READY, DRAINING, ENDED, with steps left out but never back;
 * a spare thread leaves SPARE behind. Who has not entered any slot prepares one for others. */
void slot_set_state(struct worker_slot *slot, enum slot_state state);

/* The owner's heart beats, in this state: said again each time, should somebody have written over
 * it.
 */
void slot_beat(struct worker_slot *slot, uint64_t now_ms, enum slot_state state);

/* All of the process is ready, whose first slot this is. */
void slot_note_process_ready(struct worker_slot *slot);

/* Of a verdict (enum slot_verdict). */
static inline bool slot_verdict_is_stuck(uint32_t verdict)
{
    return verdict == SLOT_SPINNING || verdict == SLOT_BLOCKED;
}

/* A state as it is shown: "starting", "ready", "draining", ... */
const char *slot_state_name(uint32_t state);

/* A role as it is shown: "loop" or "pool". */
const char *slot_role_name(uint32_t role);

/* What keeps a thread from moving: "stopped", "spinning" or "blocked"; NULL: it moves. */
const char *slot_verdict_name(uint32_t verdict);

/* Notes the request that the owner's handler begins with, and its end. */
void slot_note_begin(struct worker_slot *slot, struct span line,
                     const struct client_address *client);
void slot_note_end(struct worker_slot *slot);

/* Copies the note. False when there is none (or it changed on every try). */
bool slot_note_read(const struct worker_slot *slot, struct request_copy *copy);

#endif
