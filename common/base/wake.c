#include "common/base/wake.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int wake_open(void)
{
    return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

/* Can only fail when the counter is full, and then whoever waits is awake anyway. */
void wake(int fd)
{
    ssize_t ignored = write(fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored;
}
