#include "loadtest/prober/fine_histogram.h"

unsigned fine_histogram_bucket(uint64_t value)
{
    if (value < FINE_HISTOGRAM_LINEAR) {
        return (unsigned)value;
    }
    unsigned highest_bit = 63U - (unsigned)__builtin_clzll(value);
    unsigned shift = highest_bit - FINE_HISTOGRAM_STEP_BITS;
    if (shift > FINE_HISTOGRAM_DOUBLINGS) {
        return FINE_HISTOGRAM_BUCKETS - 1;
    }
    unsigned step = (unsigned)(value >> shift) - FINE_HISTOGRAM_STEPS;
    return FINE_HISTOGRAM_LINEAR + (shift - 1) * FINE_HISTOGRAM_STEPS + step;
}

uint64_t fine_histogram_bucket_end(unsigned bucket)
{
    if (bucket < FINE_HISTOGRAM_LINEAR) {
        return bucket;
    }
    unsigned shift = (bucket - FINE_HISTOGRAM_LINEAR) / FINE_HISTOGRAM_STEPS + 1;
    uint64_t step = (bucket - FINE_HISTOGRAM_LINEAR) % FINE_HISTOGRAM_STEPS;
    return ((FINE_HISTOGRAM_STEPS + step + 1) << shift) - 1;
}

void fine_histogram_add(struct fine_histogram *histogram, uint64_t value)
{
    histogram->buckets[fine_histogram_bucket(value)]++;
    histogram->count++;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

uint64_t fine_histogram_percentile(const struct fine_histogram *histogram, uint64_t part,
                                   uint64_t of)
{
    uint64_t rank = (histogram->count * part + of - 1) / of;
    uint64_t passed = 0;
    for (unsigned bucket = 0; bucket < FINE_HISTOGRAM_BUCKETS - 1; bucket++) {
        passed += histogram->buckets[bucket];
        if (passed >= rank) {
            uint64_t end = fine_histogram_bucket_end(bucket);
            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}
