#include "common/scoreboard/scoreboard.h"

#include "common/base/check.h"
#include "common/base/clock.h"

#include <sys/mman.h>

static size_t scoreboard_bytes(uint32_t slot_capacity)
{
    return sizeof(struct scoreboard) + slot_capacity * sizeof(struct worker_slot);
}

struct scoreboard *scoreboard_create(uint32_t slot_capacity)
{
    CHECK(slot_capacity > 0);
    void *memory = mmap(NULL, scoreboard_bytes(slot_capacity), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    if (mmap(memory, SCOREBOARD_PAGE_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
        munmap(memory, scoreboard_bytes(slot_capacity));
        return NULL;
    }
    struct scoreboard *scoreboard = memory;
    scoreboard->slot_capacity = slot_capacity;
    scoreboard->started_ms = clock_monotonic_ms();
    return scoreboard;
}

void scoreboard_destroy(struct scoreboard *scoreboard)
{
    if (scoreboard != NULL) {
        munmap(scoreboard, scoreboard_bytes(scoreboard->slot_capacity));
    }
}

bool scoreboard_seal(struct scoreboard *scoreboard)
{
    return mprotect(scoreboard, scoreboard_bytes(scoreboard->slot_capacity), PROT_READ) == 0;
}

void scoreboard_mark_draining(struct scoreboard *scoreboard, uint32_t first, uint32_t count)
{
    CHECK(first <= scoreboard->slot_capacity && count <= scoreboard->slot_capacity - first);
    for (uint32_t i = first; i < first + count; i++) {
        atomic_store(&scoreboard->slots[i].draining, 1);
    }
}
