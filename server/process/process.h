/* One serving process: what a process model gets, and what every model builds from it. */
#ifndef TWINHTTPD_SERVER_PROCESS_PROCESS_H
#define TWINHTTPD_SERVER_PROCESS_PROCESS_H

#include "common/handlers/handlers.h"
#include "common/net/worker.h"
#include "server/adoption/estate.h"
#include "server/setup/server.h"

/* Exit status of a process that could not begin to serve; its reason is in the log. */
enum { PROCESS_EXIT_BOOT_FAILED = 3 };

/* Of one process. */
/* The bits of so many listeners. */
#define PROCESS_LISTENERS(count) ((uint32_t)((UINT64_C(1) << (count)) - 1))

struct process {
    const struct server *server;
    uint32_t
        number; /* which of the server's processes; its predecessor and successor have the same */
    uint32_t first_slot; /* of plan.slots_per_process in the scoreboard */
    uint32_t generation;
    _Atomic uint32_t given_up; /* listeners that nobody serves at after this process: a bit each */
    int signal_fd;             /* what process_pass_signals reads */
    struct estate *estate;     /* what it leaves to its successor; NULL: nothing */
    void (*ready)(void *data); /* to be called once, when every thread serves */
    void *ready_data;

    struct router *router; /* shared by the process's threads, immutable */
    struct handler_environment environment;
    struct shared_cell cell;
};

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

/* Logs a crash without the master's help: with the names of the functions, unless a filter of
 * system calls keeps it from starting the process that looks them up. */
void process_tell_crash(const struct process *process, const struct crash_story *story);

/* What a process is told by signals; the later outweighs the earlier. */
enum process_order { PROCESS_SERVE, PROCESS_RETIRE, PROCESS_DRAIN, PROCESS_STOP };

/* Does what the signals that wait in signal_fd ask for, passes orders on to the workers, and
 * returns the strongest of them. SIGTERM, SIGINT: stop at once. SIGQUIT: drain, the server ends.
 * SIGUSR2: retire, others go on. SIGUSR1: open the logs again. SIGWINCH: nothing but
 * that a thread pool looks how many spare threads are wanted. */
enum process_order process_pass_signals(struct process *process, struct worker **workers,
                                        size_t count);

#endif
