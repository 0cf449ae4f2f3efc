#include "server/observe/bulletin.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

enum { READ_TRIES = 64, TOKEN_BYTES = 16 };

/* What both have. The sequence is odd while it is written to. */
struct page {
    char token[BULLETIN_TOKEN_BYTES];
    _Atomic uint64_t sequence;
    _Atomic uint64_t beat_ms;
    struct bulletin_copy content;
};

/* What the observer says, in a page of its own. */
struct reply {
    _Atomic uint64_t acknowledged_ms;
    _Atomic int32_t retired_pid;
};

/* The sequence is counted here, in memory of the master's own: an observer that has gone wrong
 * cannot lead it astray. */
struct bulletin {
    struct page *page;
    struct reply *reply;
    uint64_t sequence;
};

const char *bulletin_phase_name(enum bulletin_phase phase)
{
    static const char *const names[] = {
        [BULLETIN_STARTING] = "starting",       [BULLETIN_RUNNING] = "running",
        [BULLETIN_HANDED_OVER] = "handed-over", [BULLETIN_DRAINING] = "draining",
        [BULLETIN_STOPPING] = "stopping",
    };
    return (size_t)phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "unknown";
}

/* What both share, and nobody else; NULL with errno set. */
static void *map_for_two(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED && (madvise(memory, bytes, MADV_DONTFORK) != 0 ||
                                 madvise(memory, bytes, MADV_DONTDUMP) != 0)) {
        int saved_errno = errno;
        munmap(memory, bytes);
        errno = saved_errno;
        return NULL;
    }
    return memory != MAP_FAILED ? memory : NULL;
}

/* How much of it is in use, by its own word. */
static size_t used_bytes(uint32_t process_count)
{
    return offsetof(struct bulletin_copy, processes) +
           process_count * sizeof(struct bulletin_process);
}

static uint32_t clamped(uint32_t process_count)
{
    return process_count < BULLETIN_PROCESSES ? process_count : BULLETIN_PROCESSES;
}

/* ---- For an observer ---- */

static void copy_content(const struct page *page, struct bulletin_copy *copy)
{
    uint32_t count = clamped(page->content.process_count);
    memcpy((void *)copy, (const void *)&page->content, used_bytes(count));
    copy->process_count = count;
}

bool bulletin_read(const struct bulletin *bulletin, struct bulletin_copy *copy)
{
    const struct page *page = bulletin->page;
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t sequence = atomic_load_explicit(&page->sequence, memory_order_acquire);
        if (sequence % 2 == 0) {
            copy_content(page, copy);
            copy->sequence = sequence;
            if (bulletin_is_unchanged(bulletin, copy)) {
                return true;
            }
        }
    }
    return false;
}

bool bulletin_await(const struct bulletin *bulletin, struct bulletin_copy *copy,
                    uint32_t patience_ms)
{
    bool read = bulletin_read(bulletin, copy);
    for (uint32_t i = 0; i < patience_ms && !read; i++) {
        const struct timespec moment = {.tv_nsec = 1000000};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
        read = bulletin_read(bulletin, copy);
    }
    return read;
}

bool bulletin_is_unchanged(const struct bulletin *bulletin, const struct bulletin_copy *copy)
{
    atomic_thread_fence(memory_order_acquire); /* what was read before stays before */
    return atomic_load_explicit(&bulletin->page->sequence, memory_order_relaxed) == copy->sequence;
}

uint64_t bulletin_heard_ms(const struct bulletin *bulletin, uint64_t now_ms)
{
    uint64_t beat_ms = atomic_load_explicit(&bulletin->page->beat_ms, memory_order_relaxed);
    return now_ms > beat_ms ? now_ms - beat_ms : 0;
}

void bulletin_acknowledge(struct bulletin *bulletin, uint64_t now_ms)
{
    atomic_store_explicit(&bulletin->reply->acknowledged_ms, now_ms, memory_order_relaxed);
}

uint64_t bulletin_acknowledged_ms(const struct bulletin *bulletin)
{
    return atomic_load_explicit(&bulletin->reply->acknowledged_ms, memory_order_relaxed);
}

void bulletin_retire(struct bulletin *bulletin, int32_t pid)
{
    atomic_store_explicit(&bulletin->reply->retired_pid, pid, memory_order_relaxed);
}

int32_t bulletin_retired_pid(const struct bulletin *bulletin)
{
    return atomic_load_explicit(&bulletin->reply->retired_pid, memory_order_relaxed);
}

const char *bulletin_token(const struct bulletin *bulletin)
{
    return bulletin->page->token;
}

/* ---- For the master ---- */

static bool make_token(char token[BULLETIN_TOKEN_BYTES])
{
    unsigned char bytes[TOKEN_BYTES];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        snprintf(token + 2 * i, 3, "%02x", bytes[i]);
    }
    explicit_bzero(bytes, sizeof(bytes));
    return true;
}

struct bulletin *bulletin_create(void)
{
    struct bulletin *bulletin = memory_alloc_zeroed(1, sizeof(*bulletin));
    bulletin->page = map_for_two(sizeof(*bulletin->page));
    bulletin->reply = map_for_two(sizeof(*bulletin->reply));
    if (bulletin->page == NULL || bulletin->reply == NULL || !make_token(bulletin->page->token)) {
        int saved_errno = errno;
        bulletin_destroy(bulletin);
        errno = saved_errno;
        return NULL;
    }
    return bulletin;
}

void bulletin_destroy(struct bulletin *bulletin)
{
    if (bulletin == NULL) {
        return;
    }
    if (bulletin->page != NULL) {
        munmap(bulletin->page, sizeof(*bulletin->page));
    }
    if (bulletin->reply != NULL) {
        munmap(bulletin->reply, sizeof(*bulletin->reply));
    }
    free(bulletin);
}

bool bulletin_share(struct bulletin *bulletin, bool shared)
{
    const int advice = shared ? MADV_DOFORK : MADV_DONTFORK;
    return madvise(bulletin->page, sizeof(*bulletin->page), advice) == 0 &&
           madvise(bulletin->reply, sizeof(*bulletin->reply), advice) == 0;
}

bool bulletin_seal(struct bulletin *bulletin)
{
    return mprotect(bulletin->page, sizeof(*bulletin->page), PROT_READ) == 0;
}

void bulletin_begin(struct bulletin *bulletin)
{
    if (bulletin->sequence % 2 == 0) {
        atomic_store_explicit(&bulletin->page->sequence, ++bulletin->sequence,
                              memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst); /* what is written next comes behind it */
    }
}

void bulletin_post(struct bulletin *bulletin, const struct bulletin_copy *copy)
{
    struct page *page = bulletin->page;
    CHECK(copy->process_count <= BULLETIN_PROCESSES);
    bulletin_begin(bulletin);
    memcpy((void *)&page->content, (const void *)copy, used_bytes(copy->process_count));
    atomic_store_explicit(&page->beat_ms, copy->beat_ms, memory_order_relaxed);
    atomic_store_explicit(&page->sequence, ++bulletin->sequence, memory_order_release);
}
