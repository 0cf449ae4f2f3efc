/* Fair shares of the connections where loops share one listening socket: the kernel wakes whoever
 * waited last, so that without this one worker may end up with nearly all of them. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_BALANCE_H
#define TWINHTTPD_SERVER_SUPERVISE_BALANCE_H

#include "common/base/scoreboard.h"

#include <stdbool.h>

/* Whether the loop in this slot may accept: false while a loop nearby (the next few slots, so that
 * the cost is bounded) that is alive has clearly fewer connections. */
bool balance_may_accept(const struct scoreboard *scoreboard, uint32_t slot_index);

#endif
