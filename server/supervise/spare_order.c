#include "server/supervise/spare_order.h"

#include "common/base/log.h"
#include "server/supervise/master_internal.h"

#include <signal.h>

/* The signal only wakes the process's main thread: the order stands in the scoreboard. Fewer need
 * no signal, since each spare thread looks for itself. */
static void order(const struct child *child, struct worker_slot *slot, uint32_t count)
{
    uint32_t before = atomic_exchange(&slot->spares_wanted, count);
    if (count == before) {
        return;
    }
    log_write(LOG_NOTICE,
              "watchdog: worker process %u (pid %d) is to have %u spare threads (of %u)",
              child->number, (int)child->pid, count, child->spare_count);
    if (count > before) {
        kill(child->pid, SIGWINCH);
    }
}

const char *spare_order(const struct master *master, const struct child *child)
{
    struct worker_slot *slots = &master->server->scoreboard->slots[child->first_slot];
    uint32_t stuck_loops = 0, stuck_in_pool = 0;
    for (uint32_t i = 0; i < child->slot_count; i++) {
        if (watchdog_is_stuck(&slots[i])) {
            *(atomic_load(&slots[i].role) == SLOT_POOL ? &stuck_in_pool : &stuck_loops) += 1;
        }
    }
    bool too_many = stuck_in_pool > child->spare_count;
    order(child, slots, too_many ? child->spare_count : stuck_in_pool);
    return stuck_loops > 0 ? "an event loop has no spare"
           : too_many      ? "there are no more spare threads"
                           : NULL;
}
