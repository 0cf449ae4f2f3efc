/* When a dead process is replaced: at once, unless it keeps dying right after it started. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_RESPAWN_H
#define TWINHTTPD_SERVER_SUPERVISE_RESPAWN_H

#include <stdint.h>

enum {
    RESPAWN_QUICK_DEATH_MS = 100, /* who lived no longer than this counts towards a crash loop */
    RESPAWN_LONG_LIFE_MS = 1000,  /* who lived longer ends it */
    RESPAWN_FREE_DEATHS = 3,      /* quick deaths in a row that are replaced at once */
    RESPAWN_FIRST_DELAY_MS = 100, /* then this, doubled with each death */
    RESPAWN_LONGEST_DELAY_MS = 5000
};

/* Zero-initialised: has not died yet. */
struct respawn {
    unsigned quick_deaths;
};

/* Notes a death and returns how long to wait before the replacement is started. */
uint64_t respawn_delay_ms(struct respawn *respawn, uint64_t lived_ms);

#endif
