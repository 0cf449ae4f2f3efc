/* An estate from inside: estate.c is the master's side and the moving in, estate_adopt.c goes on
 * with connections. */
#ifndef TWINHTTPD_SERVER_ADOPTION_ESTATE_INTERNAL_H
#define TWINHTTPD_SERVER_ADOPTION_ESTATE_INTERNAL_H

#include "server/adoption/estate.h"
#include "server/adoption/keeper.h"

#include <pthread.h>

enum { ESTATE_KEEPERS = 8 }; /* processes that may die one after the other while they move in */

struct estate_keeper {
    struct keeper_pair pair;
    uint32_t generation; /* of the process whose descriptors it keeps */
};

struct estate {
    uint32_t loops;
    size_t connections;
    size_t loop_bytes; /* of each loop's area in the memory */
    int memory_fd;
    bool crashed; /* the last process that died did so of its own doing */
    struct estate_keeper keepers[ESTATE_KEEPERS]; /* the last one is that of the present process */
    size_t keeper_count;
    /* In the process alone. */
    char *memory;
    struct durable **open; /* one for each loop */
    pthread_mutex_t lock;  /* of the keepers, who answer one at a time */
};

#endif
