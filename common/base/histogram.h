/* Counts durations in buckets whose width grows with the duration: from half a microsecond on each
 * is kept to a sixteenth of itself, and counting one takes a few instructions.
 *
 * Durations are in nanoseconds, and counted in steps of HISTOGRAM_STEP_NS. Those below
 * HISTOGRAM_SPLIT steps have a bucket each; above, each doubling is split into HISTOGRAM_SPLIT
 * equal buckets. The last one counts all that is longer, too.
 *
 * A histogram has one writer, which may be in another process; anybody may read, by a copy. What
 * stands there may be anything: in a copy no bucket has more than HISTOGRAM_MOST, so that sums of
 * copies do not overflow, and largest and sum are such as the buckets allow. */
#ifndef TWINHTTPD_COMMON_BASE_HISTOGRAM_H
#define TWINHTTPD_COMMON_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 5,
    HISTOGRAM_STEP_NS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_SPLIT_BITS = 4,
    HISTOGRAM_SPLIT = 1 << HISTOGRAM_SPLIT_BITS,
    HISTOGRAM_DOUBLINGS = 28, /* of HISTOGRAM_SPLIT steps: up to 137 seconds */
    HISTOGRAM_BUCKETS = (HISTOGRAM_DOUBLINGS + 1) * HISTOGRAM_SPLIT
};

/* No bucket of one writer counts so many: a million a second, for half a year. */
#define HISTOGRAM_MOST ((uint64_t)1 << 44)

/* Zeroed is empty. How many there are is the sum of the buckets. */
struct histogram {
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t max_ns;
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* A histogram as a reader holds it. Zeroed is empty. */
struct histogram_copy {
    uint64_t count; /* the sum of the buckets */
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* The bucket that counts a duration. */
static inline unsigned histogram_bucket(uint64_t ns)
{
    uint64_t steps = ns >> HISTOGRAM_STEP_BITS;
    /* 0 for the buckets that are a step wide: those of the first doubling are, too. */
    unsigned doubling =
        63U - HISTOGRAM_SPLIT_BITS - (unsigned)__builtin_clzll(steps | HISTOGRAM_SPLIT);
    if (doubling >= HISTOGRAM_DOUBLINGS) {
        return HISTOGRAM_BUCKETS - 1;
    }
    return doubling * HISTOGRAM_SPLIT + (unsigned)(steps >> doubling);
}

/* The shortest duration that a bucket counts; of HISTOGRAM_BUCKETS: the first beyond. */
uint64_t histogram_bucket_begin_ns(unsigned bucket);

/* The longest that it counts; of the last one UINT64_MAX. */
uint64_t histogram_bucket_end_ns(unsigned bucket);

/* For the one writer: counts so many that each took so long. No locked instruction is needed. */
static inline void histogram_add(struct histogram *histogram, uint64_t ns, uint64_t count)
{
    _Atomic uint64_t *bucket = &histogram->buckets[histogram_bucket(ns)];
    atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + count,
                          memory_order_relaxed);
    atomic_store_explicit(&histogram->sum_ns,
                          atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed) +
                              ns * count,
                          memory_order_relaxed);
    if (ns > atomic_load_explicit(&histogram->max_ns, memory_order_relaxed)) {
        atomic_store_explicit(&histogram->max_ns, ns, memory_order_relaxed);
    }
}

/* Copies it while its writer goes on. */
void histogram_read(const struct histogram *histogram, struct histogram_copy *out);

/* Makes a histogram that nobody else writes say what a copy says. */
void histogram_write(struct histogram *histogram, const struct histogram_copy *copy);

/* Empties a histogram that nobody else writes. */
void histogram_clear(struct histogram *histogram);

/* Adds what another one has counted. */
void histogram_sum(struct histogram_copy *sum, const struct histogram_copy *more);

/* What was counted between two copies of one histogram, or of one sum. Of a bucket that has less
 * than before (its writer is another one by now, or has gone wrong) nothing was. The largest is the
 * end of its bucket, but for the largest of all times. out may be one of the two. */
void histogram_window(const struct histogram_copy *later, const struct histogram_copy *earlier,
                      struct histogram_copy *out);

/* The duration in ns that part of every `of` do not exceed, rounded up to the end of its bucket but
 * not above the largest: 999, 1000 is the 99.9th percentile. 0: nothing was counted. */
uint64_t histogram_percentile_ns(const struct histogram_copy *copy, uint64_t part, uint64_t of);

/* How many took so long at most, by buckets that do not reach beyond: up to a sixteenth below it
 * some that are not longer may be missing. */
uint64_t histogram_count_up_to(const struct histogram_copy *copy, uint64_t ns);

#endif
