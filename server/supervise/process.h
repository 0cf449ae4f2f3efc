/* One serving process: what a process model gets, and what every model builds from it. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_PROCESS_H
#define TWINHTTPD_SERVER_SUPERVISE_PROCESS_H

#include "common/handlers/handlers.h"
#include "common/net/listener.h"
#include "common/net/worker.h"
#include "server/supervise/plan.h"

/* Exit status of a process that could not begin to serve; its reason is in the log. */
enum { PROCESS_EXIT_BOOT_FAILED = 3 };

/* Made once, before the first fork; the same in all processes. */
struct server {
    const struct config *config;
    struct plan plan;
    struct scoreboard *scoreboard;
    struct listener listener;
    struct shared_cell *shared_cell; /* placed where the model's workers all see it */
    int root_fd;
    int access_log_fd; /* -1: off */
};

/* Of one process. */
struct process {
    const struct server *server;
    uint32_t number; /* 0 .. plan.processes - 1 */
    uint32_t generation;
    int signal_fd;             /* SIGTERM or SIGINT: stop now; SIGQUIT: drain */
    void (*ready)(void *data); /* to be called once, when every thread serves */
    void *ready_data;

    struct router *router; /* shared by the process's threads, immutable */
    struct handler_environment environment;
    struct shared_cell cell;
};

/* A process model: serves in the calling process until it is told to stop; returns the process's
 * exit status. */
typedef int (*process_run_fn)(struct process *process);

/* Makes what the threads share: router, handlers, cells. Undone by process_close. */
void process_open(struct process *process);
void process_close(struct process *process);

/* Moves the calling thread into one of the process's slots (0 .. slots_per_process - 1) and gives
 * it what handlers need. Undone by process_leave. */
void process_enter(struct process *process, uint32_t slot_in_process, enum slot_role role,
                   struct handler_context *context);
void process_leave(struct handler_context *context);

/* The worker (event loop) for the calling thread. NULL on failure, reported. */
struct worker *process_create_worker(struct process *process, struct handler_context *context,
                                     uint32_t loop, const struct worker_dispatch *dispatch);

/* What a process is told by signals; the later outweighs the earlier. */
enum process_order { PROCESS_SERVE, PROCESS_DRAIN, PROCESS_STOP };

/* Passes SIGTERM, SIGINT and SIGQUIT that wait in signal_fd on to the workers, and returns the
 * strongest of them. */
enum process_order process_pass_signals(struct process *process, struct worker **workers,
                                        size_t count);

#endif
