/* A counter with its locks, offered to handlers by the process model, which alone decides where it
 * lies (shared mapping or heap) and whether its locks work between processes.
 *
 * Two locks guard the same counter, to show the difference. Between processes the first is robust:
 * if its owner dies, the next one gets it and is told. The second is not: if its owner dies, it
 * stays locked for ever, and whoever asks for it hangs. Nothing but experiments should use it. */
#ifndef TWINHTTPD_COMMON_BASE_SHARED_CELL_H
#define TWINHTTPD_COMMON_BASE_SHARED_CELL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct shared_cell {
    pthread_mutex_t mutex;
    pthread_mutex_t fragile_mutex;
    _Atomic uint64_t value;
    _Atomic uint64_t recoveries; /* of the mutex from dead owners */
};

enum shared_cell_reach {
    SHARED_CELL_THREADS,  /* the threads of one process */
    SHARED_CELL_PROCESSES /* all processes that map the memory; the mutex survives a dead owner */
};

/* Prepares the cell in memory that the caller owns. 0, or an error number. */
int shared_cell_init(struct shared_cell *cell, enum shared_cell_reach reach);

/* Takes the lock; a lock whose owner died is made consistent and taken over (the value is a single
 * word, so it can not be half-written). 0, or an error number with the lock not held. */
int shared_cell_lock(struct shared_cell *cell);
void shared_cell_unlock(struct shared_cell *cell);

/* The lock that does not survive a dead owner: may never return. 0, or an error number. */
int shared_cell_lock_fragile(struct shared_cell *cell);
void shared_cell_unlock_fragile(struct shared_cell *cell);

#endif
