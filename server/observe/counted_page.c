#include "server/observe/counted_page.h"

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

enum { READ_TRIES = 64, SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

/* The counts of number n stand at n % 2: a writer that is killed half-way leaves those before. */
struct shared {
    uint64_t format;
    _Atomic uint64_t number; /* of the last counts that are whole */
    _Atomic uint32_t is_handed_over;
    struct carried_counts counts[2];
};

struct counted_page {
    struct shared *shared;
    uint64_t number; /* the writer's */
};

static struct counted_page *page_of(struct shared *shared)
{
    struct counted_page *page = memory_alloc_zeroed(1, sizeof(*page));
    page->shared = shared;
    return page;
}

/* NULL with errno set. A writer's mapping is no child's. */
static struct shared *map(int fd, int protection)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), protection, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        return NULL;
    }
    if ((protection & PROT_WRITE) != 0 && madvise(shared, sizeof(*shared), MADV_DONTFORK) != 0) {
        int cause = errno;
        munmap(shared, sizeof(*shared));
        errno = cause;
        return NULL;
    }
    return shared;
}

/* ---- Whoever makes it ---- */

static bool write_format(int fd)
{
    const uint64_t format = PAGE_FORMAT;
    return ftruncate(fd, (off_t)sizeof(struct shared)) == 0 &&
           pwrite(fd, &format, sizeof(format), 0) == (ssize_t)sizeof(format);
}

/* A page that stays writable where it is mapped already, and by the descriptor unless seals say
 * otherwise. */
static struct counted_page *make(int *fd, int protection, int seals)
{
    struct shared *shared = NULL;
    *fd = memfd_create("counted", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd >= 0 && write_format(*fd)) {
        shared = map(*fd, protection);
    }
    if (shared != NULL && fcntl(*fd, F_ADD_SEALS, SIZE_SEALS | seals) == 0) {
        return page_of(shared);
    }
    int cause = errno;
    if (shared != NULL) {
        munmap(shared, sizeof(*shared));
    }
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
    errno = cause;
    return NULL;
}

struct counted_page *counted_page_create(int *fd)
{
    return make(fd, PROT_READ | PROT_WRITE, F_SEAL_FUTURE_WRITE);
}

struct counted_page *counted_page_await(int *fd)
{
    return make(fd, PROT_READ, 0);
}

/* ---- Whoever is given it ---- */

static struct shared *map_given(int fd, int protection)
{
    struct stat status;
    struct shared *shared = NULL;
    if (fstat(fd, &status) != 0) {
        return NULL;
    }
    errno = EINVAL;
    if (status.st_size == (off_t)sizeof(*shared)) {
        shared = map(fd, protection);
    }
    if (shared != NULL && shared->format != PAGE_FORMAT) {
        munmap(shared, sizeof(*shared));
        errno = EINVAL;
        return NULL;
    }
    return shared;
}

static struct counted_page *take(int fd, int protection)
{
    struct shared *shared = map_given(fd, protection);
    int cause = errno;
    close(fd);
    errno = cause;
    return shared != NULL ? page_of(shared) : NULL;
}

struct counted_page *counted_page_open(int fd)
{
    return take(fd, PROT_READ);
}

struct counted_page *counted_page_enter(int fd)
{
    return take(fd, PROT_READ | PROT_WRITE);
}

/* ---- What is in it ---- */

void counted_page_write(struct counted_page *page, const struct carried_counts *counts)
{
    struct shared *shared = page->shared;
    uint64_t number = ++page->number;
    /* not before the number of the one that stood here could have been seen to be gone */
    atomic_thread_fence(memory_order_release);
    memcpy((void *)&shared->counts[number % 2], counts, sizeof(*counts));
    atomic_store_explicit(&shared->number, number, memory_order_release);
}

void counted_page_hand_over(struct counted_page *page)
{
    atomic_store_explicit(&page->shared->is_handed_over, 1, memory_order_release);
}

bool counted_page_read(const struct counted_page *page, struct carried_counts *out)
{
    const struct shared *shared = page->shared;
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t number = atomic_load_explicit(&shared->number, memory_order_acquire);
        memcpy(out, (const void *)&shared->counts[number % 2], sizeof(*out));
        atomic_thread_fence(memory_order_acquire);
        if (number == atomic_load_explicit(&shared->number, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

bool counted_page_is_handed_over(const struct counted_page *page)
{
    return atomic_load_explicit(&page->shared->is_handed_over, memory_order_acquire) != 0;
}

void counted_page_close(struct counted_page *page)
{
    if (page != NULL) {
        munmap(page->shared, sizeof(*page->shared));
        free(page);
    }
}
