#include "common/net/listener.h"

#include "common/base/memory.h"
#include "common/base/scoreboard.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    UNSENT_BYTES = 524288 /* in the kernel for one client, beyond what is on its way to it */
};

/* Splits at the last colon and takes the brackets off an IPv6 address. */
static bool split_address(const char *address, char host[256], const char **port)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= 256) {
        return false;
    }
    size_t bytes = (size_t)(colon - address);
    if (bytes >= 2 && address[0] == '[' && address[bytes - 1] == ']') {
        address++;
        bytes -= 2;
    }
    memcpy(host, address, bytes);
    host[bytes] = '\0';
    *port = colon + 1;
    return bytes > 0;
}

bool listener_resolve(const char *address, struct sockaddr_storage *out, socklen_t *bytes,
                      char error[LISTENER_ERROR_BYTES])
{
    char host[256];
    const char *port;
    if (!split_address(address, host, &port)) {
        snprintf(error, LISTENER_ERROR_BYTES,
                 "cannot listen on \"%s\": not an address; give HOST:PORT, as 127.0.0.1:8080",
                 address);
        return false;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    bool any = strcmp(host, "*") == 0;
    hints.ai_family = any ? AF_INET : AF_UNSPEC;
    int result = getaddrinfo(any ? NULL : host, port, &hints, &found);
    if (result != 0) {
        snprintf(error, LISTENER_ERROR_BYTES,
                 "cannot listen on \"%s\": %s; give an address of this machine", address,
                 gai_strerror(result));
        return false;
    }
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* Accepted sockets inherit them. TCP_NODELAY: responses are written whole, so there is nothing for
 * Nagle's algorithm to gather. TCP_NOTSENT_LOWAT: a thousand clients that do not read would else
 * fill the kernel's memory for TCP, some megabytes each, and it would then cut others. */
static bool set_inherited_options(int fd)
{
    return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
           set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES);
}

static int open_socket(const struct sockaddr_storage *address, socklen_t bytes, bool reuseport)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set_inherited_options(fd) &&
        (!reuseport || set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
        bind(fd, (const struct sockaddr *)address, bytes) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return -1;
}

static void explain_bind_error(const char *address, char error[LISTENER_ERROR_BYTES])
{
    const char *fix = "choose another with --listen";
    if (errno == EADDRINUSE) {
        fix = "stop the server that listens there, or choose another port with --listen";
    } else if (errno == EACCES) {
        fix = "ports below 1024 need root or CAP_NET_BIND_SERVICE";
    } else if (errno == EADDRNOTAVAIL) {
        fix = "choose an address of this machine with --listen";
    }
    snprintf(error, LISTENER_ERROR_BYTES, "cannot listen on %s: %s; %s", address, strerror(errno),
             fix);
}

/* The address that the first socket got, for the others and for people. */
static bool read_bound_address(struct listener *listener, struct sockaddr_storage *address,
                               socklen_t bytes)
{
    if (getsockname(listener->fds[0], (struct sockaddr *)address, &bytes) != 0) {
        return false;
    }
    struct client_address packed = client_address_pack((const struct sockaddr *)address);
    char text[CLIENT_TEXT_BYTES];
    client_address_format(&packed, text);
    snprintf(listener->address, sizeof(listener->address), "%s", text);
    return true;
}

/* With SO_REUSEPORT a second server could join the address unseen: a socket without it tells
 * whether somebody is there already. */
static bool is_taken(const struct sockaddr_storage *address, socklen_t bytes)
{
    int fd = open_socket(address, bytes, false);
    if (fd < 0) {
        return true;
    }
    close(fd);
    return false;
}

bool listener_open(struct listener *listener, const char *address, bool reuseport, size_t count,
                   char error[LISTENER_ERROR_BYTES])
{
    assert(count == 1 || reuseport);
    struct sockaddr_storage bound;
    socklen_t bytes;
    *listener = (struct listener){0};
    if (!listener_resolve(address, &bound, &bytes, error)) {
        return false;
    }
    if (reuseport && is_taken(&bound, bytes)) {
        explain_bind_error(address, error);
        return false;
    }
    listener->fds = memory_alloc_zeroed(count, sizeof(listener->fds[0]));
    while (listener->count < count) {
        int fd = open_socket(&bound, bytes, reuseport);
        if (fd >= 0) {
            listener->fds[listener->count++] = fd;
        }
        if (fd < 0 || (listener->count == 1 && !read_bound_address(listener, &bound, bytes))) {
            explain_bind_error(address, error);
            listener_close(listener);
            return false;
        }
    }
    return true;
}

static bool has_option(int fd, int option, int wanted)
{
    int value;
    socklen_t bytes = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 && value == wanted;
}

static bool is_listening(int fd)
{
    return has_option(fd, SO_ACCEPTCONN, 1);
}

bool listener_read_address(struct listener *listener)
{
    struct sockaddr_storage address = {0};
    for (size_t i = 0; i < listener->count; i++) {
        if (!is_listening(listener->fds[i])) {
            errno = EINVAL;
            return false;
        }
    }
    return read_bound_address(listener, &address, sizeof(address));
}

/* NULL: it is a socket to accept HTTP connections from. */
static const char *reason_to_refuse(int fd)
{
    if (!has_option(fd, SO_TYPE, SOCK_STREAM)) {
        return "it is no stream socket";
    }
    if (!has_option(fd, SO_DOMAIN, AF_INET) && !has_option(fd, SO_DOMAIN, AF_INET6)) {
        return "it is no TCP socket";
    }
    return is_listening(fd) ? NULL : "it does not listen";
}

static bool adopt_socket(int fd, char error[LISTENER_ERROR_BYTES])
{
    const char *reason = reason_to_refuse(fd);
    if (reason == NULL && (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
                           fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || !set_inherited_options(fd))) {
        reason = strerror(errno);
    }
    if (reason != NULL) {
        snprintf(error, LISTENER_ERROR_BYTES,
                 "cannot take over descriptor %d from the service manager: %s; pass it a TCP "
                 "address (ListenStream= of a .socket unit, with Accept=no)",
                 fd, reason);
    }
    return reason == NULL;
}

bool listener_adopt(struct listener *listener, int first_fd, size_t count,
                    char error[LISTENER_ERROR_BYTES])
{
    bool good = true;
    *listener = (struct listener){.fds = memory_alloc_zeroed(count, sizeof(listener->fds[0])),
                                  .is_passed = true};
    while (listener->count < count) {
        int fd = first_fd + (int)listener->count;
        listener->fds[listener->count++] = fd;
        good = good && adopt_socket(fd, error);
    }
    if (good && !listener_read_address(listener)) {
        snprintf(error, LISTENER_ERROR_BYTES,
                 "cannot tell the address of descriptor %d: %s; bind it before it is passed",
                 first_fd, strerror(errno));
        good = false;
    }
    if (!good) {
        listener_close(listener);
    }
    return good;
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
    for (size_t i = 0; i < listener->count; i++) {
        close(listener->fds[i]);
    }
    free(listener->fds);
    *listener = (struct listener){0};
}

/* A socket that was bound to whatever port was free has lost it when it was shut down; one that was
 * bound to a certain port still has it, and refuses to be bound again. */
static bool listen_again(const struct listener *listener, int fd)
{
    struct sockaddr_storage address;
    socklen_t bytes;
    char error[LISTENER_ERROR_BYTES];
    return listener_resolve(listener->address, &address, &bytes, error) &&
           (bind(fd, (const struct sockaddr *)&address, bytes) == 0 || errno == EINVAL) &&
           listen(fd, BACKLOG) == 0;
}

bool listener_listen(const struct listener *listener)
{
    bool good = true;
    for (size_t i = 0; i < listener->count; i++) {
        good = (is_listening(listener->fds[i]) || listen_again(listener, listener->fds[i])) && good;
    }
    return good;
}

static bool is_loopback_v4(uint32_t address)
{
    return ntohl(address) >> 24 == IN_LOOPBACKNET;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        return is_loopback_v4(((const struct sockaddr_in *)address)->sin_addr.s_addr);
    }
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    uint32_t mapped;
    memcpy(&mapped, &v6->s6_addr[12], sizeof(mapped));
    return address->ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && is_loopback_v4(mapped)));
}

bool listener_is_loopback(const struct listener *listener)
{
    for (size_t i = 0; i < listener->count; i++) {
        struct sockaddr_storage address = {0};
        socklen_t bytes = sizeof(address);
        if (getsockname(listener->fds[i], (struct sockaddr *)&address, &bytes) != 0 ||
            !is_loopback(&address)) {
            return false;
        }
    }
    return listener->count > 0;
}

int listener_fd(const struct listener *listener, size_t index)
{
    return listener->fds[index % listener->count];
}
