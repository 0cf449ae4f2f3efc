/* Who turns a crash note into a story: a process of its own, which lives for some milliseconds. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_CRASH_TELLER_H
#define TWINHTTPD_SERVER_SUPERVISE_CRASH_TELLER_H

#include "common/base/scoreboard.h"

/* For the master, behind everything that is urgent: starts a teller for each buried process that
 * left a note. The story then gets its names, is written to the log, and appears in /status. */
void crash_teller_start(struct scoreboard *scoreboard);

/* For a process whose master does not: writes the story to the log, and returns when it is written.
 * Async-signal-safe. */
void crash_teller_run(const struct crash_story *story, uint32_t worker);

#endif
