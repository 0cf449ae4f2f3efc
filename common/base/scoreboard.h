/* The scoreboard and the request journal: what every worker says of itself, in memory that outlives
 * it, so that whoever is left can tell what a death cost. Fixed size, no pointers.
 *
 * A slot belongs to one thread that runs an event loop or handlers. Only that thread writes to it
 * (single writer, so plain load and store of relaxed atomics do); anybody may read. Master and
 * bookkeeping fields are written by the master alone.
 *
 * That is the custom, and nothing enforces it: a process that has gone astray, or has been taken
 * over, can write anything anywhere. So whoever reads takes a copy, bounds all that it uses as an
 * index, a length or a count (shared_copy.h), and decides by nothing else that matters: the master
 * has books of its own (ledger.h). */
#ifndef TWINHTTPD_COMMON_BASE_SCOREBOARD_H
#define TWINHTTPD_COMMON_BASE_SCOREBOARD_H

#include "common/base/span.h"

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
    SLOT_SPARE /* the place of a spare thread that is not there */
};
enum slot_role { SLOT_LOOP, SLOT_POOL };
/* What the watchdog says of a thread; the last two: it is stuck. */
enum slot_verdict { SLOT_MOVING, SLOT_STOPPED, SLOT_SPINNING, SLOT_BLOCKED };

enum {
    NOTE_LINE_BYTES = 120, /* of a request line; longer ones are cut */
    NOTE_LINE_WORDS = NOTE_LINE_BYTES / 8,
    CLIENT_WORDS = 3,
    CLIENT_TEXT_BYTES = 56,       /* "[ffff:...]:65535" and NUL */
    DEATH_RECORDS = 64,           /* how many deaths are remembered */
    DEATH_REQUESTS = 16,          /* how many requests in progress a death record names */
    SCOREBOARD_PAGE_BYTES = 65536 /* as large as a page may be on any architecture */
};

/* Of processes with stuck threads. */
enum {
    STUCK_RECORDS = 4,  /* how many are remembered */
    STUCK_THREADS = 64, /* how many threads one tells of */
    WAIT_CHANNEL_BYTES = 48
};

/* Of the backtrace of a thread. */
enum {
    CRASH_INNER_FRAMES = 12, /* the newest... */
    CRASH_OUTER_FRAMES = 32, /* ...and the oldest are kept, should there be more */
    CRASH_FRAMES = CRASH_INNER_FRAMES + CRASH_OUTER_FRAMES,
    CRASH_STORY_FRAMES = 60, /* functions that were inlined have frames of their own */
    CRASH_FUNCTION_BYTES = 48,
    CRASH_FILE_BYTES = 56,
    CRASH_MODULE_BYTES = 32
};

/* A client's address, packed so that it can be copied in three words. */
struct client_address {
    uint64_t words[CLIENT_WORDS];
};

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

/* A thread's stack, as it writes it in a signal handler. */
struct stack_note {
    /* Frames met so far: the first stay, the others go round in what is left. */
    _Atomic uint32_t frames_met;
    uint64_t frames[CRASH_FRAMES]; /* each address lies within the instruction that calls */
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
    uint32_t stack_overflow; /* 0: no */
    uint64_t address;        /* si_addr */
    struct stack_note stack;
};

/* One frame of a story. Without debug information file is empty; without a symbol function, too. */
struct crash_frame {
    uint64_t address;
    uint64_t offset; /* in the module */
    uint32_t line;
    char function[CRASH_FUNCTION_BYTES];
    char file[CRASH_FILE_BYTES]; /* relative to the source root; of a longer path its end */
    char module[CRASH_MODULE_BYTES];
};

/* A stack note as a reader holds it, with its addresses' names. */
struct stack_story {
    uint32_t left_out; /* frames that are missing before frames[left_out_at] */
    uint32_t left_out_at;
    uint32_t frame_count;
    struct crash_frame frames[CRASH_STORY_FRAMES]; /* innermost first */
};

/* A living thread is asked for its stack, and answers in a signal handler. */
struct stack_inquiry {
    _Atomic uint32_t asked;    /* number of the newest question; written by the master */
    _Atomic uint32_t answered; /* number of the one that the stack answers */
    struct stack_note stack;
};

