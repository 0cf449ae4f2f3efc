/* Whose a connection is that is on its way from one event loop to another when one of the two dies:
 * both, and their successors, may then have its socket. Who sends it offers a claim, which goes
 * along; whoever takes the claim first has the connection. A claim is one word of memory that the
 * loops' processes share, so that it is decided by one compare-and-swap.
 *
 * Whoever has taken over a process can spoil the claims, and so bring about that connections which
 * move are lost, or are served twice, each to its own client. */
#ifndef TWINHTTPD_COMMON_NET_CLAIMS_H
#define TWINHTTPD_COMMON_NET_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>

enum { CLAIMS_UNDER_WAY = 64 }; /* of one giver */

struct claims;

/* For so many givers, whose ids begin with first_id (1 or more), and for the processes that are
 * forked later. NULL with errno set on failure. Ended by claims_destroy, in each process. */
struct claims *claims_create(uint32_t first_id, uint32_t givers);
void claims_destroy(struct claims *claims); /* NULL: nothing */

/* For the giver alone: a claim that it may offer. 0: too many of its connections are on their way.
 */
uint64_t claims_choose(const struct claims *claims, uint32_t giver_id);

/* From now on it is whose who takes it. The giver has noted it before, so that its successor knows
 * of it whatever happens. Whoever cannot send it takes it back. */
void claims_offer(struct claims *claims, uint64_t claim);

/* Whether the claim is this process's (or that process's whose successor asks): from now on, or
 * since before. generation: the process's, not 0. A claim of others, before a reload, is nobody's.
 */
bool claims_take(struct claims *claims, uint64_t claim, uint32_t generation);

#endif
