/* Preloaded into a server: stands for code of somebody else's in a serving process. When what a
 * client sends begins with a word that it knows, it does that in the worker, behind all that
 * confines it, and answers with what became of it:
 *
 *     INTRUDE-OPEN PATH       opens for reading and writing, then for reading alone
 *     INTRUDE-CONNECT PORT    makes a connection to that port of this machine, without socket() or
 * connect()
 *
 * With WITHOUT_LANDLOCK in the environment the kernel seems to have no Landlock. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TEXT_BYTES = 512, DESCRIPTORS = 64 };

static const char *try_to_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        return strerrorname_np(errno);
    }
    close(fd);
    return "open";
}

static void do_open(const char *path, char *answer)
{
    const char *both = try_to_open(path, O_RDWR);
    snprintf(answer, TEXT_BYTES, "%s %s\n", both, try_to_open(path, O_RDONLY));
}

/* A listening socket that is shut down is an ordinary one again. */
static void do_connect(int port, char *answer)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ssize_t sent = -1;
    for (int fd = 3; fd < DESCRIPTORS && sent < 0 && errno != EINPROGRESS; fd++) {
        shutdown(fd, SHUT_RD);
        sent = sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (const struct sockaddr *)&to,
                      sizeof(to));
    }
    snprintf(answer, TEXT_BYTES, "%s\n", sent < 0 ? strerrorname_np(errno) : "connected");
}

static int intrude(const char *text, char *answer)
{
    char path[TEXT_BYTES];
    int port;
    if (sscanf(text, "INTRUDE-OPEN %511s", path) == 1) {
        do_open(path, answer);
    } else if (sscanf(text, "INTRUDE-CONNECT %d", &port) == 1) {
        do_connect(port, answer);
    } else {
        return 0;
    }
    return 1;
}

ssize_t recv(int fd, void *data, size_t bytes, int flags)
{
    ssize_t (*real)(int, void *, size_t, int) =
        (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    char text[TEXT_BYTES] = "", answer[TEXT_BYTES] = "";
    ssize_t got = real(fd, data, bytes, flags);
    if (got > 0 && got < TEXT_BYTES) {
        memcpy(text, data, (size_t)got);
        if (intrude(text, answer)) {
            send(fd, answer, strlen(answer), MSG_NOSIGNAL);
            return 0; /* as if the client had ended */
        }
    }
    return got;
}

long syscall(long number, ...)
{
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    if (number == SYS_landlock_create_ruleset && getenv("WITHOUT_LANDLOCK") != NULL) {
        errno = ENOSYS;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