/* What was found of a thread when one of its process was stuck. */
struct stuck_thread {
    int32_t tid;
    int32_t slot;                          /* -1: none */
    uint32_t role;                         /* enum slot_role */
    uint32_t verdict;                      /* enum slot_verdict */
    char state;                            /* in the kernel: R, S, D... */
    char wait_channel[WAIT_CHANNEL_BYTES]; /* in the kernel; "": none, or not to be read */
    uint8_t has_request;                   /* 0: no */
    struct request_copy request;
    struct stack_story stack; /* without frames: it has not answered */
};

/* A process in which threads were found stuck. */
struct stuck_record {
    uint64_t time_ms; /* wall clock */
    int32_t pid;
    uint32_t process;
    uint32_t generation;
    uint32_t thread_count; /* of threads[]; those that are stuck come first */
    struct stuck_thread threads[STUCK_THREADS];
};

struct stuck_place {
    _Atomic uint64_t sequence; /* odd while the record is written; 0: there is none */
    uint64_t number;
    struct stuck_record record;
};

/* How far the story of a death is. */
enum crash_state {
    CRASH_NONE,
    CRASH_BURIED,   /* it has addresses and no names */
    CRASH_IN_HANDS, /* somebody looks the names up */
    CRASH_PUBLISHED
};

/* A crash note as a reader holds it, with the request it belongs to. */
struct crash_story {
    uint8_t told; /* 0: nothing was written, as by SIGKILL */
    uint8_t stack_overflow;
    uint8_t has_request;
    int32_t signal;
    int32_t code;
    int32_t pid;
    int32_t tid;
    int32_t slot; /* -1: none */
    int32_t sender_pid;
    uint32_t sender_uid;
    uint64_t address;
    struct request_copy request; /* that the thread's handler was working on */
    struct stack_story stack;
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
    _Atomic uint64_t connections_busy; /* with at least one request started and not answered */
    _Atomic uint64_t connections_idle; /* between requests, and silent for a second */
    _Atomic uint64_t deaths;           /* of threads in this place; written by the master */
    _Atomic uint32_t verdict;          /* enum slot_verdict; written by the master */
    alignas(64) struct request_note current;
    alignas(64) struct crash_note crash; /* of the whole process: in its first slot */
    struct stack_inquiry inquiry;
};

/* What one death cost. Written by the master. */
struct death_record {
    uint64_t number;  /* counted from 0 */
    uint64_t time_ms; /* wall clock */
    uint64_t died_ns; /* CLOCK_MONOTONIC, when the master learned of it */
    uint64_t lived_ns;
    uint64_t recovery_ns; /* until the successor was ready; 0: not yet */
    uint64_t in_progress; /* requests started and not fully answered */
    uint64_t awaited;     /* open connections between two requests that had not fallen idle */
    uint64_t idle_cut;    /* open connections that had */
    int32_t pid;
    int32_t signal;      /* 0: it exited */
    int32_t exit_status; /* if signal is 0 */
    uint32_t process;
    uint32_t generation;
    uint32_t first_slot; /* of the process's slots */
    uint32_t slot_count;
    uint32_t request_count; /* of requests[] */
    struct request_copy requests[DEATH_REQUESTS];
    _Atomic uint32_t crash_state; /* enum crash_state */
    struct crash_story crash;
};

/* The first page is private to each process: no worker can change what the master believes of the
 * mapping. The rest is shared. */
struct scoreboard {
    union {
        struct {
            char server[32];
            char version[16];
            char model[16];
            char dispatch[16]; /* "" where there is none */
            uint32_t slot_capacity;
            uint64_t started_ms; /* CLOCK_MONOTONIC */
        };
        char private_page[SCOREBOARD_PAGE_BYTES];
    };
    _Atomic uint32_t slot_count; /* slots[] from here on have never been used */
    _Atomic int32_t master_pid;
    _Atomic uint32_t generation; /* of the newest process */
    struct slot_counters dead;   /* sums of the processes that are gone */
    _Atomic uint64_t deaths;
    _Atomic uint64_t requests_lost;
    _Atomic uint64_t stuck_incidents; /* threads that the watchdog found stuck */
    _Atomic uint64_t death_sequence;  /* odd while a record is written */
    struct death_record records[DEATH_RECORDS];
    _Atomic uint64_t stuck_records; /* told so far */
    struct stuck_place stuck_places[STUCK_RECORDS];
    struct worker_slot slots[];
};

/* Maps a zeroed scoreboard that processes forked later share. NULL with errno set on failure.
 * Unmapped by scoreboard_destroy. */
