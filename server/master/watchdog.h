/* The watchdog: finds threads whose heart has stopped, tells what they are doing, and has their
 * process replaced. It is part of the master, and looks from the master's loop. */
#ifndef TWINHTTPD_SERVER_MASTER_WATCHDOG_H
#define TWINHTTPD_SERVER_MASTER_WATCHDOG_H

#include "server/master/stuck_inquiry.h"

#include <stdbool.h>
#include <stdint.h>

struct child;
struct master;

/* What the watchdog knows of the thread in one slot. */
struct watch {
    uint32_t generation;   /* of whom */
    uint32_t verdict;      /* enum slot_verdict; the slot shows it */
    uint64_t heartbeat_ms; /* the last one seen */
    uint64_t still_ms;     /* for which it has not changed while the master itself ran */
    bool unseen;           /* at the last look /proc did not have it */
    bool suspected;        /* at the last look, when it had used so much CPU time: */
    uint64_t cpu_ticks;
};

struct watchdog {
    struct watch *watches; /* for each slot */
    uint64_t looked_ms;
    uint64_t next_look_ms;
    uint32_t questions; /* asked so far */
    struct stuck_inquiries inquiries;
};

void watchdog_open(struct master *master);
void watchdog_close(struct master *master);

/* Looks, if it is time to. */
void watchdog_run(struct master *master);

/* Whether the thread in this slot has been found so, and has neither moved nor ended since. */
bool watchdog_is_stuck(const struct master *master, uint32_t slot);

/* How many of its threads have been found stuck, and have neither moved nor ended since. */
uint32_t watchdog_stuck_threads(const struct master *master, const struct child *child);

/* When it is to look next; 0: never. */
uint64_t watchdog_due_ms(const struct master *master);

#endif
