#include "server/observe/carried.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <stdlib.h>

struct source {
    struct counted_page *page;  /* NULL: there is none */
    struct carried_counts last; /* that could be read */
};

struct carried {
    struct carried_counts settled; /* of new programs that have ended */
    struct source before;
    struct source returned;
    struct carried_counts reading;
};

struct carried *carried_create(void)
{
    return memory_alloc_zeroed(1, sizeof(struct carried));
}

void carried_close(struct carried *carried)
{
    if (carried != NULL) {
        counted_page_close(carried->before.page);
        counted_page_close(carried->returned.page);
        free(carried);
    }
}

void carried_begin(struct carried *carried, struct counted_page *before)
{
    CHECK(carried->before.page == NULL);
    carried->before.page = before;
}

void carried_take_back(struct carried *carried, struct counted_page *returned)
{
    carried_settle(carried);
    carried->returned.page = returned;
}

/* Nothing but numbers. */
static void add(struct carried_counts *sum, const struct carried_counts *counts)
{
    _Static_assert(sizeof(sum->totals) % sizeof(uint64_t) == 0, "numbers alone");
    counter_sums_add_numbers(&sum->totals, &counts->totals, sizeof(sum->totals));
    histogram_sum(&sum->latency.requests, &counts->latency.requests);
    histogram_sum(&sum->latency.turns, &counts->latency.turns);
}

static const struct carried_counts *read_source(struct carried *carried, struct source *source)
{
    if (source->page != NULL && counted_page_read(source->page, &carried->reading)) {
        source->last = carried->reading;
    }
    return &source->last;
}

void carried_settle(struct carried *carried)
{
    if (carried != NULL && carried->returned.page != NULL) {
        add(&carried->settled, read_source(carried, &carried->returned));
        counted_page_close(carried->returned.page);
        carried->returned = (struct source){0};
    }
}

void carried_read(struct carried *carried, struct carried_counts *out)
{
    *out = carried->settled;
    add(out, read_source(carried, &carried->before));
    add(out, read_source(carried, &carried->returned));
}

static bool is_handed_over(const struct source *source)
{
    return source->page == NULL || counted_page_is_handed_over(source->page);
}

bool carried_is_handed_over(const struct carried *carried)
{
    return carried == NULL ||
           (is_handed_over(&carried->before) && is_handed_over(&carried->returned));
}
