/* Copies out of the scoreboard, to which others may be writing anything. What bounds a loop, ends a
 * text or is an index is made true in the copy, which then may be used like any other object. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_SHARED_COPY_H
#define TWINHTTPD_COMMON_SCOREBOARD_SHARED_COPY_H

#include "common/scoreboard/deaths.h"
#include "common/scoreboard/stuck_record.h"

#include <stddef.h>

/* A text that has so many bytes of room; it may lack its end. */
void shared_copy_text(char *out, const char *shared, size_t bytes);

/* A crash story that is not complete yet is not told in the copy. */
void shared_copy_death(struct death_record *out, const struct death_record *shared);

/* Of the threads only as many as there are; the rest of out stays as it is. */
void shared_copy_stuck(struct stuck_record *out, const struct stuck_record *shared);

#endif
