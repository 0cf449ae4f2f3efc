/* What each death cost, and the story of it: the last ones are remembered. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_DEATHS_H
#define TWINHTTPD_COMMON_SCOREBOARD_DEATHS_H

#include "common/base/number_range.h"
#include "common/scoreboard/slot.h"
#include "common/scoreboard/stack_note.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct scoreboard;

enum {
    DEATH_RECORDS = 64, /* how many deaths are remembered */
    DEATH_REQUESTS = 16 /* how many requests in progress a death record names */
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
    char assertion[CRASH_ASSERTION_BYTES]; /* that failed; "": none */
    struct request_copy request;           /* that the thread's handler was working on */
    struct stack_story stack;
};

/* What is lost of what a process had when it died. */
struct death_loss {
    uint64_t in_progress;
    uint64_t awaited;
    uint64_t idle_cut;
};

/* What one death cost. Written by the master; a copy has what its heirs have counted since. */
struct death_record {
    uint64_t number;  /* counted from 0 */
    uint64_t time_ms; /* wall clock */
    uint64_t died_ns; /* CLOCK_MONOTONIC, when the master learned of it */
    uint64_t lived_ns;
    uint64_t recovery_ns;   /* until the successor was ready; 0: not yet */
    uint64_t in_progress;   /* requests started and not fully answered */
    uint64_t awaited;       /* open connections between two requests that had not fallen idle */
    uint64_t idle_cut;      /* open connections that had */
    uint32_t left;          /* 1: there was to be a successor that goes on with all of these */
    struct death_loss lost; /* of these */
    struct adoption_counts adoption; /* what became of them with the successor */
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

/* Reads what a dying process wrote into its slots; to be called before it is buried. The frames
 * have addresses and no names yet. */
void deaths_read_crash(const struct scoreboard *scoreboard, uint32_t first, uint32_t count,
                       struct crash_story *story);

/* For a thread that lives on: reads what it wrote into its slot, and clears that and the request's
 * note. */
void deaths_take_crash(struct scoreboard *scoreboard, uint32_t slot, struct crash_story *story);

/* Puts the complete story into the record of a death, if that is still remembered; from any
 * process.
 */
void deaths_publish_crash(struct scoreboard *scoreboard, uint64_t death,
                          const struct crash_story *story);

/* Requests that a death cost: in progress and awaited. */
uint64_t deaths_requests_lost(const struct death_record *record);

/* The deaths that are still remembered. */
struct number_range deaths_remembered(const struct scoreboard *scoreboard);

/* Copies the record of a death. False: it is no longer remembered, has not happened yet, or changed
 * on every try. A crash story that is not complete yet is not told. */
bool deaths_copy(const struct scoreboard *scoreboard, uint64_t number, struct death_record *out);

/* A number for all that may still change in the record of a death that is remembered: its cost, its
 * recovery, its story. Another one means that it is worth another copy. */
uint64_t deaths_digest(const struct scoreboard *scoreboard, uint64_t number);

#endif
