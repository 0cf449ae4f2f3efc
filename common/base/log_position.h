/* Whether lines that somebody was about to append to a log, and may have, are in it: asked of the
 * kernel by another, when the writer is dead. A write moves the position of the open file
 * description, which so tells of the last one, if nobody else writes through that description. */
#ifndef TWINHTTPD_COMMON_BASE_LOG_POSITION_H
#define TWINHTTPD_COMMON_BASE_LOG_POSITION_H

#include <stdbool.h>
#include <stddef.h>

/* Before a write, by a writer whose description is its own (log_file_own). From here on the
 * position tells whether the write took place. False: it tells nothing, since what is open has no
 * position: a pipe, a terminal, a socket. */
bool log_position_prepare(int fd);

/* Afterwards, with the dead writer's description: how many bytes of the lines need not be written
 * any more; the others are to be appended next. All, if they were written, and 0, if not. Of a
 * write that the death has cut short, those that are there; but if others have appended to a torn
 * line, it is to be written again as a whole. Where the user may not read the file, all or nothing.
 */
size_t log_position_find(int fd, const char *lines, size_t bytes);

#endif
