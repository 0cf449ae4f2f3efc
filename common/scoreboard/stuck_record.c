#include "common/scoreboard/stuck_record.h"

#include "common/base/check.h"
#include "common/scoreboard/scoreboard.h"
#include "common/scoreboard/shared_copy.h"

#include <stddef.h>
#include <string.h>

/* Odd while the record of that number is written, even when it is there: nothing has to be read
 * that somebody else could have written. */
static uint64_t sequence_of(uint64_t number)
{
    return 2 * number + 1;
}

/* Most of the room for threads is never touched, and so takes no memory. */
void stuck_record_publish(struct scoreboard *scoreboard, uint64_t number,
                          const struct stuck_record *record)
{
    struct stuck_place *place = &scoreboard->stuck_places[number % STUCK_RECORDS];
    uint32_t threads = record->thread_count;
    CHECK(threads <= STUCK_THREADS);
    atomic_store(&place->sequence, sequence_of(number));
    place->number = number;
    memcpy(&place->record, record,
           offsetof(struct stuck_record, threads) + threads * sizeof(*record->threads));
    place->record.thread_count = threads;
    atomic_store(&place->sequence, sequence_of(number) + 1);
}

struct number_range stuck_record_remembered(const struct scoreboard *scoreboard)
{
    return number_range_last(atomic_load(&scoreboard->stuck_records), STUCK_RECORDS);
}

bool stuck_record_copy(const struct scoreboard *scoreboard, uint64_t number,
                       struct stuck_record *out)
{
    const struct stuck_place *place = &scoreboard->stuck_places[number % STUCK_RECORDS];
    uint64_t before = atomic_load(&place->sequence);
    if (before != sequence_of(number) + 1 || place->number != number) {
        return false;
    }
    shared_copy_stuck(out, &place->record);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load(&place->sequence) == before;
}
