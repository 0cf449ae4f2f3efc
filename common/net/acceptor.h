/* Takes connections from the listening sockets, and looks away from them when there is no room, or
 * when workers with fewer connections should come first. */
#ifndef TWINHTTPD_COMMON_NET_ACCEPTOR_H
#define TWINHTTPD_COMMON_NET_ACCEPTOR_H

#include "common/net/endpoint.h"

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

/* A part of its worker. */
struct acceptor {
    struct loop *loop; /* for which it accepts */
    struct event listen_events[ENDPOINTS_MOST];
    struct event yield_event; /* ends a moment in which connections are left to others */
    bool listening;           /* the sockets are being watched */
    bool has_deaf;            /* but for some that have been shut down */
    bool has_yielded;         /* and nobody took them: accept whatever the shares are */
    uint64_t not_before_ms;   /* after running out of descriptors */
    uint64_t short_ms;        /* when that was so the last time */
};

/* Begins to watch the loop's listening sockets. Undone by acceptor_close, which may be called
 * twice. */
void acceptor_open(struct acceptor *acceptor, struct loop *loop);
void acceptor_close(struct acceptor *acceptor);

/* Looks at the sockets again if there is room and no reason to wait. Called after a connection has
 * ended, and from the tick. */
void acceptor_resume(struct acceptor *acceptor);

/* Where nobody is to serve any more: takes what the kernel has queued (in the clients' eyes it was
 * accepted), then shuts the socket down for all that share it, so that whoever comes later is
 * refused at once. */
void acceptor_give_up(struct acceptor *acceptor);

/* The server ends: takes what is queued wherever the loop listens. */
void acceptor_drain(struct acceptor *acceptor);

#endif
