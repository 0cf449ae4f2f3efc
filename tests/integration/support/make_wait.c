/* Preloaded into a server: once there is a file MAKE_WAIT, each serving process begins with taking
 * O_NONBLOCK off everything that it has got with its fork and could share with others: pipes,
 * devices, files, event counters. Sockets are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_signals(int fd)
{
    char path[32], target[64] = "";
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "signalfd") != NULL;
}

static void take_flags_off(void)
{
    for (int fd = 0; fd < 100; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0 && !S_ISSOCK(status.st_mode) && !is_signals(fd)) {
            fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        }
    }
}

int prctl(int option, ...)
{
    unsigned long values[4];
    va_list arguments;
    va_start(arguments, option);
    for (int i = 0; i < 4; i++) {
        values[i] = va_arg(arguments, unsigned long);
    }
    va_end(arguments);
    if (option == PR_SET_PDEATHSIG && access(getenv("MAKE_WAIT"), F_OK) == 0) {
        take_flags_off();
    }
    return (int)syscall(SYS_prctl, option, values[0], values[1], values[2], values[3]);
}
