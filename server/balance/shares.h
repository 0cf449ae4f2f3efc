/* Fair shares of the connections for event loops. A loop that has clearly more than another (by an
 * eighth and four) leaves new connections to it where they share a listening socket: the kernel
 * wakes the loop that began to wait last, so that else one worker may get nearly all of them.
 * And it gives away some of those it has, since connections that are kept alive would never come
 * back to the successor of a dead worker. */
#ifndef TWINHTTPD_SERVER_BALANCE_SHARES_H
#define TWINHTTPD_SERVER_BALANCE_SHARES_H

#include "common/scoreboard/scoreboard.h"

#include <stdbool.h>
#include <stddef.h>

/* How many other loops a loop looks at, and behind how many slots it looks for them: those of pool
 * threads lie between. So the cost is bounded. */
enum { SHARES_NEIGHBOURS = 16, SHARES_REACH = 512 };

struct share {
    uint32_t slot_index;
    uint64_t connections;
};

/* The loops' slots behind that one, round the end; returns how many. */
uint32_t shares_neighbours(const struct scoreboard *scoreboard, uint32_t slot_index,
                           uint32_t neighbours[SHARES_NEIGHBOURS]);

/* Whether that slot's loop lives, by the clock of the asking one, and takes connections. */
bool shares_is_taking(const struct scoreboard *scoreboard, uint32_t slot_index, uint64_t now_ms);

/* Whether the loop in this slot may accept: false while a neighbour has clearly fewer connections
 * open. data is the scoreboard (see struct worker_options). */
bool shares_may_accept(const void *data, uint32_t slot_index);

/* To which neighbours the loop should give how many of its connections in use, so that all come to
 * an equal number; idle connections are no load, and stay. Loops that ask at the same time do not
 * give too much together. Returns how many shares there are: 0 unless a neighbour has clearly
 * fewer. */
size_t shares_to_give(const struct scoreboard *scoreboard, uint32_t slot_index,
                      struct share shares[SHARES_NEIGHBOURS]);

#endif