struct scoreboard *scoreboard_create(uint32_t slot_capacity);
void scoreboard_destroy(struct scoreboard *scoreboard);

/* How many slots there may be that have ever been used: never more than there are. */
static inline uint32_t scoreboard_slot_count(const struct scoreboard *scoreboard)
{
    uint32_t count = atomic_load_explicit(&scoreboard->slot_count, memory_order_relaxed);
    return count < scoreboard->slot_capacity ? count : scoreboard->slot_capacity;
}

/* Master: tells the slots' owners that they are to drain, before they are told by a signal. */
void scoreboard_mark_draining(struct scoreboard *scoreboard, uint32_t first, uint32_t count);

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

/* Adds the next outer frame to a note. Async-signal-safe. */
void stack_note_add(struct stack_note *note, uint64_t address);

/* Copies the note: its frames have addresses and no names yet. */
void stack_note_read(const struct stack_note *note, struct stack_story *story);

/* The calling thread moves into the slot: pid, tid, generation, role; state becomes STARTING. */
void slot_enter(struct worker_slot *slot, uint32_t process, uint32_t generation,
                enum slot_role role);
void slot_set_state(struct worker_slot *slot, enum slot_state state);

/* The owner's heart beats, in this state: said again each time, should somebody have written over
 * it.
 */
static inline void slot_beat(struct worker_slot *slot, uint64_t now_ms, enum slot_state state)
{
    atomic_store_explicit(&slot->heartbeat_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&slot->state, state, memory_order_relaxed);
}

/* All of the process is ready, whose first slot this is. */
void slot_note_process_ready(struct worker_slot *slot);

/* Of a verdict (enum slot_verdict). */
static inline bool slot_verdict_is_stuck(uint32_t verdict)
{
    return verdict == SLOT_SPINNING || verdict == SLOT_BLOCKED;
}

/* A state as it is shown: "starting", "ready", "draining", ... */
const char *slot_state_name(uint32_t state);

/* Notes the request that the owner's handler begins with, and its end. */
void slot_note_begin(struct worker_slot *slot, struct span line,
                     const struct client_address *client);
void slot_note_end(struct worker_slot *slot);

/* Copies the note. False when there is none (or it changed on every try). */
bool slot_note_read(const struct worker_slot *slot, struct request_copy *copy);

/* Reads what a dying process wrote into its slots; to be called before it is buried. The frames
 * have addresses and no names yet. */
void scoreboard_read_crash(const struct scoreboard *scoreboard, uint32_t first, uint32_t count,
                           struct crash_story *story);

/* For a thread that lives on: reads what it wrote into its slot, and clears that and the request's
 * note. */
void scoreboard_take_crash(struct scoreboard *scoreboard, uint32_t slot, struct crash_story *story);

/* Puts the complete story into the record of a death, if that is still remembered; from any
 * process.
 */
void scoreboard_publish_crash(struct scoreboard *scoreboard, uint64_t death,
                              const struct crash_story *story);

/* Requests that a death cost: in progress and awaited. */
uint64_t death_requests_lost(const struct death_record *record);

/* Numbers from first on, without end. */
struct number_range {
    uint64_t first;
    uint64_t end;
};

/* The last ones of so many things that were numbered from 0, of which places are remembered. */
static inline struct number_range number_range_last(uint64_t count, uint64_t places)
{
    return (struct number_range){count < places ? 0 : count - places, count};
}

/* The deaths that are still remembered. */
struct number_range scoreboard_deaths(const struct scoreboard *scoreboard);

/* Copies the record of a death. False: it is no longer remembered, has not happened yet, or changed
 * on every try. A crash story that is not complete yet is not told. */
bool scoreboard_copy_death(const struct scoreboard *scoreboard, uint64_t number,
                           struct death_record *out);

/* Packs an IPv4 or IPv6 socket address; anything else becomes "unknown". An IPv4 client of an IPv6
 * socket is one of IPv4. */
struct sockaddr;
struct client_address client_address_pack(const struct sockaddr *address);
/* Whether the client runs on this machine, as far as its address tells: 127.0.0.0/8, ::1, the
 * former written as IPv6, a Unix socket. A proxy on this machine is such a client for all others.
 */
bool client_address_is_loopback(const struct client_address *client);
void client_address_format(const struct client_address *client, char out[CLIENT_TEXT_BYTES]);

#endif
