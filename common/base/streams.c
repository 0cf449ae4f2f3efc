#include "common/base/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0 || errno != EBADF;
}

/* Gets the lowest number that is free, which is the one to fill. */
static bool fill(void)
{
    return open("/dev/null", O_RDWR | O_NOCTTY) >= 0 || open("/", O_PATH) >= 0;
}

bool streams_fill(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (!is_open(fd) && !fill()) {
            return false;
        }
    }
    return true;
}
