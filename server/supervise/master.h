/* The master: holds the listening sockets, starts the serving processes, replaces those that die,
 * and acts on signals. It reads no byte that a client has sent, and runs one thread. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_MASTER_H
#define TWINHTTPD_SERVER_SUPERVISE_MASTER_H

#include "server/supervise/process.h"

/* Runs the server until it has stopped. announce is called once, when every process serves for the
 * first time. Returns the exit status. In a child process it does not return. */
int master_run(struct server *server, process_run_fn run, void (*announce)(struct server *server));

#endif
