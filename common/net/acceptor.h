/* Takes connections from the listening socket, and looks away from it when there is no room, or
 * when workers with fewer connections should come first. */
#ifndef TWINHTTPD_COMMON_NET_ACCEPTOR_H
#define TWINHTTPD_COMMON_NET_ACCEPTOR_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;

/* A part of its worker. */
struct acceptor {
    struct event listen_event;
    struct event yield_event; /* ends a moment in which connections are left to others */
    bool listening;           /* the socket is being watched */
    bool has_yielded;         /* and nobody took them: accept whatever the shares are */
    uint64_t not_before_ms;   /* after running out of descriptors */
    uint64_t short_ms;        /* when that was so the last time */
};

/* Begins to watch the worker's listening socket. Undone by acceptor_close, which may be called
 * twice. */
void acceptor_open(struct worker *worker);
void acceptor_close(struct worker *worker);

/* Looks at the socket again if there is room and no reason to wait. Called after a connection has
 * ended, and from the tick. */
void acceptor_resume(struct worker *worker);

/* Takes what the kernel has queued (in the clients' eyes it was accepted), then shuts the socket
 * down for all that share it, so that whoever comes later is refused at once. */
void acceptor_drain(struct worker *worker);

#endif
