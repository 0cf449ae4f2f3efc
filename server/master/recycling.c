#include "server/master/recycling.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/master/master_internal.h"
#include "server/master/proc.h"

#include <errno.h>
#include <stdio.h>

enum {
    INTERVAL_MS = 500,
    MEMORY_LOOKS = 4, /* of so many, one reads the memory: the kernel walks all pages for it */
    YOUNG_MS = 5000,  /* who is too large from the beginning would be replaced without end */
    REASON_BYTES = 96
};

uint64_t recycling_jitter(uint64_t limit, uint64_t chance)
{
    uint64_t reach = limit * RECYCLING_JITTER_PERCENT / 100;
    CHECK(reach < limit || limit == 0);
    return limit - chance % (reach + 1);
}

static bool is_on(const struct config *config)
{
    return config->recycle_after_requests != 0 || config->recycle_after_s != 0 ||
           config->recycle_above_pss_kib != 0;
}

static uint64_t count_requests(const struct master *master, const struct child *child)
{
    uint64_t count = 0;
    for (uint32_t i = child->first_slot; i < child->first_slot + child->slot_count; i++) {
        count += atomic_load(&master->server->scoreboard->slots[i].counters.requests_started);
    }
    return count;
}

static bool has_served_enough(const struct master *master, const struct child *child,
                              char reason[REASON_BYTES])
{
    uint64_t limit = master->server->config.recycle_after_requests;
    uint64_t served = count_requests(master, child);
    if (limit == 0 || served < recycling_jitter(limit, child->started_ns)) {
        return false;
    }
    snprintf(reason, REASON_BYTES, "it has served %llu requests", (unsigned long long)served);
    return true;
}

static uint64_t age_ms(const struct child *child)
{
    return (clock_monotonic_ns() - child->started_ns) / 1000000;
}

static bool is_old(const struct master *master, const struct child *child,
                   char reason[REASON_BYTES])
{
    uint64_t limit_ms = master->server->config.recycle_after_s * 1000;
    uint64_t lived_ms = age_ms(child);
    if (limit_ms == 0 || lived_ms < recycling_jitter(limit_ms, child->started_ns)) {
        return false;
    }
    snprintf(reason, REASON_BYTES, "it is %.1f s old", (double)lived_ms / 1000);
    return true;
}

static void tell_blindness(struct master *master, const struct child *child)
{
    if (!master->recycling.blind) {
        master->recycling.blind = true;
        log_write(LOG_WARN,
                  "cannot read /proc/%d/smaps_rollup: nobody is recycled by memory; let the master "
                  "be root, or the user of its workers",
                  (int)child->pid);
    }
}

static bool is_large(struct master *master, const struct child *child, char reason[REASON_BYTES])
{
    uint64_t limit_kib = master->server->config.recycle_above_pss_kib;
    if (limit_kib == 0 || master->recycling.looks % MEMORY_LOOKS != 0 || age_ms(child) < YOUNG_MS) {
        return false;
    }
    errno = 0;
    uint64_t kib = proc_pss_kib(child->pid);
    if (kib == 0 && errno != ESRCH) { /* else it has just ended */
        tell_blindness(master, child);
    }
    snprintf(reason, REASON_BYTES, "it has %llu KiB of memory", (unsigned long long)kib);
    return kib > limit_kib;
}

static void look_at(struct master *master, struct child *child)
{
    char reason[REASON_BYTES];
    CHECK(child->ready && !child->retiring);
    if ((has_served_enough(master, child, reason) || is_old(master, child, reason) ||
         is_large(master, child, reason)) &&
        rolling_request(master, child)) {
        log_write(LOG_NOTICE, "recycling process %u (pid %d, generation %u): %s", child->number,
                  (int)child->pid, child->generation, reason);
    }
}

void recycling_run(struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct child *child;
    if (!is_on(&master->server->config) || now_ms < master->recycling.due_ms) {
        return;
    }
    master->recycling.due_ms = now_ms + INTERVAL_MS;
    master->recycling.looks++;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->ready && !child->retiring) {
            look_at(master, child);
        }
    }
}

uint64_t recycling_due_ms(const struct master *master)
{
    return is_on(&master->server->config) ? master->recycling.due_ms : 0;
}
