#include "common/base/histogram.h"

#include "common/base/check.h"

uint64_t histogram_bucket_begin_ns(unsigned bucket)
{
    CHECK(bucket <= HISTOGRAM_BUCKETS);
    uint64_t steps = bucket;
    if (bucket >= HISTOGRAM_SPLIT) {
        unsigned doubling = bucket / HISTOGRAM_SPLIT - 1;
        steps = (uint64_t)(bucket % HISTOGRAM_SPLIT + HISTOGRAM_SPLIT) << doubling;
    }
    return steps << HISTOGRAM_STEP_BITS;
}

uint64_t histogram_bucket_end_ns(unsigned bucket)
{
    CHECK(bucket < HISTOGRAM_BUCKETS);
    return bucket + 1 < HISTOGRAM_BUCKETS ? histogram_bucket_begin_ns(bucket + 1) - 1 : UINT64_MAX;
}

/* ---- Copies ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The last one that has counted anything; with none, the first. */
static unsigned last_used(const struct histogram_copy *copy)
{
    unsigned bucket = HISTOGRAM_BUCKETS - 1;
    while (bucket > 0 && copy->buckets[bucket] == 0) {
        bucket--;
    }
    return bucket;
}

static uint64_t count_all(const struct histogram_copy *copy)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += copy->buckets[i];
    }
    return count;
}

static uint64_t times(uint64_t count, uint64_t ns)
{
    uint64_t product;
    return __builtin_mul_overflow(count, ns, &product) ? UINT64_MAX : product;
}

/* The buckets are what counts: the largest lies in the last that is used, and the sum is not more
 * than if all were as large as that. It may be torn, or a lie. */
static void settle(struct histogram_copy *copy)
{
    copy->count = count_all(copy);
    if (copy->count == 0) {
        copy->sum_ns = copy->max_ns = 0;
        return;
    }
    const unsigned last = last_used(copy);
    const uint64_t begin_ns = histogram_bucket_begin_ns(last);
    copy->max_ns = least(copy->max_ns, histogram_bucket_end_ns(last));
    copy->max_ns = copy->max_ns < begin_ns ? begin_ns : copy->max_ns;
    copy->sum_ns = least(copy->sum_ns, times(copy->count, copy->max_ns));
}

/* Acquire on every word: whoever looks at a sequence behind it (totals.c) looks behind it. */
static uint64_t read_word(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static void write_word(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

void histogram_read(const struct histogram *histogram, struct histogram_copy *out)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = read_word(&histogram->buckets[i]);
        out->buckets[i] = count < HISTOGRAM_MOST ? count : 0;
    }
    out->sum_ns = read_word(&histogram->sum_ns);
    out->max_ns = read_word(&histogram->max_ns);
    settle(out);
}

void histogram_write(struct histogram *histogram, const struct histogram_copy *copy)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        write_word(&histogram->buckets[i], copy->buckets[i]);
    }
    write_word(&histogram->sum_ns, copy->sum_ns);
    write_word(&histogram->max_ns, copy->max_ns);
}

void histogram_clear(struct histogram *histogram)
{
    static const struct histogram_copy empty;
    histogram_write(histogram, &empty);
}

void histogram_sum(struct histogram_copy *sum, const struct histogram_copy *more)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        sum->buckets[i] += more->buckets[i];
    }
    sum->count += more->count;
    sum->sum_ns += more->sum_ns;
    sum->max_ns = sum->max_ns < more->max_ns ? more->max_ns : sum->max_ns;
}

static uint64_t growth(uint64_t later, uint64_t earlier)
{
    return later > earlier ? later - earlier : 0;
}

void histogram_window(const struct histogram_copy *later, const struct histogram_copy *earlier,
                      struct histogram_copy *out)
{
    struct histogram_copy window;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        window.buckets[i] = growth(later->buckets[i], earlier->buckets[i]);
    }
    window.sum_ns = growth(later->sum_ns, earlier->sum_ns);
    window.max_ns = later->max_ns; /* no more than that, and where that was earlier: its bucket */
    settle(&window);
    *out = window;
}

/* ---- What they say ---- */

uint64_t histogram_percentile_ns(const struct histogram_copy *copy, uint64_t part, uint64_t of)
{
    CHECK(part <= of && of > 0);
    const uint64_t rank = (copy->count * part + of - 1) / of;
    uint64_t passed = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        passed += copy->buckets[i];
        if (passed >= rank) {
            return least(histogram_bucket_end_ns(i), copy->max_ns);
        }
    }
    return copy->max_ns;
}

uint64_t histogram_count_up_to(const struct histogram_copy *copy, uint64_t ns)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && histogram_bucket_end_ns(i) <= ns; i++) {
        count += copy->buckets[i];
    }
    return count;
}
