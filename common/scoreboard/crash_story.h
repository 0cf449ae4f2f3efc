/* A crash story (scoreboard.h) in words. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_CRASH_STORY_H
#define TWINHTTPD_COMMON_SCOREBOARD_CRASH_STORY_H

#include "common/base/log.h"
#include "common/scoreboard/deaths.h"

enum {
    CRASH_CODE_BYTES = 24,
    CRASH_TEXT_BYTES = 800, /* room for a request line in which every byte is escaped */
};

/* A signal's si_code by name: "SEGV_MAPERR", "SI_TKILL"; a number without a name becomes "code 7".
 */
void crash_code_name(int signal, int code, char out[CRASH_CODE_BYTES]);

/* Whether somebody sent the signal, rather than the kernel for something that the thread did. */
bool crash_was_sent(const struct crash_story *story);

/* Whether the fault has an address that means something. */
bool crash_has_address(const struct crash_story *story);

/* The number of frames[index], as a debugger would count: the frames left out are in it. */
uint32_t crash_frame_number(const struct stack_story *stack, uint32_t index);

/* "SIGSEGV (SEGV_MAPERR) at 0x0 in thread 1234 (slot 1), handling "GET / HTTP/1.1" from
 * 127.0.0.1:4711"; with ", assertion failed: `condition` at file:line," if the thread ended itself
 * for that. Quotes and backslashes of the request line are escaped. */
void crash_describe(const struct crash_story *story, char out[CRASH_TEXT_BYTES]);

/* "write_to_null at common/handlers/lab/fault.c:25", "abort in libc.so.6", or
 * "0x7f0011223344 in libc.so.6+0x1344". */
void crash_frame_describe(const struct crash_frame *frame, char out[CRASH_TEXT_BYTES]);

/* Writes a line for each frame to the log, behind "who: ". Allocates nothing. */
void crash_log_stack(enum log_level level, const char *who, const struct stack_story *stack);

enum { CRASH_WHO_BYTES = 24 };

/* "process 3" */
void crash_name_process(uint32_t process, char who[CRASH_WHO_BYTES]);

/* Writes the story to the log, at level error: the description, then a line for each frame, all of
 * them behind "who: ". Allocates nothing. */
void crash_log(const struct crash_story *story, const char *who);

#endif
