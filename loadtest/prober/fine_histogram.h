/* Counts values in buckets whose width grows with the value: each is kept with an error below
 * 0.1 %, however large, and adding one costs a few instructions.
 *
 * Values below FINE_HISTOGRAM_LINEAR have a bucket each. Above, each doubling of the value is
 * divided into FINE_HISTOGRAM_STEPS equal buckets. */
#ifndef TWINHTTPD_LOADTEST_PROBER_FINE_HISTOGRAM_H
#define TWINHTTPD_LOADTEST_PROBER_FINE_HISTOGRAM_H

#include <stdint.h>

enum {
    FINE_HISTOGRAM_STEP_BITS = 10,
    FINE_HISTOGRAM_STEPS = 1 << FINE_HISTOGRAM_STEP_BITS,
    FINE_HISTOGRAM_LINEAR = 2 * FINE_HISTOGRAM_STEPS,
    FINE_HISTOGRAM_DOUBLINGS = 25, /* in microseconds: up to 19 hours */
    FINE_HISTOGRAM_BUCKETS = FINE_HISTOGRAM_LINEAR + FINE_HISTOGRAM_DOUBLINGS * FINE_HISTOGRAM_STEPS
};

/* Zero-initialised is empty. Values beyond the last bucket count there; max is always exact. */
struct fine_histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[FINE_HISTOGRAM_BUCKETS];
};

void fine_histogram_add(struct fine_histogram *histogram, uint64_t value);

/* The smallest value that part of every `of` values do not exceed, rounded up to the end of its
 * bucket: 99, 100 is the 99th percentile. 0 when the histogram is empty. */
uint64_t fine_histogram_percentile(const struct fine_histogram *histogram, uint64_t part,
                                   uint64_t of);

/* The bucket that counts a value, and the largest value that it counts. */
unsigned fine_histogram_bucket(uint64_t value);
uint64_t fine_histogram_bucket_end(unsigned bucket);

#endif
