/* The stack of a thread: as it writes it in a signal handler, and as a reader holds it. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_STACK_NOTE_H
#define TWINHTTPD_COMMON_SCOREBOARD_STACK_NOTE_H

#include "common/base/span.h"

#include <stdatomic.h>
#include <stdint.h>

/* Of the backtrace of a thread. */
enum {
    CRASH_INNER_FRAMES = 12, /* the newest... */
    CRASH_OUTER_FRAMES = 32, /* ...and the oldest are kept, should there be more */
    CRASH_FRAMES = CRASH_INNER_FRAMES + CRASH_OUTER_FRAMES,
    CRASH_STORY_FRAMES = 60, /* functions that were inlined have frames of their own */
    CRASH_FUNCTION_BYTES = 48,
    CRASH_FILE_BYTES = 56,
    CRASH_MODULE_BYTES = 32
};
_Static_assert(CRASH_FRAMES <= CRASH_STORY_FRAMES, "every frame of a note has room in a story");

/* A thread's stack, as it writes it in a signal handler. */
struct stack_note {
    /* Frames met so far: the first stay, the others go round in what is left. */
    _Atomic uint32_t frames_met;
    uint64_t frames[CRASH_FRAMES]; /* each address lies within the instruction that calls */
};

/* One frame of a story. Without debug information file is empty; without a symbol function, too. */
struct crash_frame {
    uint64_t address;
    uint64_t offset; /* in the module */
    uint32_t line;
    char function[CRASH_FUNCTION_BYTES];
    char file[CRASH_FILE_BYTES]; /* relative to the source root; of a longer path its end */
    char module[CRASH_MODULE_BYTES];
};

/* A stack note as a reader holds it, with its addresses' names. */
struct stack_story {
    uint32_t left_out; /* frames that are missing before frames[left_out_at] */
    uint32_t left_out_at;
    uint32_t frame_count;
    struct crash_frame frames[CRASH_STORY_FRAMES]; /* innermost first */
};

/* Adds the next outer frame to a note. Async-signal-safe. */
void stack_note_add(struct stack_note *note, uint64_t address);

/* Copies the note: its frames have addresses and no names yet. */
void stack_note_read(const struct stack_note *note, struct stack_story *story);

#endif
