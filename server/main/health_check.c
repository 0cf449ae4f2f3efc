#include "server/main/health_check.h"

#include "server/listen/lookup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_SECONDS = 2 };

/* A server whose site has no first page is healthy, too; one that has too much to do is not. */
static bool is_healthy(const char *answer)
{
    static const char start[] = "HTTP/1.1 ";
    return strncmp(answer, start, sizeof(start) - 1) == 0 && answer[sizeof(start) - 1] >= '2' &&
           answer[sizeof(start) - 1] <= '4';
}

/* Asks for what every server has, its first page. NULL, or what went wrong. */
static const char *ask(int fd, const struct endpoint *endpoint)
{
    static const char request[] = "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
    char answer[sizeof("HTTP/1.1 200")] = "";
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 ||
        connect(fd, &endpoint->address.any, endpoint->bytes) != 0 ||
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 ||
        recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL) < 0) {
        return errno == EAGAIN || errno == EINPROGRESS ? "no answer in time" : strerror(errno);
    }
    errno = 0; /* whoever answers is no address that this machine lacks */
    return is_healthy(answer) ? NULL : "the answer is none, or an error of the server";
}

/* NULL: the server answers there, or this machine lacks one of a name's addresses. */
static const char *check(const struct endpoint *endpoint)
{
    struct endpoint reachable;
    endpoint_make_reachable(endpoint, &reachable);
    int fd = socket(reachable.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *problem = fd < 0 ? strerror(errno) : ask(fd, &reachable);
    if (problem != NULL && endpoint->may_lack &&
        (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == ENETUNREACH)) {
        problem = NULL;
    }
    if (fd >= 0) {
        close(fd);
    }
    return problem;
}

int health_check(const char *listen)
{
    struct endpoints endpoints;
    struct error error;
    bool interrupted;
    const char *problem = error.text;
    if (lookup_wait(listen, &endpoints, -1, &interrupted, &error)) {
        problem = NULL;
        for (size_t i = 0; i < endpoints.count && problem == NULL; i++) {
            problem = check(&endpoints.list[i]);
        }
    }
    if (problem == NULL) {
        printf("%s: healthy\n", listen);
    } else {
        fprintf(stderr, "%s: not healthy: %s\n", listen, problem);
    }
    return problem == NULL ? 0 : 1;
}
