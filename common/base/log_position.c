#include "common/base/log_position.h"

#include "common/base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DESCRIPTOR_PATH_BYTES = 32 };

/* A write appends, wherever the position was, and leaves it behind what it has written: that is
 * never the beginning. */
bool log_position_prepare(int fd)
{
    return lseek(fd, 0, SEEK_SET) == 0;
}

/* With the rights of this user, not with those of whoever opened the log. */
static int open_for_reading(int fd)
{
    char path[DESCRIPTOR_PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* The longest beginning of the lines with which so many bytes end; 0: none. */
static size_t longest_beginning(const char *end, size_t room, const char *lines, size_t bytes)
{
    size_t length = bytes < room ? bytes : room;
    while (length > 0 && memcmp(end - length, lines, length) != 0) {
        length--;
    }
    return length;
}

/* How much of the lines lies before a place of the file. All, if that cannot be told: that
 * something was written is known, and that a write is cut short is rare. */
static size_t written_before(int fd, off_t end, const char *lines, size_t bytes)
{
    size_t room = end < (off_t)bytes ? (size_t)end : bytes;
    int reader = open_for_reading(fd);
    if (reader < 0) {
        return bytes;
    }
    char *before = memory_alloc(room);
    bool is_read = pread(reader, before, room, end - (off_t)room) == (ssize_t)room;
    size_t written = is_read ? longest_beginning(before + room, room, lines, bytes) : 0;
    free(before);
    close(reader);
    return written > 0 ? written : bytes;
}

static size_t whole_lines(const char *lines, size_t bytes)
{
    const char *end = memrchr(lines, '\n', bytes);
    return end == NULL ? 0 : (size_t)(end - lines) + 1;
}

size_t log_position_find(int fd, const char *lines, size_t bytes)
{
    struct stat status;
    off_t end = lseek(fd, 0, SEEK_CUR);
    if (end <= 0 || bytes == 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return 0;
    }
    size_t written = written_before(fd, end, lines, bytes);
    return status.st_size == end ? written : whole_lines(lines, written);
}
