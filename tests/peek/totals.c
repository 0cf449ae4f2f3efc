#include "tests/peek/totals.h"

#include "common/base/check.h"
#include "common/scoreboard/scoreboard.h"

static void add(uint64_t *sum, const _Atomic uint64_t *counter)
{
    *sum += counter_plausible(atomic_load(counter));
}

static void add_slot(struct totals *totals, struct latency_copy *latency,
                     const struct worker_slot *slot)
{
    counter_sums_add(&totals->counters, &slot->counters);
    add(&totals->connections_open, &slot->connections_open);
    add(&totals->connections_busy, &slot->connections_busy);
    add(&totals->connections_idle, &slot->connections_idle);
    if (latency != NULL) {
        latency_add(latency, &slot->latency);
    }
}

/* Sums of all the dead may be larger than what one slot can have. */
static void read_dead(struct counter_sums *out, const struct slot_counters *dead)
{
    _Static_assert(sizeof(*out) == sizeof(*dead), "the same numbers in the same order");
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)(const void *)dead;
    uint64_t *to = (uint64_t *)(void *)out;
    for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++) {
        to[i] = atomic_load(&from[i]);
    }
}

static void copy_all(const struct scoreboard *scoreboard, struct totals *out,
                     struct latency_copy *latency)
{
    const uint32_t count = scoreboard_slot_count(scoreboard);
    CHECK(count <= scoreboard->slot_capacity);
    *out = (struct totals){.deaths = atomic_load(&scoreboard->deaths),
                           .stuck_incidents = atomic_load(&scoreboard->stuck_incidents)};
    read_dead(&out->counters, &scoreboard->dead);
    if (latency != NULL) {
        latency_read(&scoreboard->dead_latency, latency);
    }
    for (uint32_t i = 0; i < count; i++) {
        add_slot(out, latency, &scoreboard->slots[i]);
    }
    adoption_sum(scoreboard, &out->counters.adoption);
    const struct adoption_loss loss = adoption_loss(scoreboard);
    out->requests_lost = loss.requests;
    out->in_progress_lost = loss.in_progress;
}

bool totals_copy(const struct scoreboard *scoreboard, struct totals *out,
                 struct latency_copy *latency)
{
    enum { TRIES = 8 };
    for (int try = 0; try < TRIES; try++) {
        uint64_t before = atomic_load(&scoreboard->death_sequence);
        copy_all(scoreboard, out, latency);
        if (before % 2 == 0 && before == atomic_load(&scoreboard->death_sequence)) {
            return true;
        }
    }
    return false;
}
