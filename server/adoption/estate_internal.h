/* An estate from inside: estate.c is the master's side and the moving in, estate_adopt.c goes on
 * with connections, estate_scan.c finds those that no record tells of. */
#ifndef TWINHTTPD_SERVER_ADOPTION_ESTATE_INTERNAL_H
#define TWINHTTPD_SERVER_ADOPTION_ESTATE_INTERNAL_H

#include "server/adoption/estate.h"
#include "server/adoption/keeper.h"

#include <pthread.h>

#include "common/net/durable.h"

enum { ESTATE_KEEPERS = 32 }; /* processes that may die one after the other while they move in */

struct estate_keeper {
    struct keeper_pair pair;
    uint32_t generation; /* of the process whose descriptors it keeps */
};

/* A socket that a predecessor of a loop was just being given. */
struct estate_found {
    int fd; /* -1: there is none */
    struct durable_expected expected;
};

struct estate {
    uint32_t loops;
    size_t connections;
    size_t loop_bytes; /* of each loop's area in the memory */
    int memory_fd;
    struct worker_end end; /* of the last process that died */
    uint32_t unexplained;  /* ends of processes, in a row, of their own doing and by no request's */
    struct estate_keeper keepers[ESTATE_KEEPERS]; /* the last one is that of the present process */
    size_t keeper_count;
    /* In the process alone. */
    pid_t keeper_pid;
    char *memory;
    struct durable **open;             /* one for each loop */
    struct durable_lines **open_lines; /* one for each loop */
    struct estate_found *found;        /* one for each loop */
    pthread_mutex_t lock;              /* of the keepers, who answer one at a time */
    pthread_mutex_t log_turn;          /* of the loops, who write the access log one at a time */
};

/* Looks for what the dead were just being given. */
void estate_scan(struct estate *estate);

#endif
