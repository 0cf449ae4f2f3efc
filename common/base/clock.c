#include "common/base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ms(void)
{
    return clock_read_ns(CLOCK_MONOTONIC) / 1000000u;
}

uint64_t clock_monotonic_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_monotonic_us(void)
{
    return clock_read_ns(CLOCK_MONOTONIC) / 1000u;
}

uint64_t clock_realtime_ms(void)
{
    return clock_read_ns(CLOCK_REALTIME) / 1000000u;
}

struct timespec clock_after(clockid_t clock, uint64_t ms)
{
    struct timespec until;
    clock_gettime(clock, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

void clock_format_iso8601(uint64_t realtime_ms, char out[CLOCK_ISO8601_BYTES])
{
    time_t seconds = (time_t)(realtime_ms / 1000u);
    struct tm utc = {0};
    if (gmtime_r(&seconds, &utc) == NULL) { /* a year that no int can hold */
        gmtime_r(&(time_t){0}, &utc);
    }
    size_t used = strftime(out, CLOCK_ISO8601_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + used, CLOCK_ISO8601_BYTES - used, ".%03uZ", (unsigned)(realtime_ms % 1000u));
}
