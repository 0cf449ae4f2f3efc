#include "common/base/shared_cell.h"

#include "common/base/log.h"

#include <errno.h>
#include <string.h>

int shared_cell_init(struct shared_cell *cell, enum shared_cell_reach reach)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (error != 0) {
        return error;
    }
    if (reach == SHARED_CELL_PROCESSES) {
        error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        if (error == 0) {
            error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        }
    }
    if (error == 0) {
        error = pthread_mutex_init(&cell->mutex, &attributes);
    }
    atomic_init(&cell->value, 0);
    pthread_mutexattr_destroy(&attributes);
    return error;
}

int shared_cell_lock(struct shared_cell *cell)
{
    int error = pthread_mutex_lock(&cell->mutex);
    if (error == EOWNERDEAD) {
        log_write(LOG_WARN, "the owner of a shared lock died while it held it: lock recovered");
        error = pthread_mutex_consistent(&cell->mutex);
    }
    return error;
}

void shared_cell_unlock(struct shared_cell *cell)
{
    pthread_mutex_unlock(&cell->mutex);
}
