/* Listening sockets: opened once by the master, used by every event loop. */
#ifndef TWINHTTPD_SERVER_LISTEN_LISTENER_H
#define TWINHTTPD_SERVER_LISTEN_LISTENER_H

#include "common/base/error.h"
#include "common/net/endpoint.h"
#include "server/listen/socket_traits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A set of sockets bound to one address: a single one that all event loops share, or one for each
 * (reuseport). */
struct listener {
    int *fds;
    size_t count;
    bool reuseport;
    bool is_passed; /* by a service manager, which goes on listening when the server has ended */
    uint32_t id;    /* of these sockets, the same in every process that has them */
    struct endpoint wanted; /* as in the settings, where the port may be 0 */
    struct endpoint bound;
    struct socket_traits traits; /* what each socket is to be like, inherited by connections */
};

/* All that one server listens at; zeroed: nothing. */
enum { LISTENERS_TEXT_BYTES = 512 }; /* of all their addresses, cut if need be */

struct listeners {
    struct listener list[ENDPOINTS_MOST];
    size_t count;
    uint32_t last_id; /* of these and of all their predecessors' */
};

/* What listeners_open needs beside the addresses. */
struct listener_plan {
    bool reuseport;
    size_t count;                /* sockets for each address: 1 without reuseport */
    const struct listeners *old; /* of a predecessor; NULL: there is none */
    const char *option;          /* that names the address, for errors; NULL: --listen */
};

/* Binds and listens at each address of the settled list. Where the predecessor listens at the same
 * one its sockets are shared, so that no client that waits at them is cut. Where its address
 * overlaps with a new one, both listen until the old one is closed: the more special address comes
 * first. False with one line in error: cause and fix. Closed by listeners_close. */
bool listeners_open(struct listeners *listeners, const struct endpoints *endpoints,
                    const struct listener_plan *plan, struct error *error);

/* Takes over count sockets that are there and listen, and makes a set of those that are bound to
 * the same address. False with one line in error: one of them is no listening TCP socket, or there
 * are too many addresses; all are closed then. */
bool listeners_adopt(struct listeners *listeners, const int *fds, size_t count,
                     struct error *error);

/* The same sockets once more, with descriptors of their own. False with errno set. */
bool listeners_share(struct listeners *listeners, const struct listeners *other);

void listeners_close(struct listeners *listeners);

/* Opens one set of sockets, whatever the plan's predecessor has. As listeners_open. */
bool listener_open(struct listener *listener, const struct endpoint *endpoint,
                   const struct listener_plan *plan, struct error *error);
void listener_close(struct listener *listener);

/* The socket that event loop number index takes connections from. */
int listener_fd(const struct listener *listener, size_t index);

/* The set with that id; NULL: not among these. */
const struct listener *listeners_find(const struct listeners *listeners, uint32_t id);

/* Whether only this machine can reach it: every socket is bound to a loopback address (127.0.0.0/8
 * or ::1). False also when there is none. */
bool listeners_are_loopback(const struct listeners *listeners);

enum listener_health {
    LISTENER_SOUND,
    LISTENER_MENDED, /* the sockets are again what they should be */
    LISTENER_RENEWED /* they are new: a process that has the old ones serves nobody any more */
};

/* Looks whether a process that shares the sockets of one address has shut them down or changed what
 * they are like, and mends it: with new sockets and a new id where nothing else helps, or
 * (distrusts) at once. what, if they were not sound, tells why: "the listening socket of *:80 was
 * shut down". False with one line in error: it could not be mended. */
bool listeners_check(struct listeners *listeners, size_t index, bool distrusts,
                     enum listener_health *health, struct error *what, struct error *error);

/* "127.0.0.1:8080, [::1]:8080": as bound. */
void listeners_format(const struct listeners *listeners, char *out, size_t bytes);

#endif
