/* The master: holds the listening sockets, starts the serving processes, replaces those that die,
 * and acts on signals. It reads no byte that a client has sent, and runs one thread.
 *
 * SIGTERM, SIGINT: stop. SIGQUIT: drain. SIGHUP: read the configuration again, and replace all
 * processes without a gap. SIGUSR1: open the logs again. SIGUSR2: hand over to a new program.
 * SIGTTIN, SIGTTOU: a process more, or less. The control socket (control.h) asks for the same. */
#ifndef TWINHTTPD_SERVER_MASTER_MASTER_H
#define TWINHTTPD_SERVER_MASTER_MASTER_H

#include "server/setup/server.h"

/* Runs the server until it has stopped. announce is called once, when every process serves for the
 * first time. Returns the exit status. A reload replaces what is in *server. In a child process it
 * does not return. */
int master_run(struct server *server, const struct server_origin *origin,
               void (*announce)(const struct server *server));

#endif
