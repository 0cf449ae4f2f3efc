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

/* A server whose site has no first page is healthy, too; one that has too much to do is not. */
static bool is_healthy(const char *answer)
{
    static const char start[] = "HTTP/1.1 ";
    return strncmp(answer, start, sizeof(start) - 1) == 0 && answer[sizeof(start) - 1] >= '2' &&
           answer[sizeof(start) - 1] <= '4';
}

/* Asks for what every server has, its first page. NULL, or what went wrong. */
static const char *ask(int fd, const struct sockaddr_storage *address, socklen_t bytes)
{
    static const char request[] = "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
    char answer[sizeof("HTTP/1.1 200")] = "";
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 ||
        connect(fd, (const struct sockaddr *)address, bytes) != 0 ||
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 ||
        recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL) < 0) {
        return strerror(errno);
    }
    return is_healthy(answer) ? NULL : "the answer is none, or an error of the server";
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
