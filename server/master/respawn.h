/* When a dead process is replaced: at once, unless it keeps dying right after it started. */
#ifndef TWINHTTPD_SERVER_MASTER_RESPAWN_H
#define TWINHTTPD_SERVER_MASTER_RESPAWN_H

#include <stdint.h>

enum {
    RESPAWN_QUICK_DEATH_MS = 100, /* who lived no longer than this counts towards a crash loop */
    RESPAWN_QUIET_MS = 60000,     /* without a quick death for so long: the loop is over */
    RESPAWN_FREE_DEATHS = 3,      /* quick deaths that are replaced at once */
    RESPAWN_FIRST_DELAY_MS = 100, /* then this, doubled with each death */
    RESPAWN_LONGEST_DELAY_MS = 5000,
    RESPAWN_JITTER_PERCENT = 20 /* more or less, so that many do not start at the same moment */
};

/* Zero-initialised: has not died yet. */
struct respawn {
    unsigned quick_deaths;
    uint64_t last_quick_ms;
};

/* Notes a death at now_ms and returns how long to wait before the replacement is started. chance is
 * any number: it decides the jitter. */
uint64_t respawn_delay_ms(struct respawn *respawn, uint64_t lived_ms, uint64_t now_ms,
                          uint64_t chance);

#endif
