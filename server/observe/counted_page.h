/* A page of memory in which one program writes what it has counted, for another one to read: what
 * goes from the old program of an upgrade to the new one, and back again should that one fail. */
#ifndef TWINHTTPD_SERVER_OBSERVE_COUNTED_PAGE_H
#define TWINHTTPD_SERVER_OBSERVE_COUNTED_PAGE_H

#include "server/observe/facts.h"

#include <stdbool.h>

/* Of the totals the counters alone: gauges are each program's own. */
struct carried_counts {
    struct facts_totals totals;
    struct latency_copy latency;
};

struct counted_page;

/* Who writes: no process that is forked has such a page. All return NULL with errno set, and are
 * ended by counted_page_close. */

/* *fd is for the reader, and nobody can write by it. */
struct counted_page *counted_page_create(int *fd);

/* Takes fd, which the reader has from counted_page_await. EINVAL: it is of a program that counts
 * otherwise. */
struct counted_page *counted_page_enter(int fd);

void counted_page_write(struct counted_page *page, const struct carried_counts *counts);

/* Nobody tells any more but who reads this: what has been written is not less than what was told.
 */
void counted_page_hand_over(struct counted_page *page);

/* Who reads: processes that are forked may read it, too. NULL as above. */

/* Takes fd, of counted_page_create. EINVAL as above. */
struct counted_page *counted_page_open(int fd);

/* A page with nothing in it; *fd is for the one that will write. */
struct counted_page *counted_page_await(int *fd);

/* What was written last, also when its writer was killed while it wrote. False: it was written to
 * on every try. */
bool counted_page_read(const struct counted_page *page, struct carried_counts *out);

bool counted_page_is_handed_over(const struct counted_page *page);

void counted_page_close(struct counted_page *page); /* NULL: nothing */

#endif
