/* Runs of pages inside one mapping that outlives its user, such as memory that is shared with a
 * successor. The books lie in private memory, and the mapping holds nothing of theirs: which run is
 * whose stands in the records of those who have taken them. So there is no book that a sudden death
 * could leave half written, and none that somebody else could forge. A successor makes new books
 * and claims what its predecessor's records name.
 *
 * A run of up to 16 pages that is given back stays as it is, and is the first to be taken again: it
 * is in the cache, and its memory is there. That costs a few nanoseconds. Longer runs, and those of
 * which none is spare, are cut from the lowest free pages that do. Spare runs are merged when
 * nothing else does.
 *
 * Memory goes back to the kernel when extents_trim() is called, and at no other time. For one
 * thread. */
#ifndef TWINHTTPD_COMMON_BASE_EXTENTS_H
#define TWINHTTPD_COMMON_BASE_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXTENT_PAGE_BYTES = 4096 };

/* A run of pages, by their numbers in the mapping. A count of 0: none. */
struct extent {
    uint32_t page;
    uint32_t count;
};

struct extents;

/* Books for a mapping in which everything is free. Its pages are counted from base, which is the
 * start of a page and stays the caller's; what is behind the last whole page is not used. Nothing
 * in it is touched. Of the books' own memory (a KiB for each MiB) most is only touched when the
 * pages are. The caller ends them with extents_destroy(). */
struct extents *extents_create(void *base, size_t bytes) __attribute__((malloc, returns_nonnull));

/* Leaves the mapping alone. */
void extents_destroy(struct extents *extents);

/* A run of at least so many bytes, of which there must be one; of count 0 if no place is left. Its
 * memory holds what its former owner has left there. The caller gives it back, or dies. */
struct extent extents_take(struct extents *extents, size_t bytes);

/* Gives back a run, exactly as it was taken or claimed. */
void extents_give(struct extents *extents, struct extent run);

/* Takes a run that a record of the predecessor names. The record may be a forgery: false if the run
 * is empty, not in the mapping, or overlaps another. All claims come before anything is taken. */
bool extents_claim(struct extents *extents, struct extent run);

/* Where a run that was taken or claimed lies. */
void *extents_memory(const struct extents *extents, struct extent run);

/* Gives memory back to the kernel: that of spare runs which nobody has needed since the last call,
 * and that of free pages. So the runs that a steady load takes and gives keep theirs, and what a
 * peak has needed goes back when it is over. To be called about once a second. A call takes about
 * half a millisecond at most, and is true if there may be more to give back. The mapping has to be
 * shared memory. If the kernel refuses, the log says so, and no call tries it again. */
bool extents_trim(struct extents *extents);

/* Has extents_trim() give back the memory of the first so many pages as far as they are free, even
 * if these books have never given them away: a successor calls it when it has claimed what it wants
 * to keep, with how many its predecessors may have touched. */
void extents_forget_predecessor(struct extents *extents, uint32_t pages);

#endif
