/* What slots have counted, as plain numbers: whoever has a copy may do with it what it likes. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_COUNTER_SUMS_H
#define TWINHTTPD_COMMON_SCOREBOARD_COUNTER_SUMS_H

#include "common/scoreboard/adoption.h"
#include "common/scoreboard/slot.h"

#include <stddef.h>
#include <stdint.h>

struct json_writer;

/* Those of slots (struct slot_counters), in the same order. */
struct counter_sums {
    uint64_t requests_started;
    uint64_t requests_finished;
    uint64_t requests_aborted;
    uint64_t requests_handled;
    uint64_t bytes_sent;
    uint64_t connections_accepted;
    uint64_t connections_adopted;
    uint64_t connections_refused;
    uint64_t faults_recovered;
    struct adoption_counts adoption;
};
_Static_assert(sizeof(struct counter_sums) == sizeof(struct slot_counters) &&
                   offsetof(struct counter_sums, adoption) ==
                       offsetof(struct slot_counters, adoption),
               "one number for each counter");

/* No counter of one slot has more, and not every reader of JSON keeps larger numbers: what has is a
 * lie, and counts as nothing. */
#define COUNTER_MOST ((uint64_t)1 << 53)
static inline uint64_t counter_plausible(uint64_t count)
{
    return count < COUNTER_MOST ? count : 0;
}

/* Adds what one slot has counted. */
void counter_sums_add(struct counter_sums *sum, const struct slot_counters *counters);

/* Adds number by number, in structures of nothing but uint64_t. */
void counter_sums_add_numbers(void *sum, const void *numbers, size_t bytes);

/* As members of the object that is open, without what became of connections (adoption.h). */
void counter_sums_put_json(struct json_writer *json, const struct counter_sums *sums);

#endif
