/* How long requests take, and how long the turns of an event loop do: a histogram each in the slot
 * of the loop's thread, which alone writes there.
 *
 * A request's duration begins when its first byte is read and ends when the last byte of its answer
 * has been given to the kernel; of one that was taken over from a dead process it begins with that.
 * What is aborted has none, so there are as many as requests_finished, except that a process may
 * die between the two. Pool threads count nothing here: their requests are their loop's.
 *
 * A turn lasts from the first event that a loop looks at to the moment in which it waits again:
 * meanwhile it looks at no other connection. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_LATENCY_H
#define TWINHTTPD_COMMON_SCOREBOARD_LATENCY_H

#include "common/base/histogram.h"

#include <stdalign.h>

/* In a slot, and of all the dead together. */
struct latency {
    alignas(64) struct histogram requests;
    alignas(64) struct histogram turns;
};

/* As a reader holds it. Zeroed is empty. */
struct latency_copy {
    struct histogram_copy requests;
    struct histogram_copy turns;
};

/* Copies both while their writer goes on; clamped (histogram.h). */
void latency_read(const struct latency *latency, struct latency_copy *out);

/* Adds what stands there to a sum. */
void latency_add(struct latency_copy *sum, const struct latency *latency);

/* The same, and empties it: its writer is gone. */
void latency_take(struct latency_copy *sum, struct latency *latency);

/* Makes it say what a copy says: its writer, to its readers. */
void latency_write(struct latency *latency, const struct latency_copy *copy);

/* What was counted between two copies (histogram_window). */
void latency_window(const struct latency_copy *later, const struct latency_copy *earlier,
                    struct latency_copy *out);

#endif
