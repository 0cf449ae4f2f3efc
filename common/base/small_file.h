/* A file that is read whole into a buffer at hand: those of /proc and /sys. */
#ifndef TWINHTTPD_COMMON_BASE_SMALL_FILE_H
#define TWINHTTPD_COMMON_BASE_SMALL_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* At most bytes - 1 bytes of it, ended by a NUL. False: it has none, or may not be read; errno
 * says why, and is 0 where it has none. */
bool small_file_read(const char *path, char *text, size_t bytes);

#endif
