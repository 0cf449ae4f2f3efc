/* The process model "prefork": a worker process is one thread with one event loop, and handlers run
 * on it. */
#ifndef TWINHTTPD_SERVER_PREFORK_PREFORK_H
#define TWINHTTPD_SERVER_PREFORK_PREFORK_H

#include "server/process/process.h"

int prefork_run(struct process *process);

#endif
