/* The stack of a thread that a signal has interrupted, walked in the signal's handler. */
#ifndef TWINHTTPD_SERVER_CRASH_STACK_WALK_H
#define TWINHTTPD_SERVER_CRASH_STACK_WALK_H

#include "common/scoreboard/stack_note.h"

/* Outside of any handler, once: so that nothing is initialised or bound in one. */
void stack_walk_prepare(void);

/* Adds the frames from the interrupted one outwards; context is the handler's third argument.
 * Async-signal-safe. On a damaged stack it may fault: what has been written by then counts. */
void stack_walk(struct stack_note *note, const void *context);

/* Where the interrupted thread's stack ended; 0: this architecture is not known. */
uint64_t stack_walk_pointer(const void *context);

#endif
