/* The master's books. What it decides by stands here, in memory that is its own: which slots are
 * free, how many have died, what they left behind. The scoreboard is what it shows of that, and
 * what workers say of themselves; whatever somebody writes there, the books stay true.
 *
 * A forked process has a copy, which nobody reads. Without a master the one process keeps them. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_LEDGER_H
#define TWINHTTPD_COMMON_SCOREBOARD_LEDGER_H

#include "common/scoreboard/deaths.h"
#include "common/scoreboard/ledger_totals.h"

struct ledger;

/* Books for a scoreboard that has just been made, and outlives them. Freed by ledger_destroy. */
struct ledger *ledger_create(struct scoreboard *scoreboard);
void ledger_destroy(struct ledger *ledger);

/* There is a master: this one. */
void ledger_name_master(struct ledger *ledger, int32_t pid);

enum { LEDGER_FULL = UINT32_MAX };

/* Takes the first so many free slots in a row, those of the dead before others, for a process that
 * is about to be forked, and clears all that is written in them. Returns the index of the first;
 * LEDGER_FULL when there are none. They become free again by ledger_bury or ledger_retire. */
uint32_t ledger_claim(struct ledger *ledger, uint32_t count);

/* The number of the process that is about to be forked: 1, 2, ... */
uint32_t ledger_next_generation(struct ledger *ledger);

/* A process has died. death holds cause, times and slots, and whether a successor is to go on with
 * what it leaves; what the death cost, and its number, are filled in. It is remembered, its
 * counters are moved into the totals, its slots are freed.
 *
 * Requests that are left are counted as started by whoever goes on with them, not by the dead. */
void ledger_bury(struct ledger *ledger, struct death_record *death);

/* The same for a process that has ended because it was asked to: no death, nothing lost. */
void ledger_retire(struct ledger *ledger, uint32_t first, uint32_t count);

/* The process with these slots goes on with what that death has left. What it counts of that, now
 * and later, is booked to the death. */
void ledger_name_heir(struct ledger *ledger, uint64_t death, uint32_t first, uint32_t count);

/* The process with that first slot has gone on with all that it could, or will not do so at all:
 * then what was left is lost. */
void ledger_settle(struct ledger *ledger, uint32_t first, bool went_on);

/* Nobody goes on with what that death has left, but for what somebody already has: it is lost. */
void ledger_forfeit(struct ledger *ledger, uint64_t death);

/* How long the successor of that death took. */
void ledger_note_recovery(struct ledger *ledger, uint64_t death, uint64_t recovery_ns);

/* A thread has been found stuck. */
void ledger_count_incident(struct ledger *ledger);

/* The number that the next record of a stuck process is to have (stuck_record.h). */
uint64_t ledger_next_stuck_record(struct ledger *ledger);

/* All that the books say of those that have ended. Between two calls of the ledger's functions it
 * agrees with the counters that stand in slots: nothing is in both, and nothing in neither. */
void ledger_get_totals(const struct ledger *ledger, struct ledger_totals *totals);

/* What the master knows of a process that serves. */
struct ledger_process {
    int32_t pid;
    uint32_t number;
    uint32_t generation;
    uint32_t first_slot;
    uint32_t slot_count;
    uint32_t loop_count; /* of these, the first ones */
    bool draining;
};

/* Says again what the books say, of all and of one process: should somebody have written over it,
 * it is true again. */
void ledger_restate(const struct ledger *ledger);
void ledger_restate_process(const struct ledger *ledger, const struct ledger_process *process);

#endif
