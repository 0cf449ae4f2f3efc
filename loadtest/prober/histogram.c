#include "loadtest/prober/histogram.h"

unsigned histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_LINEAR) {
        return (unsigned)value;
    }
    unsigned highest_bit = 63U - (unsigned)__builtin_clzll(value);
    unsigned shift = highest_bit - HISTOGRAM_STEP_BITS;
    if (shift > HISTOGRAM_DOUBLINGS) {
        return HISTOGRAM_BUCKETS - 1;
    }
    unsigned step = (unsigned)(value >> shift) - HISTOGRAM_STEPS;
    return HISTOGRAM_LINEAR + (shift - 1) * HISTOGRAM_STEPS + step;
}

uint64_t histogram_bucket_end(unsigned bucket)
{
    if (bucket < HISTOGRAM_LINEAR) {
        return bucket;
    }
    unsigned shift = (bucket - HISTOGRAM_LINEAR) / HISTOGRAM_STEPS + 1;
    uint64_t step = (bucket - HISTOGRAM_LINEAR) % HISTOGRAM_STEPS;
    return ((HISTOGRAM_STEPS + step + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[histogram_bucket(value)]++;
    histogram->count++;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

uint64_t histogram_percentile(const struct histogram *histogram, uint64_t part, uint64_t of)
{
    uint64_t rank = (histogram->count * part + of - 1) / of;
    uint64_t passed = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
        passed += histogram->buckets[bucket];
        if (passed >= rank) {
            uint64_t end = histogram_bucket_end(bucket);
            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}
