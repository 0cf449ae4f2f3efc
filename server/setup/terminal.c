#include "server/setup/terminal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PATH_BYTES = 32 };

void terminal_leave(void)
{
    if (getsid(0) == getpid()) {
        return;
    }
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) {
        ioctl(fd, TIOCNOTTY);
        close(fd);
    }
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++) { /* where there is no /dev/tty */
        ioctl(i, TIOCNOTTY);
    }
}

/* Puts what the path leads to in the place of a descriptor. */
static void replace(int fd, const char *path, int flags)
{
    int opened = open(path, flags | O_NOCTTY | O_CLOEXEC);
    if (opened >= 0) {
        dup2(opened, fd);
        close(opened);
    }
}

void terminal_leave_to_serve(void)
{
    char path[PATH_BYTES];
    terminal_leave();
    replace(STDIN_FILENO, "/dev/null", O_RDONLY);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        if (isatty(fd)) {
            snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
            replace(fd, path, O_WRONLY | O_NONBLOCK); /* nobody waits for a log */
        }
    }
}
