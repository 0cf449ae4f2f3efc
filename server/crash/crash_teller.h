/* Who turns a crash note into a story: a process of its own, which lives for some milliseconds. */
#ifndef TWINHTTPD_SERVER_CRASH_CRASH_TELLER_H
#define TWINHTTPD_SERVER_CRASH_CRASH_TELLER_H

#include "common/scoreboard/deaths.h"

struct tellers;

/* For the master: the story of a death gets its names, is written to the log, and appears in
 * the scoreboard, as soon as a teller is free. */
void crash_teller_add(struct tellers *tellers, const struct death_record *death);

/* For a process whose master does not: writes the story to the log behind "who: ", and returns when
 * it is written. Async-signal-safe. */
void crash_teller_run(const struct crash_story *story, const char *who);

#endif
