#include "server/supervise/balance.h"

enum {
    NEIGHBOURS = 16,
    SLACK_CONNECTIONS = 4, /* more than the least loaded one, and an eighth on top */
    SLACK_PART = 8,
    ALIVE_MS = 500 /* whose heartbeat is older cannot be relied on to take its share */
};

static bool is_taking_connections(const struct worker_slot *slot, uint64_t now_ms)
{
    return atomic_load_explicit(&slot->role, memory_order_relaxed) == SLOT_LOOP &&
           atomic_load_explicit(&slot->state, memory_order_relaxed) == SLOT_READY &&
           atomic_load_explicit(&slot->heartbeat_ms, memory_order_relaxed) + ALIVE_MS >= now_ms;
}

bool balance_may_accept(const struct scoreboard *scoreboard, uint32_t slot_index)
{
    const struct worker_slot *own = &scoreboard->slots[slot_index];
    uint64_t now_ms = atomic_load_explicit(&own->heartbeat_ms, memory_order_relaxed);
    uint64_t own_open = atomic_load_explicit(&own->connections_open, memory_order_relaxed);
    uint32_t count = atomic_load_explicit(&scoreboard->slot_count, memory_order_relaxed);
    for (uint32_t i = 1; i < count && i <= NEIGHBOURS; i++) {
        const struct worker_slot *other = &scoreboard->slots[(slot_index + i) % count];
        uint64_t open = atomic_load_explicit(&other->connections_open, memory_order_relaxed);
        if (own_open > open + open / SLACK_PART + SLACK_CONNECTIONS &&
            is_taking_connections(other, now_ms)) {
            return false;
        }
    }
    return true;
}
