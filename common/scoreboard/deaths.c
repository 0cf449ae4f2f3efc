#include "common/scoreboard/deaths.h"

#include "common/base/check.h"
#include "common/scoreboard/scoreboard.h"
#include "common/scoreboard/shared_copy.h"

#include <string.h>

static bool read_crash_note(const struct crash_note *note, struct crash_story *story)
{
    if (atomic_load_explicit(&note->written, memory_order_acquire) == 0) {
        return false;
    }
    story->told = 1;
    story->stack_overflow = note->stack_overflow != 0;
    story->signal = note->signal;
    story->code = note->code;
    story->pid = note->pid;
    story->tid = note->tid;
    story->slot = note->slot;
    story->sender_pid = note->sender_pid;
    story->sender_uid = note->sender_uid;
    story->address = note->address;
    shared_copy_text(story->assertion, note->assertion, sizeof(story->assertion));
    stack_note_read(&note->stack, &story->stack);
    return true;
}

void deaths_read_crash(const struct scoreboard *scoreboard, uint32_t first, uint32_t count,
                       struct crash_story *story)
{
    CHECK(first <= scoreboard->slot_capacity && count <= scoreboard->slot_capacity - first);
    memset(story, 0, sizeof(*story));
    story->slot = -1;
    for (uint32_t i = first; i < first + count; i++) {
        if (read_crash_note(&scoreboard->slots[i].crash, story)) {
            break;
        }
    }
    if ((uint32_t)story->slot < first || (uint32_t)story->slot >= first + count) {
        story->slot = -1;
        return;
    }
    CHECK((uint32_t)story->slot < scoreboard->slot_capacity); /* the note's word is bounded now */
    story->has_request = slot_note_read(&scoreboard->slots[story->slot], &story->request);
    story->request.slot = (uint32_t)story->slot;
}

uint64_t deaths_requests_lost(const struct death_record *record)
{
    return record->lost.in_progress + record->lost.awaited;
}

void deaths_take_crash(struct scoreboard *scoreboard, uint32_t slot, struct crash_story *story)
{
    deaths_read_crash(scoreboard, slot, 1, story);
    atomic_store(&scoreboard->slots[slot].crash.written, 0);
    slot_note_end(&scoreboard->slots[slot]);
}

void deaths_publish_crash(struct scoreboard *scoreboard, uint64_t death,
                          const struct crash_story *story)
{
    struct death_record *record = &scoreboard->records[death % DEATH_RECORDS];
    CHECK(story->stack.frame_count <= CRASH_STORY_FRAMES);
    if (record->number == death) {
        record->crash = *story;
        atomic_store_explicit(&record->crash_state, CRASH_PUBLISHED, memory_order_release);
    }
}

struct number_range deaths_remembered(const struct scoreboard *scoreboard)
{
    return number_range_last(atomic_load(&scoreboard->deaths), DEATH_RECORDS);
}

/* What successors that live have counted since. */
static struct adoption_counts count_living(const struct scoreboard *scoreboard, uint64_t number)
{
    struct adoption_counts living = {0};
    uint32_t count = scoreboard_slot_count(scoreboard);
    for (uint32_t i = 0; i < count; i++) {
        const struct worker_slot *slot = &scoreboard->slots[i];
        if (atomic_load(&slot->legacy) == number + 1) {
            adoption_add(&living, &slot->counters.adoption);
        }
    }
    return living;
}

static void add_living(const struct scoreboard *scoreboard, uint64_t number,
                       struct death_record *out)
{
    const struct adoption_counts living = count_living(scoreboard, number);
    for (int i = 0; i < ADOPTION_KINDS; i++) {
        out->adoption.of[i] += living.of[i];
    }
    out->lost.in_progress += living.of[ADOPTION_LOST_IN_PROGRESS];
    out->lost.awaited += living.of[ADOPTION_LOST_AWAITED];
}

bool deaths_copy(const struct scoreboard *scoreboard, uint64_t number, struct death_record *out)
{
    enum { TRIES = 8 };
    for (int try = 0; try < TRIES; try++) {
        uint64_t before = atomic_load(&scoreboard->death_sequence);
        struct number_range remembered = deaths_remembered(scoreboard);
        if (number < remembered.first || number >= remembered.end) {
            return false;
        }
        shared_copy_death(out, &scoreboard->records[number % DEATH_RECORDS]);
        if (out->left != 0) {
            add_living(scoreboard, number, out);
        }
        if (before % 2 == 0 && before == atomic_load(&scoreboard->death_sequence)) {
            return true;
        }
    }
    return false;
}

/* FNV-1a, by words. */
static uint64_t mix(uint64_t digest, uint64_t word)
{
    return (digest ^ word) * UINT64_C(0x100000001b3);
}

uint64_t deaths_digest(const struct scoreboard *scoreboard, uint64_t number)
{
    const struct death_record *record = &scoreboard->records[number % DEATH_RECORDS];
    uint64_t digest = mix(UINT64_C(0xcbf29ce484222325), record->number);
    digest = mix(digest, atomic_load(&record->crash_state));
    digest = mix(digest, record->recovery_ns);
    digest = mix(digest, record->lost.in_progress);
    digest = mix(digest, record->lost.awaited);
    digest = mix(digest, record->lost.idle_cut);
    if (record->left == 0) {
        return digest;
    }
    const struct adoption_counts living = count_living(scoreboard, number);
    for (int i = 0; i < ADOPTION_KINDS; i++) {
        digest = mix(digest, record->adoption.of[i] + living.of[i]);
    }
    return digest;
}
