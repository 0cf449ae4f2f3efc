/* The process model "threadpool": the process's main thread only directs; its threads serve.
 *
 * Connection dispatch: every thread runs an event loop, and a connection stays with its thread.
 * Request dispatch: a few threads run event loops and parse; each request is queued for one of the
 * pool threads, which runs its handler and hands the response back to the loop.
 *
 * One process with it is threadpool-server; several under one master are the hybrid. */
#ifndef TWINHTTPD_SERVER_THREADPOOL_THREADPOOL_H
#define TWINHTTPD_SERVER_THREADPOOL_THREADPOOL_H

#include "server/process/process.h"

int threadpool_run(struct process *process);

#endif
