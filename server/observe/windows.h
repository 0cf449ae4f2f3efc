/* How long requests and the turns of event loops took of late: of the server the last second, the
 * last 10 and the last 60, of a slot the last 10. Fed once a second; memory is there for slots that
 * are in use, about 23 KB each. */
#ifndef TWINHTTPD_SERVER_OBSERVE_WINDOWS_H
#define TWINHTTPD_SERVER_OBSERVE_WINDOWS_H

#include "common/scoreboard/latency.h"

#include <stdint.h>

enum { WINDOWS_SECONDS = 60, WINDOWS_SLOT_SECONDS = 10 };

enum windows_of { WINDOWS_REQUESTS, WINDOWS_TURNS, WINDOWS_KINDS };

/* What a window shows. Without a count the durations say nothing. */
struct window {
    uint64_t span_ms; /* how long it is; shorter at first; 0: there is none yet */
    uint64_t count;
    uint64_t mean_us, p50_us, p90_us, p99_us, p999_us, max_us;
};

struct windows;

/* For slots up to that number. Freed by windows_destroy. */
struct windows *windows_create(uint32_t slot_capacity);
void windows_destroy(struct windows *windows);

/* The next reading of the whole server. */
void windows_note(struct windows *windows, uint64_t now_ms, const struct latency_copy *sum);

/* The next reading of a slot, in which a process of that generation is; another one begins anew. */
void windows_note_slot(struct windows *windows, uint32_t slot, uint32_t generation, uint64_t now_ms,
                       const struct histogram_copy *requests);

/* Behind those of one reading: slots that were not in it are forgotten. */
void windows_forget_others(struct windows *windows, uint64_t now_ms);

/* The last so many seconds, up to WINDOWS_SECONDS. */
void windows_read(const struct windows *windows, enum windows_of kind, uint32_t seconds,
                  struct window *out);

/* The last WINDOWS_SLOT_SECONDS of a slot: reckoned once for each reading. NULL: nobody is there.
 */
const struct window *windows_slot(struct windows *windows, uint32_t slot);

/* What a histogram shows that was counted in so long. */
void window_of(const struct histogram_copy *histogram, uint64_t span_ms, struct window *out);

/* Of a window, in thousandths. */
uint64_t window_per_second(const struct window *window);

/* How much memory it has, in bytes. */
uint64_t windows_bytes(const struct windows *windows);

#endif
