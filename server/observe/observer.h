/* The observer: a process of its own that tells what the server does. The master forks it, as it
 * does serving processes, but it has no seat and no slot, and clients never wait for it: whatever
 * becomes of it, the server goes on; and whatever becomes of the workers, it answers.
 *
 * It is an ordinary event loop of common/net with routes of its own. A file beside this one has one
 * subject, and registers its routes in NAME_register, as handlers do (common/handlers/handlers.h).
 */
#ifndef TWINHTTPD_SERVER_OBSERVE_OBSERVER_H
#define TWINHTTPD_SERVER_OBSERVE_OBSERVER_H

#include "common/http/router.h"
#include "server/observe/bulletin.h"
#include "server/setup/server.h"

struct carried;
struct event_base;
struct petitions;
struct sampler;

enum {
    OBSERVER_CONNECTIONS = 256, /* whose requests are answered; what is detached does not count */
    OBSERVER_DETACHED = 128,    /* at most: descriptors are there for so many */
    OBSERVER_BOOT_BYTES = 17,   /* 64 bits in hexadecimal */
    OBSERVER_ROUTES_MOST = 16
};

/* A route behind the guard. */
struct observer_route {
    const struct observer_environment *environment;
    handler_fn handler;
    void *data;
};

/* What the observer's handlers share; all of it belongs to its one thread, and lives as long as the
 * process. */
struct observer_environment {
    const struct server *server; /* settings, plan, addresses; its descriptors are closed here */
    /* Read-only: a store there ends the process. Whatever stands in the shared part may be a rogue
     * worker's: copy, clamp (shared_copy.h, scoreboard_slot_count). */
    const struct scoreboard *scoreboard;
    const struct bulletin *bulletin;  /* the master's word */
    struct carried *carried;          /* what other programs have counted; NULL: nothing */
    struct bulletin_copy *last_heard; /* the last one that could be read */
    struct bulletin_copy *reading;    /* the next one, which may come to nothing */
    struct event_base *base;          /* for timers and streams; NULL while routes are registered */
    struct petitions *petitions;      /* to the master; NULL: it takes no commands */
    struct sampler *sampler;          /* made by whoever needs it; NULL at first */
    uint64_t started_ms;              /* CLOCK_MONOTONIC, of this observer */
    char boot[OBSERVER_BOOT_BYTES];   /* tells this observer from all others */
    struct observer_route routes[OBSERVER_ROUTES_MOST];
    size_t route_count;
};

/* Each file with routes. NAME stands for NAME_register, which is called before there is a base. */
#define OBSERVER_ROUTES(ROUTE)                                                                     \
    ROUTE(front)    /* /, /servers.json */                                                         \
    ROUTE(health)   /* /live, /ready */                                                            \
    ROUTE(commands) /* POST /api/v1/commands */                                                    \
    ROUTE(telling)  /* /api/v1/state, /metrics, /events */

#define OBSERVER_DECLARATION(name)                                                                 \
    void name##_register(struct router *router, struct observer_environment *environment);
OBSERVER_ROUTES(OBSERVER_DECLARATION)

/* Registers a route behind the guard (guard.h): the handler is only called for a request that no
 * page of another site can have made. What is answered is never cached. */
void observer_route(struct router *router, struct observer_environment *environment,
                    const struct route *route);

/* What the observer is started from. */
struct observer_start {
    struct server *server;     /* the process's own copy; its descriptors are closed */
    struct bulletin *bulletin; /* shared with it */
    struct carried *carried;   /* what other programs have counted; NULL: nothing */
    int petition_fd;           /* to the master; -1: no commands */
    pid_t master_pid;
};

/* In the process that the master has forked for it: confines it, and observes until it is told to
 * end (SIGTERM: at once; SIGUSR2: when who is connected has been answered, others go on), its
 * master dies, or the socket to that ends. Returns the exit status. */
int observer_run(const struct observer_start *start);

#endif
