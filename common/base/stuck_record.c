#include "common/base/stuck_record.h"

#include <stddef.h>
#include <string.h>

/* Most of the room for threads is never touched, and so takes no memory. */
static void copy(struct stuck_record *out, const struct stuck_record *record)
{
    uint32_t threads = record->thread_count < STUCK_THREADS ? record->thread_count : STUCK_THREADS;
    memcpy(out, record, offsetof(struct stuck_record, threads) + threads * sizeof(*out->threads));
    out->thread_count = threads;
}

/* The sequence is odd while a record is written. Who finds it so gives up: another process writes
 * here that was told so many records ago. */
void stuck_record_publish(struct scoreboard *scoreboard, const struct stuck_record *record)
{
    uint64_t number = atomic_fetch_add(&scoreboard->stuck_records, 1);
    struct stuck_place *place = &scoreboard->stuck_places[number % STUCK_RECORDS];
    uint64_t sequence = atomic_load(&place->sequence);
    if (sequence % 2 != 0 ||
        !atomic_compare_exchange_strong(&place->sequence, &sequence, sequence + 1)) {
        return;
    }
    place->number = number;
    copy(&place->record, record);
    atomic_store(&place->sequence, sequence + 2);
}

uint64_t stuck_record_oldest(const struct scoreboard *scoreboard)
{
    uint64_t count = atomic_load(&scoreboard->stuck_records);
    return count < STUCK_RECORDS ? 0 : count - STUCK_RECORDS;
}

bool stuck_record_copy(const struct scoreboard *scoreboard, uint64_t number,
                       struct stuck_record *out)
{
    const struct stuck_place *place = &scoreboard->stuck_places[number % STUCK_RECORDS];
    uint64_t before = atomic_load(&place->sequence);
    if (before == 0 || before % 2 != 0 || place->number != number) {
        return false;
    }
    copy(out, &place->record);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load(&place->sequence) == before;
}
