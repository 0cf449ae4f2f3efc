#include "server/master/respawn.h"

#include "common/base/check.h"

static uint64_t undisturbed_delay_ms(unsigned quick_deaths)
{
    uint64_t delay_ms = RESPAWN_FIRST_DELAY_MS;
    for (unsigned i = RESPAWN_FREE_DEATHS + 1;
         i < quick_deaths && delay_ms < RESPAWN_LONGEST_DELAY_MS; i++) {
        delay_ms *= 2;
    }
    return delay_ms < RESPAWN_LONGEST_DELAY_MS ? delay_ms : RESPAWN_LONGEST_DELAY_MS;
}

static uint64_t with_jitter(uint64_t delay_ms, uint64_t chance)
{
    uint64_t reach_ms = delay_ms * RESPAWN_JITTER_PERCENT / 100;
    CHECK(delay_ms >= RESPAWN_FIRST_DELAY_MS && delay_ms <= RESPAWN_LONGEST_DELAY_MS);
    return delay_ms - reach_ms + chance % (2 * reach_ms + 1);
}

uint64_t respawn_delay_ms(struct respawn *respawn, uint64_t lived_ms, uint64_t now_ms,
                          uint64_t chance)
{
    CHECK(now_ms >= respawn->last_quick_ms);
    CHECK(respawn->quick_deaths == 0 || respawn->last_quick_ms != 0);
    if (now_ms - respawn->last_quick_ms >= RESPAWN_QUIET_MS) {
        respawn->quick_deaths = 0;
    }
    if (lived_ms > RESPAWN_QUICK_DEATH_MS) {
        return 0;
    }
    respawn->quick_deaths++;
    respawn->last_quick_ms = now_ms;
    if (respawn->quick_deaths <= RESPAWN_FREE_DEATHS) {
        return 0;
    }
    return with_jitter(undisturbed_delay_ms(respawn->quick_deaths), chance);
}
