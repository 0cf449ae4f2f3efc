#include "common/base/small_file.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool small_file_read(const char *path, char *text, size_t bytes)
{
    CHECK(bytes > 0);
    text[0] = '\0';
    errno = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, bytes - 1);
    int cause = errno;
    close(fd);
    errno = cause;
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}
