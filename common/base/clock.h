/* Time. Monotonic for durations and deadlines, wall clock for dates. */
#ifndef TWINHTTPD_COMMON_BASE_CLOCK_H
#define TWINHTTPD_COMMON_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t clock_monotonic_ms(void);

/* Microseconds of CLOCK_MONOTONIC. */
uint64_t clock_monotonic_us(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_monotonic_ns(void);

/* Milliseconds of CLOCK_REALTIME since 1970. */
uint64_t clock_realtime_ms(void);

/* The time of that clock in so many milliseconds, for calls that wait until then. */
struct timespec clock_after(clockid_t clock, uint64_t ms);

/* "2026-11-21T01:02:03.456Z" and its NUL. */
enum { CLOCK_ISO8601_BYTES = 25 };

/* Renders a CLOCK_REALTIME time in UTC. */
void clock_format_iso8601(uint64_t realtime_ms, char out[CLOCK_ISO8601_BYTES]);

#endif
