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
#ifndef TWINHTTPD_COMMON_SCOREBOARD_SCOREBOARD_H
#define TWINHTTPD_COMMON_SCOREBOARD_SCOREBOARD_H

#include "common/scoreboard/deaths.h"
#include "common/scoreboard/slot.h"
#include "common/scoreboard/stuck_record.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* As large as a page may be on any architecture. */
enum { SCOREBOARD_PAGE_BYTES = 65536 };

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
    struct latency dead_latency; /* the same */
    _Atomic uint64_t deaths;
    _Atomic uint64_t requests_lost;
    _Atomic uint64_t in_progress_lost; /* of these, the ones that had been started */
    _Atomic uint64_t stuck_incidents;  /* threads that the watchdog found stuck */
    _Atomic uint64_t death_sequence;   /* odd while a record is written, or counts are moved
                                        * from slots to the sums of the dead */
    struct death_record records[DEATH_RECORDS];
    _Atomic uint64_t stuck_records; /* told so far */
    struct stuck_place stuck_places[STUCK_RECORDS];
    struct worker_slot slots[];
};

_Static_assert(offsetof(struct scoreboard, slot_count) == SCOREBOARD_PAGE_BYTES,
               "what is private to a process fills the page, and what is shared begins behind it");
_Static_assert(offsetof(struct scoreboard, slots) % 64 == 0,
               "no slot shares a cache line with what the master writes");

/* Maps a zeroed scoreboard that processes forked later share. NULL with errno set on failure.
 * Unmapped by scoreboard_destroy. */
struct scoreboard *scoreboard_create(uint32_t slot_capacity);
void scoreboard_destroy(struct scoreboard *scoreboard);

/* In a process that only looks: from now on a store there ends it. False with errno set. */
bool scoreboard_seal(struct scoreboard *scoreboard);

/* How many slots there may be that have ever been used: never more than there are. */
static inline uint32_t scoreboard_slot_count(const struct scoreboard *scoreboard)
{
    uint32_t count = atomic_load_explicit(&scoreboard->slot_count, memory_order_relaxed);
    return count < scoreboard->slot_capacity ? count : scoreboard->slot_capacity;
}

/* Master: tells the slots' owners that they are to drain, before they are told by a signal. */
void scoreboard_mark_draining(struct scoreboard *scoreboard, uint32_t first, uint32_t count);

#endif
