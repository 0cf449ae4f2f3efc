#include "common/scoreboard/shared_copy.h"

#include "common/base/check.h"

#include <string.h>

/* Once: whoever looks at the copy must not be given, by a compiler that knows where it came from,
 * what stands there by now. */
static void copy_once(void *out, const void *shared, size_t bytes)
{
    CHECK(out != shared); /* what is judged must be out of others' reach */
    memcpy(out, shared, bytes);
    __asm__ volatile("" : : "r"(out) : "memory");
}

static uint32_t at_most(uint32_t count, uint32_t limit)
{
    return count < limit ? count : limit;
}

#define END_TEXT(text) ((text)[sizeof(text) - 1] = '\0')

void shared_copy_text(char *out, const char *shared, size_t bytes)
{
    CHECK(bytes > 0); /* the end takes a byte */
    copy_once(out, shared, bytes);
    out[bytes - 1] = '\0';
}

static void bound_request(struct request_copy *request)
{
    END_TEXT(request->line);
    END_TEXT(request->client);
}

static void bound_stack(struct stack_story *stack)
{
    stack->frame_count = at_most(stack->frame_count, CRASH_STORY_FRAMES);
    for (uint32_t i = 0; i < stack->frame_count; i++) {
        struct crash_frame *frame = &stack->frames[i];
        END_TEXT(frame->function);
        END_TEXT(frame->file);
        END_TEXT(frame->module);
    }
}

void shared_copy_death(struct death_record *out, const struct death_record *shared)
{
    uint32_t state = atomic_load_explicit(&shared->crash_state, memory_order_acquire);
    copy_once(out, shared, sizeof(*out));
    out->request_count = at_most(out->request_count, DEATH_REQUESTS);
    for (uint32_t i = 0; i < out->request_count; i++) {
        bound_request(&out->requests[i]);
    }
    out->crash.told = state == CRASH_PUBLISHED;
    END_TEXT(out->crash.assertion);
    bound_request(&out->crash.request);
    bound_stack(&out->crash.stack);
}

static void bound_thread(struct stuck_thread *thread)
{
    END_TEXT(thread->wait_channel);
    bound_request(&thread->request);
    bound_stack(&thread->stack);
}

/* Most of the room for threads is never touched, and so takes no memory. */
void shared_copy_stuck(struct stuck_record *out, const struct stuck_record *shared)
{
    copy_once(out, shared, offsetof(struct stuck_record, threads));
    out->thread_count = at_most(out->thread_count, STUCK_THREADS);
    copy_once(out->threads, shared->threads, out->thread_count * sizeof(*out->threads));
    for (uint32_t i = 0; i < out->thread_count; i++) {
        bound_thread(&out->threads[i]);
    }
}
