/* What an adopted connection has before it: see connection_replay.c. What the others ask of it
 * stands in connection_internal.h. */
#ifndef TWINHTTPD_COMMON_NET_CONNECTION_REPLAY_H
#define TWINHTTPD_COMMON_NET_CONNECTION_REPLAY_H

#include "common/net/connection_internal.h"

#include <stdbool.h>
#include <stdint.h>

/* What has been sent of what the predecessor had in its output. */
enum replay_part { REPLAY_NOTHING, REPLAY_A_PART, REPLAY_ALL };

/* How much a death weighs under a request that was at work, and up to which sum the request runs
 * again (durable_restart): not after two that were the processes' own doing, nor after eleven
 * others, since who knows what kills. Nobody waits for the answer to one who has left: one more
 * death is too high a price for a line of the log. */
enum {
    REPLAY_KILL_WEIGHS = 1,
    REPLAY_OWN_DEATH_WEIGHS = 6,
    REPLAY_FORGIVEN = 10,
    REPLAY_FORGIVEN_WHO_HAS_LEFT = 5
};

/* The requests that its record tells of come up again, from the input. sent: of the output's bytes.
 * Ended by connection_replay_end. */
void connection_replay_begin(struct connection *c, enum replay_part part, uint64_t sent);

/* What stands there of an output was sent before these requests. */
void connection_replay_forget_output(struct connection *c);

/* Processes die while they make an answer again of which a part has been sent, and no other can be
 * sent in its place. */
bool connection_replay_is_hopeless(const struct connection *c);

/* The client has left: what had begun becomes lines of the log, and the connection ends. */
void connection_replay_part(struct connection *c);

#endif
