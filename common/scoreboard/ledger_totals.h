/* What all processes have counted, as plain numbers: whoever has a copy may do with it what it
 * likes. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_LEDGER_TOTALS_H
#define TWINHTTPD_COMMON_SCOREBOARD_LEDGER_TOTALS_H

#include "common/scoreboard/counter_sums.h"

#include <stdint.h>

enum {
    LEDGER_SIGNALS = 65,         /* from 1 on; 0: the process exited */
    LEDGER_RECOVERY_BOUNDS = 20, /* 128 us, and then always twice as much: up to 67 s */
    LEDGER_RECOVERY_FIRST_US = 128
};

/* How long successors took until they were ready. */
struct recovery_totals {
    uint64_t of[LEDGER_RECOVERY_BOUNDS +
                1]; /* above the bound before, up to this one; the last: longer */
    uint64_t sum_us;
};

/* What the master knows of all that have ended. */
struct ledger_totals {
    uint64_t death_sequence; /* of the scoreboard, as of when this was true */
    struct counter_sums dead;
    uint64_t deaths;
    uint64_t requests_lost;
    uint64_t in_progress_lost; /* of these */
    uint64_t stuck_incidents;
    uint64_t stuck_records; /* told so far */
    uint64_t deaths_by_signal[LEDGER_SIGNALS];
    struct recovery_totals recoveries;
};

/* The bucket of recovery_totals for a duration. */
static inline uint32_t ledger_recovery_bucket(uint64_t recovery_us)
{
    uint32_t bucket = 0;
    while (bucket < LEDGER_RECOVERY_BOUNDS && recovery_us > (uint64_t)LEDGER_RECOVERY_FIRST_US
                                                                << bucket) {
        bucket++;
    }
    return bucket;
}

#endif
