#include "server/supervise/health_check.h"

#include "common/net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS = 2 };

/* A wildcard address can be bound, but asking it means asking this host. */
static void replace_wildcard(struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        struct sockaddr_in *v4 = (void *)address;
        if (v4->sin_addr.s_addr == htonl(INADDR_ANY)) {
            v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        }
    } else if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (void *)address;
        if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) {
            v6->sin6_addr = in6addr_loopback;
        }
    }
}

/* Whether the first bytes of the answer are those of a 200; NULL, or what went wrong. */
static const char *ask(int fd, const struct sockaddr_storage *address, socklen_t bytes)
{
    static const char request[] =
        "GET /plaintext HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    static const char wanted[] = "HTTP/1.1 200 ";
    const struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
    char answer[sizeof(wanted)] = "";
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 ||
        connect(fd, (const struct sockaddr *)address, bytes) != 0 ||
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 ||
        recv(fd, answer, sizeof(wanted) - 1, MSG_WAITALL) < 0) {
        return strerror(errno);
    }
    return strcmp(answer, wanted) == 0 ? NULL : "the answer is not 200";
}

int health_check(const char *address)
{
    struct sockaddr_storage resolved;
    socklen_t bytes;
    char error[LISTENER_ERROR_BYTES];
    const char *problem = error;
    if (listener_resolve(address, &resolved, &bytes, error)) {
        replace_wildcard(&resolved);
        int fd = socket(resolved.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        problem = fd < 0 ? strerror(errno) : ask(fd, &resolved, bytes);
        if (fd >= 0) {
            close(fd);
        }
    }
    if (problem == NULL) {
        printf("%s: healthy\n", address);
    } else {
        fprintf(stderr, "%s: not healthy: %s\n", address, problem);
    }
    return problem == NULL ? 0 : 1;
}
