#include "server/listen/listener.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "server/listen/listener_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    UNSENT_BYTES = 524288, /* in the kernel for one client, beyond what is on its way to it */
    ACCEPT_WAIT_US = 1000
};

/* ---- One socket ---- */

bool listener_set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

int listener_option(int fd, int level, int option)
{
    int value = -1;
    socklen_t bytes = sizeof(value);
    return getsockopt(fd, level, option, &value, &bytes) == 0 ? value : -1;
}

bool listener_is_listening(int fd)
{
    return listener_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

/* TCP_NODELAY: responses are written whole, so there is nothing for
 * Nagle's algorithm to gather. TCP_NOTSENT_LOWAT: a thousand clients that do not read would else
 * fill the kernel's memory for TCP, some megabytes each, and it would then cut others.
 * SO_OOBINLINE: what a client sends is read as it was sent, also the bytes that it calls urgent
 * (RFC 6093), so that they can be counted. SO_RCVTIMEO:
 * if another process that shares the socket takes O_NONBLOCK from it, an accept that finds nothing
 * does not wait for long. */
bool listener_prepare(int fd)
{
    const struct timeval wait = {.tv_usec = ACCEPT_WAIT_US};
    return listener_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
           listener_set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1) &&
           listener_set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES) &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0;
}

static bool prepare(int fd, const struct endpoint *endpoint, bool reuseport)
{
    return listener_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) && listener_prepare(fd) &&
           (endpoint->address.any.sa_family != AF_INET6 ||
            listener_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !endpoint->takes_both)) &&
           (!reuseport || listener_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1));
}

static int open_socket(const struct endpoint *endpoint, bool reuseport)
{
    int fd = socket(endpoint->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (prepare(fd, endpoint, reuseport) &&
        bind(fd, &endpoint->address.any, endpoint->bytes) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return -1;
}

/* ---- A set of them ---- */

static bool explain_bind_error(const struct endpoint *endpoint, const char *option,
                               struct error *error)
{
    char address[ENDPOINT_TEXT_BYTES];
    const char *cause = strerror(errno);
    const char *fix = "choose another with ";
    option = option != NULL ? option : "--listen";
    if (errno == EADDRINUSE) {
        fix = "stop the server that listens there, or choose another port with ";
    } else if (errno == EACCES) {
        fix = "ports below 1024 need root or CAP_NET_BIND_SERVICE";
        option = "";
    } else if (errno == EADDRNOTAVAIL) {
        fix = "choose an address of this machine with ";
    } else if (errno == EAFNOSUPPORT) {
        fix = "this machine has no IPv6";
        option = "";
    }
    endpoint_format(endpoint, address);
    return error_set(error, "cannot listen on %s: %s; %s%s", address, cause, fix, option);
}

/* With SO_REUSEPORT a second server could join the address unseen: a socket without it tells
 * whether somebody is there already. */
static bool is_taken(const struct endpoint *endpoint)
{
    int fd = open_socket(endpoint, false);
    if (fd < 0) {
        return true;
    }
    close(fd);
    return false;
}

/* At an address whose port may be 0: the first socket gets one, the others follow. */
static bool open_at(struct listener *listener, const struct endpoint *endpoint, size_t count)
{
    listener->bound = *endpoint;
    while (listener->count < count) {
        int fd = open_socket(&listener->bound, listener->reuseport);
        if (fd >= 0) {
            listener->fds[listener->count++] = fd;
        }
        if (fd < 0 || (listener->count == 1 && !endpoint_of_socket(&listener->bound, fd))) {
            return false;
        }
    }
    socket_traits_read(&listener->traits, listener->fds[0]);
    return true;
}

static void close_all(struct listener *listener)
{
    int saved_errno = errno;
    while (listener->count > 0) {
        close(listener->fds[--listener->count]);
    }
    errno = saved_errno;
}

/* Where IPv6 is switched off every address is every address of IPv4. */
static bool open_wherever(struct listener *listener, const struct endpoint *endpoint, size_t count)
{
    if (open_at(listener, endpoint, count)) {
        return true;
    }
    close_all(listener);
    struct endpoint in_v4;
    char text[ENDPOINT_TEXT_BYTES];
    if (!endpoint->takes_both || errno != EAFNOSUPPORT) {
        return false;
    }
    snprintf(text, sizeof(text), "0.0.0.0:%u", endpoint_port(endpoint));
    endpoint_parse(&in_v4, text);
    return open_at(listener, &in_v4, count);
}

bool listener_open_set(struct listener *listener, const struct endpoint *endpoint, bool reuseport,
                       size_t count)
{
    *listener = (struct listener){
        .reuseport = reuseport,
        .wanted = *endpoint,
        .fds = memory_alloc_zeroed(count, sizeof(listener->fds[0])),
    };
    bool opened = open_wherever(listener, endpoint, count);
    if (!opened) {
        int saved_errno = errno;
        listener_close(listener);
        errno = saved_errno;
    }
    return opened;
}

bool listener_open(struct listener *listener, const struct endpoint *endpoint,
                   const struct listener_plan *plan, struct error *error)
{
    CHECK(plan->count == 1 || plan->reuseport);
    *listener = (struct listener){0};
    return ((!plan->reuseport || !is_taken(endpoint)) &&
            listener_open_set(listener, endpoint, plan->reuseport, plan->count)) ||
           explain_bind_error(endpoint, plan->option, error);
}

bool listener_share(struct listener *listener, const struct listener *other)
{
    *listener = *other;
    listener->fds = memory_alloc_zeroed(other->count, sizeof(listener->fds[0]));
    for (listener->count = 0; listener->count < other->count; listener->count++) {
        int fd = fcntl(other->fds[listener->count], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            int saved_errno = errno;
            listener_close(listener);
            errno = saved_errno;
            return false;
        }
        listener->fds[listener->count] = fd;
    }
    return true;
}

void listener_close(struct listener *listener)
{
    close_all(listener);
    free(listener->fds);
    *listener = (struct listener){0};
}

int listener_fd(const struct listener *listener, size_t index)
{
    return listener->fds[index % listener->count];
}
