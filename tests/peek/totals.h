/* What the server has counted in all, the dead and the living: plain numbers, for readers.
 *
 * When a process has ended, the master moves what stands in its slots into the sums of the dead. A
 * reader who copied some of it before and some after would count it twice or not at all; so the
 * master tells by a sequence when it does that (death_sequence). */
#ifndef TWINHTTPD_TESTS_PEEK_TOTALS_H
#define TWINHTTPD_TESTS_PEEK_TOTALS_H

#include "common/scoreboard/counter_sums.h"
#include "common/scoreboard/latency.h"

#include <stdbool.h>
#include <stdint.h>

struct scoreboard;

struct totals {
    struct counter_sums counters;
    uint64_t deaths;
    uint64_t requests_lost;
    uint64_t in_progress_lost; /* of these, the ones that had been started */
    uint64_t stuck_incidents;
    /* Gauges, of the living. */
    uint64_t connections_open;
    uint64_t connections_busy;
    uint64_t connections_idle;
};

/* Copies the sums of all; latency may be NULL. False: the master was moving counts at every try,
 * and what it moved may be missing in out, or there twice: ask again later. */
bool totals_copy(const struct scoreboard *scoreboard, struct totals *out,
                 struct latency_copy *latency);

#endif
