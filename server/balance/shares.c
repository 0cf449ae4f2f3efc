#include "server/balance/shares.h"

#include "common/base/check.h"

enum {
    SLACK_CONNECTIONS = 4, /* more than the least loaded one, and an eighth on top */
    SLACK_PART = 8,
    ALIVE_MS = 500 /* a loop with an older heartbeat cannot be relied on to take its share */
};

/* Shared memory may hold any number: a lower one, so that sums do not overflow. */
static uint64_t at_most_all(uint64_t connections)
{
    return connections < UINT32_MAX ? connections : UINT32_MAX;
}

static uint64_t open_of(const struct worker_slot *slot)
{
    return at_most_all(atomic_load_explicit(&slot->connections_open, memory_order_relaxed));
}

static uint64_t in_use_of(const struct worker_slot *slot)
{
    uint64_t open = open_of(slot);
    uint64_t idle = atomic_load_explicit(&slot->connections_idle, memory_order_relaxed);
    return open > idle ? open - idle : 0;
}

static bool is_loop(const struct worker_slot *slot)
{
    return atomic_load_explicit(&slot->role, memory_order_relaxed) == SLOT_LOOP;
}

static uint64_t heartbeat_ms_of(const struct worker_slot *slot)
{
    return atomic_load_explicit(&slot->heartbeat_ms, memory_order_relaxed);
}

static bool is_clearly_more(uint64_t own, uint64_t other)
{
    return own > other + other / SLACK_PART + SLACK_CONNECTIONS;
}

uint32_t shares_neighbours(const struct scoreboard *scoreboard, uint32_t slot_index,
                           uint32_t neighbours[SHARES_NEIGHBOURS])
{
    uint32_t slots = scoreboard_slot_count(scoreboard);
    uint32_t count = 0;
    for (uint32_t i = 1; i < slots && i <= SHARES_REACH && count < SHARES_NEIGHBOURS; i++) {
        uint32_t other = (slot_index + i) % slots;
        if (is_loop(&scoreboard->slots[other])) {
            neighbours[count++] = other;
        }
    }
    return count;
}

bool shares_is_taking(const struct scoreboard *scoreboard, uint32_t slot_index, uint64_t now_ms)
{
    const struct worker_slot *slot = &scoreboard->slots[slot_index];
    return is_loop(slot) &&
           atomic_load_explicit(&slot->state, memory_order_relaxed) == SLOT_READY &&
           !atomic_load_explicit(&slot->draining, memory_order_relaxed) &&
           heartbeat_ms_of(slot) + ALIVE_MS >= now_ms;
}

bool shares_may_accept(const void *data, uint32_t slot_index)
{
    const struct scoreboard *scoreboard = data;
    const struct worker_slot *own = &scoreboard->slots[slot_index];
    uint64_t now_ms = heartbeat_ms_of(own);
    uint64_t own_open = open_of(own);
    uint32_t neighbours[SHARES_NEIGHBOURS];
    uint32_t count = shares_neighbours(scoreboard, slot_index, neighbours);
    for (uint32_t i = 0; i < count; i++) {
        if (is_clearly_more(own_open, open_of(&scoreboard->slots[neighbours[i]])) &&
            shares_is_taking(scoreboard, neighbours[i], now_ms)) {
            return false;
        }
    }
    return true;
}

/* Fills in the neighbours that take connections, and how many each has in use; returns their
 * number. */
static size_t find_takers(const struct scoreboard *scoreboard, uint32_t slot_index,
                          struct share takers[SHARES_NEIGHBOURS])
{
    uint64_t now_ms = heartbeat_ms_of(&scoreboard->slots[slot_index]);
    uint32_t neighbours[SHARES_NEIGHBOURS];
    uint32_t neighbour_count = shares_neighbours(scoreboard, slot_index, neighbours);
    size_t count = 0;
    for (uint32_t i = 0; i < neighbour_count; i++) {
        uint32_t other = neighbours[i];
        if (shares_is_taking(scoreboard, other, now_ms)) {
            takers[count++] = (struct share){other, in_use_of(&scoreboard->slots[other])};
        }
    }
    return count;
}

/* Rounded up, so that no rounding makes the surpluses larger than what is lacking. */
static uint64_t fair_number(uint64_t own, const struct share *takers, size_t count)
{
    uint64_t sum = own;
    for (size_t i = 0; i < count; i++) {
        sum += takers[i].connections;
    }
    return (sum + count) / (count + 1);
}

static uint64_t lack(const struct share *taker, uint64_t fair)
{
    return taker->connections < fair ? fair - taker->connections : 0;
}

static uint64_t lack_of_all(const struct share *takers, size_t count, uint64_t fair)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += lack(&takers[i], fair);
    }
    return sum;
}

/* A loop divides its surplus among its neighbours in proportion to what each lacks. So all loops
 * together give a neighbour no more than it lacks. */
size_t shares_to_give(const struct scoreboard *scoreboard, uint32_t slot_index,
                      struct share shares[SHARES_NEIGHBOURS])
{
    struct share takers[SHARES_NEIGHBOURS];
    size_t taker_count = find_takers(scoreboard, slot_index, takers);
    uint64_t own = in_use_of(&scoreboard->slots[slot_index]);
    uint64_t fair = fair_number(own, takers, taker_count);
    uint64_t lacking = lack_of_all(takers, taker_count, fair);
    uint64_t surplus = own > fair ? own - fair : 0;
    size_t count = 0;
    /* What one has above the mean, the others lack. */
    CHECK(surplus == 0 || taker_count == 0 || lacking > 0);
    for (size_t i = 0; i < taker_count && surplus > 0; i++) {
        uint64_t part = surplus * lack(&takers[i], fair) / lacking;
        if (part > 0 && is_clearly_more(own, takers[i].connections)) {
            shares[count++] = (struct share){takers[i].slot_index, part};
        }
    }
    return count;
}
