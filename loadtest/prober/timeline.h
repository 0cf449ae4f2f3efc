/* What happened in each hundredth of a second of a run. */
#ifndef TWINHTTPD_LOADTEST_PROBER_TIMELINE_H
#define TWINHTTPD_LOADTEST_PROBER_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

enum { TIMELINE_BIN_US = 10000 };

struct timeline_bin {
    uint64_t started;
    uint64_t ok;
    uint64_t failed;
    uint64_t slowest_us; /* of the requests that ended here */
};

/* Zero-initialised is empty; grows to the last bin that something happened in. */
struct timeline {
    struct timeline_bin *bins;
    size_t count;
    size_t capacity;
};

/* The bin of a time since the start. The pointer is valid until the next call. */
struct timeline_bin *timeline_at(struct timeline *timeline, uint64_t time_us);

void timeline_free(struct timeline *timeline);

#endif
