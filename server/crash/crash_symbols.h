/* Names for the addresses of a stack. */
#ifndef TWINHTTPD_SERVER_CRASH_CRASH_SYMBOLS_H
#define TWINHTTPD_SERVER_CRASH_CRASH_SYMBOLS_H

#include "common/scoreboard/stack_note.h"

/* Fills in function, file, line, module and offset of each frame, and adds frames for functions
 * that were inlined. The addresses must be of this process, or of one that shares its ancestor.
 * Reads the debug information of the program and all of its libraries, which stays in memory. */
void crash_symbols_resolve(struct stack_story *stack);

#endif
