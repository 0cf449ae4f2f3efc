/* The phases of a master, and what may follow on what. A master that has handed over may serve
 * again (its successor has failed its trial); one that drains or stops never does. */
#include "server/master/master_internal.h"

#include "common/base/check.h"

#define PHASE(phase) (1U << (phase))

static const unsigned followers[] = {
    [MASTER_STARTING] = PHASE(MASTER_RUNNING) | PHASE(MASTER_STOPPING),
    [MASTER_RUNNING] = PHASE(MASTER_HANDED_OVER) | PHASE(MASTER_DRAINING) | PHASE(MASTER_STOPPING),
    [MASTER_HANDED_OVER] = PHASE(MASTER_RUNNING) | PHASE(MASTER_STOPPING),
    [MASTER_DRAINING] = PHASE(MASTER_STOPPING),
    [MASTER_STOPPING] = 0,
};

void phase_enter(struct master *master, enum master_phase phase)
{
    CHECK((followers[master->phase] & PHASE(phase)) != 0);
    master->phase = phase;
}

bool phase_is_ending(const struct master *master)
{
    return master->phase == MASTER_DRAINING || master->phase == MASTER_STOPPING;
}

bool phase_starts_processes(const struct master *master)
{
    return master->phase == MASTER_STARTING || master->phase == MASTER_RUNNING;
}
