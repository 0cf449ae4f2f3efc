#include "server/threadpool/spare_threads.h"

#include "common/base/check.h"

void spare_threads_open(struct spare_threads *spares, struct worker_slot *process_slots,
                        uint32_t first, uint32_t end)
{
    CHECK(first <= end);
    spares->orders = process_slots;
    spares->places = end - first;
    atomic_init(&spares->running, 0);
    for (uint32_t i = first; i < end; i++) {
        slot_set_state(&process_slots[i], SLOT_SPARE);
    }
}

static uint32_t wanted(const struct spare_threads *spares)
{
    return atomic_load(&spares->orders->spares_wanted);
}

bool spare_threads_may_start(struct spare_threads *spares)
{
    uint32_t running = atomic_load(&spares->running);
    while (running < wanted(spares)) {
        if (atomic_compare_exchange_weak(&spares->running, &running, running + 1)) {
            CHECK(running < spares->places); /* whoever asks has one that is empty */
            return true;
        }
    }
    return false;
}

bool spare_threads_may_end(struct spare_threads *spares)
{
    uint32_t running = atomic_load(&spares->running);
    while (running > wanted(spares)) {
        if (atomic_compare_exchange_weak(&spares->running, &running, running - 1)) {
            return true;
        }
    }
    return false;
}

void spare_threads_failed(struct spare_threads *spares)
{
    uint32_t before = atomic_fetch_sub(&spares->running, 1);
    CHECK(before > 0);
}
