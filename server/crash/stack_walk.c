#include "server/crash/stack_walk.h"

#include <string.h>
#include <ucontext.h>
#include <unwind.h>

enum { FRAMES_WALKED = 100000 /* of an endless recursion; some 50 ms */ };

uint64_t stack_walk_pointer(const void *context)
{
#if defined(__x86_64__)
    return (uint64_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return ((const ucontext_t *)context)->uc_mcontext.sp;
#else
    (void)context;
    return 0;
#endif
}

struct walk {
    struct stack_note *note;
    bool left_handler; /* behind the frame that the kernel made for the signal */
    uint32_t frames;
};

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *argument)
{
    struct walk *walk = argument;
    int was_interrupted = 0;
    uint64_t address = _Unwind_GetIPInfo(context, &was_interrupted);
    walk->left_handler = walk->left_handler || was_interrupted != 0;
    if (!walk->left_handler || (address == 0 && walk->frames > 0)) { /* 0: behind the last one */
        return _URC_NO_REASON;
    }
    /* A return address may already belong to the next line, or to the next function. */
    stack_note_add(walk->note, was_interrupted != 0 || address == 0 ? address : address - 1);
    walk->frames++;
    return walk->frames < FRAMES_WALKED ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* A call of an address where no code is leaves nothing to unwind but, on x86, the return address
 * that the call has pushed. */
static void add_caller_of_nothing(struct stack_note *note, const void *context)
{
#if defined(__x86_64__)
    uint64_t address;
    memcpy(&address, (const void *)(uintptr_t)stack_walk_pointer(context), sizeof(address));
    stack_note_add(note, address - 1);
#else
    (void)note, (void)context;
#endif
}

/* Only walks: names are looked up by the process that reads the note. libgcc's unwinder finds its
 * tables with _dl_find_object, which takes no lock and allocates nothing (glibc 2.35 and later). */
void stack_walk(struct stack_note *note, const void *context)
{
    struct walk walk = {.note = note};
    _Unwind_Backtrace(on_frame, &walk);
    if (walk.frames == 1) {
        add_caller_of_nothing(note, context);
    }
}

static _Unwind_Reason_Code on_warm_up(struct _Unwind_Context *context, void *data)
{
    (void)context, (void)data;
    return _URC_NO_REASON;
}

void stack_walk_prepare(void)
{
    _Unwind_Backtrace(on_warm_up, NULL);
}
