#include "loadtest/prober/timeline.h"

#include "common/base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024 };

static void grow(struct timeline *timeline, size_t count)
{
    if (count > timeline->capacity) {
        size_t capacity = timeline->capacity > 0 ? timeline->capacity : FIRST_CAPACITY;
        while (capacity < count) {
            capacity *= 2;
        }
        timeline->bins = memory_resize(timeline->bins, capacity * sizeof(*timeline->bins));
        timeline->capacity = capacity;
    }
    memset(timeline->bins + timeline->count, 0,
           (count - timeline->count) * sizeof(*timeline->bins));
    timeline->count = count;
}

struct timeline_bin *timeline_at(struct timeline *timeline, uint64_t time_us)
{
    size_t index = time_us / TIMELINE_BIN_US;
    if (index >= timeline->count) {
        grow(timeline, index + 1);
    }
    return &timeline->bins[index];
}

void timeline_free(struct timeline *timeline)
{
    free(timeline->bins);
    *timeline = (struct timeline){0};
}
