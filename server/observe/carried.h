/* What other programs have counted that served in this one's place: those before it, and new ones
 * of an upgrade that came to nothing. Added to what this one counts, so that no counter goes back.
 */
#ifndef TWINHTTPD_SERVER_OBSERVE_CARRIED_H
#define TWINHTTPD_SERVER_OBSERVE_CARRIED_H

#include "server/observe/counted_page.h"

#include <stdbool.h>

struct carried;

/* Nothing yet. Ended by carried_close; processes that are forked may read it, too. */
struct carried *carried_create(void);
void carried_close(struct carried *carried); /* may be NULL */

/* Takes what the program before writes as long as it drains, and once more at its end. */
void carried_begin(struct carried *carried, struct counted_page *before);

/* Takes what a new program goes on writing until it has ended: this one serves again. */
void carried_take_back(struct carried *carried, struct counted_page *returned);

/* The program whose counts were taken back, if any, has ended: they do not change any more. May be
 * NULL. */
void carried_settle(struct carried *carried);

/* The sum; where one of them can not be read, what it was the last time. */
void carried_read(struct carried *carried, struct carried_counts *out);

/* Whether none of those that still write tells anybody of it: that is for this program. May be
 * NULL. */
bool carried_is_handed_over(const struct carried *carried);

#endif
