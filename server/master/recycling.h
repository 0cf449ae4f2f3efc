/* Recycling: processes that have served long enough are replaced, one after the other and without a
 * gap, before what they have gathered does harm. Part of the master; looks from its loop. */
#ifndef TWINHTTPD_SERVER_MASTER_RECYCLING_H
#define TWINHTTPD_SERVER_MASTER_RECYCLING_H

#include <stdbool.h>
#include <stdint.h>

struct master;

struct recycling {
    uint64_t due_ms;
    unsigned looks;
    bool blind; /* has told that it cannot read the memory */
};

/* Of a limit, by which a process may go earlier: chosen for each, so that not all go at once. */
enum { RECYCLING_JITTER_PERCENT = 10 };

/* limit less up to RECYCLING_JITTER_PERCENT of it, as chance wills. Never 0, unless limit is. */
uint64_t recycling_jitter(uint64_t limit, uint64_t chance);

/* Looks, if it is time to. */
void recycling_run(struct master *master);

/* When it is to look next; 0: never. */
uint64_t recycling_due_ms(const struct master *master);

#endif
