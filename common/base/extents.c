#include "common/base/extents.h"

#include "common/base/bitmap.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Longer runs are rare, and merged at once. */
enum { MAX_SPARE_PAGES = 16 };

/* A piece of memory that is given back costs 2.5 us, and 0.3 us for each page that has memory. */
enum { TRIM_NS = 500000, PIECE_PAGES = 256 };

enum { NO_PAGE = UINT32_MAX };

/* Spare runs of one length: the last one that was given is the first to be taken. */
struct spares {
    uint32_t *pages; /* the first of each run */
    size_t count;
    size_t room;
    size_t idle; /* how many at the bottom have not been needed since the last trim */
};

struct extents {
    char *base;
    uint32_t pages;
    uint32_t free_pages; /* neither taken nor spare */
    bool keeps_memory;   /* the kernel has refused it */
    uint64_t *used;      /* pages that are taken or spare */
    uint64_t *stale;     /* free pages that may have memory */
    uint32_t *owned;     /* for the first page of a run that is taken: its length; else 0 */
    struct spares spares[MAX_SPARE_PAGES + 1];
    /* Below this page no free run of that length begins; the last one counts for longer ones. */
    uint32_t search_from[MAX_SPARE_PAGES + 1];
};

struct extents *extents_create(void *base, size_t bytes)
{
    size_t pages = bytes / EXTENT_PAGE_BYTES;
    CHECK((uintptr_t)base % EXTENT_PAGE_BYTES == 0);
    CHECK(pages > 0 && pages < NO_PAGE);
    struct extents *extents = memory_alloc_zeroed(1, sizeof(*extents));
    size_t words = bitmap_words(pages);
    extents->base = base;
    extents->pages = extents->free_pages = (uint32_t)pages;
    /* In one piece, which is so large that the C library leaves it untouched: of two that are not
     * it clears each byte. */
    extents->used = memory_alloc_zeroed(1, 2 * words * sizeof(*extents->used) +
                                               pages * sizeof(*extents->owned));
    extents->stale = extents->used + words;
    extents->owned = (uint32_t *)(extents->stale + words);
    return extents;
}

void extents_destroy(struct extents *extents)
{
    for (size_t length = 1; length <= MAX_SPARE_PAGES; length++) {
        free(extents->spares[length].pages);
    }
    free(extents->used); /* and the others */
    free(extents);
}

/* From free to used. */
static void cut(struct extents *extents, struct extent run)
{
    CHECK(run.count <= extents->free_pages);
    bitmap_set(extents->used, run.page, run.count);
    bitmap_clear(extents->stale, run.page, run.count);
    extents->free_pages -= run.count;
}

/* From used to free. With free pages before it, the run makes longer ones that begin earlier. */
static void release(struct extents *extents, struct extent run)
{
    bitmap_clear(extents->used, run.page, run.count);
    bitmap_set(extents->stale, run.page, run.count);
    extents->free_pages += run.count;
    for (uint32_t length = 1; length <= MAX_SPARE_PAGES; length++) {
        uint32_t earliest = run.page >= length ? run.page - length + 1 : 0;
        if (earliest < extents->search_from[length]) {
            extents->search_from[length] = earliest;
        }
    }
}

/* The lowest free page with so many free pages from it on, or NO_PAGE. */
static uint32_t find_free(const struct extents *extents, uint32_t from, uint32_t count)
{
    size_t first = from;
    for (;;) {
        first = bitmap_next_clear(extents->used, first, extents->pages);
        if (count > extents->pages - first) {
            return NO_PAGE;
        }
        size_t end = bitmap_next_set(extents->used, first, first + count);
        if (end == first + count) {
            return (uint32_t)first;
        }
        first = end;
    }
}

static uint32_t cut_lowest(struct extents *extents, uint32_t count)
{
    bool is_long = count > MAX_SPARE_PAGES;
    uint32_t *search_from = &extents->search_from[is_long ? MAX_SPARE_PAGES : count];
    uint32_t page = find_free(extents, *search_from, count);
    if (page != NO_PAGE) {
        cut(extents, (struct extent){page, count});
    }
    if (!is_long) {
        *search_from = page != NO_PAGE ? page + count : extents->pages;
    }
    return page;
}

/* Frees the runs at the bottom, which have been spare for the longest time. */
static void release_spares(struct extents *extents, uint32_t length, size_t count)
{
    struct spares *spares = &extents->spares[length];
    CHECK(count <= spares->count);
    for (size_t i = 0; i < count; i++) {
        release(extents, (struct extent){spares->pages[i], length});
    }
    spares->count -= count;
    spares->idle = spares->count;
    if (count > 0) {
        memmove(spares->pages, spares->pages + count, spares->count * sizeof(*spares->pages));
    }
}

static void merge_spares(struct extents *extents)
{
    for (uint32_t length = 1; length <= MAX_SPARE_PAGES; length++) {
        release_spares(extents, length, extents->spares[length].count);
    }
}

