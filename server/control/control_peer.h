/* The observer's way to the commands of control.h: one client that stays, over a socket that the
 * master has made for it, so that no path is needed. Each request is a line that begins with a
 * number, "12 {...}", and each answer another one with the same number; answers may come in any
 * order. The master trusts it less than who may open the control socket: so many requests a second,
 * and no more, and whoever does not read is cut. */
#ifndef TWINHTTPD_SERVER_CONTROL_CONTROL_PEER_H
#define TWINHTTPD_SERVER_CONTROL_CONTROL_PEER_H

#include "server/control/control.h"

#include <poll.h>

enum {
    CONTROL_PEER_WAITING = 8,     /* answers that come later, at a time */
    CONTROL_PEER_PER_SECOND = 50, /* requests; more wait */
    CONTROL_PEER_UNREAD_BYTES = 4 << 20
};

struct control_peer;

/* Takes the socket over, which must not block. All functions below take NULL for "there is none".
 * answer as for control_create; its peer is NULL. */
struct control_peer *control_peer_create(int fd, control_answer_fn answer, void *data);
void control_peer_destroy(struct control_peer *peer);

/* What to poll; fd is -1 when there is nothing to wait for. */
struct pollfd control_peer_poll(const struct control_peer *peer);

/* When control_peer_serve has something to do in any case (CLOCK_MONOTONIC); 0: never. */
uint64_t control_peer_due_ms(const struct control_peer *peer);

/* Reads, answers and sends as far as that is possible now. False: it has gone, or breaks the rules,
 * and is to be destroyed. */
bool control_peer_serve(struct control_peer *peer);

/* The answer to all whose requests have got none yet. */
void control_peer_answer_waiting(struct control_peer *peer, struct span answer);

#endif
