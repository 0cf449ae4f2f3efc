#include "server/master/spare_order.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "server/master/master_internal.h"

#include <signal.h>

/* The signal only wakes the process's main thread: the order stands in the scoreboard. Fewer need
 * no signal, since each spare thread looks for itself. */
static void order(struct child *child, struct worker_slot *slot, uint32_t count)
{
    uint32_t before = child->spares_wanted;
    CHECK(count <= child->spare_count && before <= child->spare_count);
    child->spares_wanted = count;
    atomic_store(&slot->spares_wanted, count);
    if (count == before) {
        return;
    }
    log_write(LOG_NOTICE, "watchdog: process %u (pid %d) is to have %u spare threads (of %u)",
              child->number, (int)child->pid, count, child->spare_count);
    if (count > before) {
        kill(child->pid, SIGWINCH);
    }
}

const char *spare_order(const struct master *master, struct child *child)
{
    struct worker_slot *first = &master->server->scoreboard->slots[child->first_slot];
    uint32_t stuck_loops = 0, stuck_in_pool = 0;
    for (uint32_t i = 0; i < child->slot_count; i++) {
        if (watchdog_is_stuck(master, child->first_slot + i)) {
            *(i < child->loop_count ? &stuck_loops : &stuck_in_pool) += 1;
        }
    }
    CHECK(stuck_loops <= child->loop_count);
    CHECK(stuck_loops + stuck_in_pool <= child->slot_count);
    bool too_many = stuck_in_pool > child->spare_count;
    order(child, first, too_many ? child->spare_count : stuck_in_pool);
    return stuck_loops > 0 ? "an event loop has no spare"
           : too_many      ? "there are no more spare threads"
                           : NULL;
}
