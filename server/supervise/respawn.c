#include "server/supervise/respawn.h"

uint64_t respawn_delay_ms(struct respawn *respawn, uint64_t lived_ms)
{
    if (lived_ms > RESPAWN_LONG_LIFE_MS) {
        respawn->quick_deaths = 0;
    }
    if (lived_ms > RESPAWN_QUICK_DEATH_MS) {
        return 0;
    }
    respawn->quick_deaths++;
    if (respawn->quick_deaths <= RESPAWN_FREE_DEATHS) {
        return 0;
    }
    uint64_t delay_ms = RESPAWN_FIRST_DELAY_MS;
    for (unsigned i = RESPAWN_FREE_DEATHS + 1;
         i < respawn->quick_deaths && delay_ms < RESPAWN_LONGEST_DELAY_MS; i++) {
        delay_ms *= 2;
    }
    return delay_ms < RESPAWN_LONGEST_DELAY_MS ? delay_ms : RESPAWN_LONGEST_DELAY_MS;
}
