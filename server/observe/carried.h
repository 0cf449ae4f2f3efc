/* What the programs before an upgrade have counted: a page that the old program writes as long as
 * its processes drain, and once more at its end. The new one and its observers read it, and add it
 * to what they count: so no counter goes back. The page of the new one, should it be replaced,
 * too, has both. */
#ifndef TWINHTTPD_SERVER_OBSERVE_CARRIED_H
#define TWINHTTPD_SERVER_OBSERVE_CARRIED_H

#include "server/observe/facts.h"

#include <stdbool.h>

/* Of the totals the counters alone: gauges are each program's own. */
struct carried_counts {
    struct facts_totals totals;
    struct latency_copy latency;
};

struct carried;

/* ---- For the old program ---- */

/* NULL with errno set. *fd is for the new program, and nobody can write by it. Ended by
 * carried_close; no process that is forked has it. */
struct carried *carried_create(int *fd);

void carried_write(struct carried *carried, const struct carried_counts *counts);

/* Nobody tells any more but who reads this: what has been written is not less than what was told.
 */
void carried_hand_over(struct carried *carried);

/* ---- For the new one ---- */

/* Takes fd. NULL with errno set: EINVAL, it is of a program that counts otherwise. Ended by
 * carried_close; processes that are forked may read it, too. */
struct carried *carried_open(int fd);

/* False: it was written to on every try, or its writer has stopped in the middle. */
bool carried_read(const struct carried *carried, struct carried_counts *out);

/* ---- For both ---- */

bool carried_is_handed_over(const struct carried *carried);

void carried_close(struct carried *carried); /* NULL: nothing */

#endif
