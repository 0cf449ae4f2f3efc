/* The master: holds the listening sockets, starts the serving processes, replaces those that die,
 * and acts on signals. It reads no byte that a client has sent, and runs one thread.
 *
 * SIGTERM, SIGINT: stop. SIGQUIT: drain. SIGHUP: read the configuration again, and replace all
 * processes without a gap. SIGUSR1: open the logs again. SIGUSR2: hand over to a new program.
 * SIGTTIN, SIGTTOU: a process more, or less. The control socket (control.h) asks for the same. */
#ifndef TWINHTTPD_SERVER_MASTER_MASTER_H
#define TWINHTTPD_SERVER_MASTER_MASTER_H

#include "server/setup/server.h"

enum announcement {
    ANNOUNCE_SERVER,  /* every process serves for the first time */
    ANNOUNCE_OBSERVER /* a reload has changed where it is, or what it does */
};

/* Tells whoever has started the server. token is what commands to the observer take; NULL: it takes
 * none. It must not stay in memory, which processes inherit. */
typedef void (*announce_fn)(const struct server *server, const char *token, enum announcement what);

/* Runs the server until it has stopped. Returns the exit status. A reload replaces what is in
 * *server. In a child process it does not return. */
int master_run(struct server *server, const struct server_origin *origin, announce_fn announce);

#endif
