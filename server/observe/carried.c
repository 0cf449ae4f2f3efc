#include "server/observe/carried.h"

#include "common/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* To be raised when the meaning of a number changes; another size is another page by itself. */
#define PAGE_FORMAT UINT64_C(0x7477696e63000001)

enum { READ_TRIES = 64 };

struct page {
    uint64_t format;
    _Atomic uint64_t sequence; /* odd while it is written to */
    _Atomic uint32_t is_handed_over;
    struct carried_counts counts;
};

struct carried {
    struct page *page;
    uint64_t sequence; /* the writer's */
};

static struct carried *carried_of(void *memory)
{
    struct carried *carried = memory_alloc_zeroed(1, sizeof(*carried));
    carried->page = memory;
    return carried;
}

/* ---- For the old program ---- */

/* The memory stays writable where it is mapped already, and nowhere else. */
static void *map_and_seal(int fd)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    if (ftruncate(fd, (off_t)sizeof(struct page)) != 0) {
        return NULL;
    }
    void *memory = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED && (madvise(memory, sizeof(struct page), MADV_DONTFORK) != 0 ||
                                 fcntl(fd, F_ADD_SEALS, seals) != 0)) {
        int cause = errno;
        munmap(memory, sizeof(struct page));
        errno = cause;
        return NULL;
    }
    return memory != MAP_FAILED ? memory : NULL;
}

struct carried *carried_create(int *fd)
{
    *fd = memfd_create("counted", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct page *page = *fd >= 0 ? map_and_seal(*fd) : NULL;
    if (page == NULL) {
        int cause = errno;
        if (*fd >= 0) {
            close(*fd);
        }
        *fd = -1;
        errno = cause;
        return NULL;
    }
    page->format = PAGE_FORMAT;
    return carried_of(page);
}

void carried_write(struct carried *carried, const struct carried_counts *counts)
{
    struct page *page = carried->page;
    atomic_store_explicit(&page->sequence, ++carried->sequence, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memcpy((void *)&page->counts, counts, sizeof(*counts));
    atomic_store_explicit(&page->sequence, ++carried->sequence, memory_order_release);
}

void carried_hand_over(struct carried *carried)
{
    atomic_store_explicit(&carried->page->is_handed_over, 1, memory_order_release);
}

/* ---- For the new one ---- */

struct carried *carried_open(int fd)
{
    struct stat status;
    struct page *page = MAP_FAILED;
    if (fstat(fd, &status) == 0) {
        errno = EINVAL;
        if (status.st_size == (off_t)sizeof(*page)) {
            page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, fd, 0);
        }
    }
    if (page != MAP_FAILED && page->format != PAGE_FORMAT) {
        munmap(page, sizeof(*page));
        page = MAP_FAILED;
        errno = EINVAL;
    }
    int cause = errno;
    close(fd);
    errno = cause;
    return page != MAP_FAILED ? carried_of(page) : NULL;
}

bool carried_read(const struct carried *carried, struct carried_counts *out)
{
    const struct page *page = carried->page;
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t before = atomic_load_explicit(&page->sequence, memory_order_acquire);
        memcpy(out, (const void *)&page->counts, sizeof(*out));
        atomic_thread_fence(memory_order_acquire);
        if (before % 2 == 0 &&
            before == atomic_load_explicit(&page->sequence, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* ---- For both ---- */

bool carried_is_handed_over(const struct carried *carried)
{
    return atomic_load_explicit(&carried->page->is_handed_over, memory_order_acquire) != 0;
}

void carried_close(struct carried *carried)
{
    if (carried != NULL) {
        munmap(carried->page, sizeof(*carried->page));
        free(carried);
    }
}