static size_t count_spare_pages(const struct extents *extents)
{
    size_t pages = 0;
    for (size_t length = 1; length <= MAX_SPARE_PAGES; length++) {
        pages += length * extents->spares[length].count;
    }
    return pages;
}

/* Merging is worth while only if enough is free then. */
static uint32_t cut_or_merge(struct extents *extents, uint32_t count)
{
    uint32_t page = cut_lowest(extents, count);
    size_t spare_pages = page == NO_PAGE ? count_spare_pages(extents) : 0;
    if (spare_pages > 0 && count <= extents->free_pages + spare_pages) {
        merge_spares(extents);
        page = cut_lowest(extents, count);
    }
    return page;
}

static uint32_t take_spare(struct spares *spares)
{
    spares->count--;
    if (spares->count < spares->idle) {
        spares->idle = spares->count;
    }
    return spares->pages[spares->count];
}

struct extent extents_take(struct extents *extents, size_t bytes)
{
    CHECK(bytes > 0);
    size_t pages = (bytes - 1) / EXTENT_PAGE_BYTES + 1;
    if (pages > extents->pages) {
        return (struct extent){0};
    }
    uint32_t count = (uint32_t)pages;
    bool has_spare = count <= MAX_SPARE_PAGES && extents->spares[count].count > 0;
    uint32_t page = has_spare ? take_spare(&extents->spares[count]) : cut_or_merge(extents, count);
    if (page == NO_PAGE) {
        return (struct extent){0};
    }
    CHECK(extents->owned[page] == 0);
    extents->owned[page] = count;
    return (struct extent){page, count};
}

static void grow(struct spares *spares)
{
    spares->room = spares->room == 0 ? 16 : 2 * spares->room;
    spares->pages = memory_resize(spares->pages, spares->room * sizeof(*spares->pages));
}

static void give_spare(struct spares *spares, uint32_t page)
{
    if (spares->count == spares->room) {
        grow(spares);
    }
    spares->pages[spares->count++] = page;
}

void extents_give(struct extents *extents, struct extent run)
{
    CHECK(run.page < extents->pages && run.count > 0);
    CHECK(extents->owned[run.page] == run.count);
    extents->owned[run.page] = 0;
    if (run.count <= MAX_SPARE_PAGES) {
        give_spare(&extents->spares[run.count], run.page);
    } else {
        release(extents, run);
    }
}

bool extents_claim(struct extents *extents, struct extent run)
{
    if (run.page >= extents->pages || run.count > extents->pages - run.page || run.count == 0) {
        return false;
    }
    size_t end = (size_t)run.page + run.count;
    if (bitmap_next_set(extents->used, run.page, end) != end) {
        return false;
    }
    cut(extents, run);
    extents->owned[run.page] = run.count;
    return true;
}

void *extents_memory(const struct extents *extents, struct extent run)
{
    CHECK(run.page < extents->pages && extents->owned[run.page] == run.count);
    return extents->base + (size_t)run.page * EXTENT_PAGE_BYTES;
}

static void release_idle_spares(struct extents *extents)
{
    for (uint32_t length = 1; length <= MAX_SPARE_PAGES; length++) {
        release_spares(extents, length, extents->spares[length].idle);
    }
}

static void return_memory(struct extents *extents, struct extent run)
{
    char *memory = extents->base + (size_t)run.page * EXTENT_PAGE_BYTES;
    if (madvise(memory, (size_t)run.count * EXTENT_PAGE_BYTES, MADV_REMOVE) != 0) {
        extents->keeps_memory = true;
        log_write(LOG_WARN, "memory that is not needed any more is kept: madvise: %s",
                  strerror(errno));
    }
    bitmap_clear(extents->stale, run.page, run.count);
}

/* The first piece of stale pages from page *first on, which is moved behind it. False: none. */
static bool return_piece(struct extents *extents, size_t *first)
{
    size_t start = bitmap_next_set(extents->stale, *first, extents->pages);
    if (start == extents->pages || extents->keeps_memory) {
        return false;
    }
    size_t left = extents->pages - start;
    size_t limit = start + (left < PIECE_PAGES ? left : PIECE_PAGES);
    *first = bitmap_next_clear(extents->stale, start, limit);
    return_memory(extents, (struct extent){(uint32_t)start, (uint32_t)(*first - start)});
    return true;
}

bool extents_trim(struct extents *extents)
{
    uint64_t until_ns = clock_monotonic_ns() + TRIM_NS;
    release_idle_spares(extents);
    size_t first = 0;
    bool goes_on;
    do {
        goes_on = return_piece(extents, &first);
    } while (goes_on && clock_monotonic_ns() < until_ns);
    return goes_on;
}

void extents_forget_predecessor(struct extents *extents, uint32_t pages)
{
    size_t limit = pages < extents->pages ? pages : extents->pages;
    size_t first = 0;
    size_t end;
    for (; first < limit; first = end) {
        first = bitmap_next_clear(extents->used, first, limit);
        end = bitmap_next_set(extents->used, first, limit);
        bitmap_set(extents->stale, first, end - first);
    }
}
