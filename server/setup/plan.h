/* How many of what a configuration means on this machine. */
#ifndef TWINHTTPD_SERVER_SETUP_PLAN_H
#define TWINHTTPD_SERVER_SETUP_PLAN_H

#include "common/base/error.h"
#include "common/config/config.h"

#include <stddef.h>
#include <stdint.h>

enum plan_model {
    PLAN_PREFORK,    /* processes of one thread */
    PLAN_THREADPOOL, /* one process of threads */
    PLAN_HYBRID      /* processes of threads */
};

struct plan {
    enum plan_model model;
    const char *dispatch; /* "connection" or "request"; "" without threads */
    uint32_t processes;
    uint32_t loops;         /* event loops in each process */
    uint32_t pool_threads;  /* beside the loops in each process; 0: handlers run on the loops */
    uint32_t spare_threads; /* that may join the pool of each process */
    uint32_t slots_per_process;
    uint32_t slot_capacity;    /* for all processes, their successors beside them, and some more */
    uint64_t max_connections;  /* for each loop */
    size_t file_cache_entries; /* for each thread that runs handlers */
    uint64_t descriptors;      /* in a process, when all of these are in use */
};

/* Takes what is left open from the number of CPUs, and divides the descriptors that each process
 * may have (raising the soft limit to the hard one). False with one line in error when they do not
 * suffice. */
bool plan_make(struct plan *plan, const struct config *config, enum config_server server,
               struct error *error);

/* "prefork", "threadpool" or "hybrid" */
const char *plan_model_name(enum plan_model model);

/* "2 workers x 4 threads, connection dispatch": for the line that announces the server. */
void plan_describe(const struct plan *plan, char *out, size_t bytes);

#endif
