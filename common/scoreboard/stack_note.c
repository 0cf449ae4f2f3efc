#include "common/scoreboard/stack_note.h"

#include "common/base/check.h"

/* Where the frame of this depth is kept. */
static uint32_t frame_place(uint32_t depth)
{
    uint32_t place = depth < CRASH_INNER_FRAMES
                         ? depth
                         : CRASH_INNER_FRAMES + (depth - CRASH_INNER_FRAMES) % CRASH_OUTER_FRAMES;
    CHECK(place < CRASH_FRAMES);
    return place;
}

void stack_note_add(struct stack_note *note, uint64_t address)
{
    uint32_t depth = atomic_load_explicit(&note->frames_met, memory_order_relaxed);
    note->frames[frame_place(depth)] = address;
    atomic_store_explicit(&note->frames_met, depth + 1, memory_order_release);
}

void stack_note_read(const struct stack_note *note, struct stack_story *story)
{
    uint32_t met = atomic_load(&note->frames_met);
    uint32_t kept = met < CRASH_FRAMES ? met : CRASH_FRAMES;
    story->left_out = met - kept;
    story->left_out_at = CRASH_INNER_FRAMES;
    for (uint32_t i = 0; i < kept; i++) {
        uint32_t depth = i < CRASH_INNER_FRAMES ? i : i + story->left_out;
        story->frames[i].address = note->frames[frame_place(depth)];
    }
    story->frame_count = kept;
}
