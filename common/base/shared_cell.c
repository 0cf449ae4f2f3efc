#include "common/base/shared_cell.h"

#include "common/base/log.h"

#include <errno.h>
#include <string.h>

static int init_mutex(pthread_mutex_t *mutex, enum shared_cell_reach reach, bool robust)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (error != 0) {
        return error;
    }
    if (reach == SHARED_CELL_PROCESSES) {
        error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        if (error == 0 && robust) {
            error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        }
    }
    if (error == 0) {
        error = pthread_mutex_init(mutex, &attributes);
    }
    pthread_mutexattr_destroy(&attributes);
    return error;
}

int shared_cell_init(struct shared_cell *cell, enum shared_cell_reach reach)
{
    atomic_init(&cell->value, 0);
    atomic_init(&cell->recoveries, 0);
    int error = init_mutex(&cell->mutex, reach, true);
    return error != 0 ? error : init_mutex(&cell->fragile_mutex, reach, false);
}

int shared_cell_lock(struct shared_cell *cell)
{
    int error = pthread_mutex_lock(&cell->mutex);
    if (error == EOWNERDEAD) {
        log_write(LOG_WARN, "the owner of a shared lock died while it held it: lock recovered");
        atomic_fetch_add(&cell->recoveries, 1);
        error = pthread_mutex_consistent(&cell->mutex);
    }
    return error;
}

void shared_cell_unlock(struct shared_cell *cell)
{
    pthread_mutex_unlock(&cell->mutex);
}

int shared_cell_lock_fragile(struct shared_cell *cell)
{
    return pthread_mutex_lock(&cell->fragile_mutex);
}

void shared_cell_unlock_fragile(struct shared_cell *cell)
{
    pthread_mutex_unlock(&cell->fragile_mutex);
}
