/* Sockets that were opened elsewhere: by a service manager, by the program before. */
#include "server/listen/listener_internal.h"

#include "common/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* NULL: it is a socket to accept HTTP connections from. */
static const char *reason_to_refuse(int fd)
{
    if (listener_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM) {
        return "it is no stream socket";
    }
    int domain = listener_option(fd, SOL_SOCKET, SO_DOMAIN);
    if (domain != AF_INET && domain != AF_INET6) {
        return "it is no TCP socket";
    }
    return listener_is_listening(fd) ? NULL : "it does not listen";
}

static bool prepare_passed(int fd, struct endpoint *endpoint, struct error *error)
{
    const char *reason = reason_to_refuse(fd);
    if (reason == NULL &&
        (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
         !listener_prepare(fd) || !endpoint_of_socket(endpoint, fd))) {
        reason = strerror(errno);
    }
    return reason == NULL ||
           error_set(
               error,
               "cannot take over descriptor %d: %s; pass it a TCP address (ListenStream= of a "
               ".socket unit, with Accept=no)",
               fd, reason);
}

/* The set of that address; a new one if there is none. NULL: there are too many addresses. */
static struct listener *find_or_begin(struct listeners *listeners, const struct endpoint *endpoint,
                                      size_t most)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (endpoint_equals(&listeners->list[i].bound, endpoint)) {
            return &listeners->list[i];
        }
    }
    if (listeners->count == ENDPOINTS_MOST) {
        return NULL;
    }
    struct listener *listener = &listeners->list[listeners->count++];
    *listener = (struct listener){
        .fds = memory_alloc_zeroed(most, sizeof(int)), .wanted = *endpoint, .bound = *endpoint};
    return listener;
}

static bool adopt_one(struct listeners *listeners, int fd, size_t most, struct error *error)
{
    struct endpoint endpoint;
    if (!prepare_passed(fd, &endpoint, error)) {
        return false;
    }
    struct listener *listener = find_or_begin(listeners, &endpoint, most);
    if (listener == NULL) {
        return error_set(
            error, "more than %d addresses are passed; list fewer ListenStream=", ENDPOINTS_MOST);
    }
    if (listener->count == 0) {
        listener->id = listeners_take_id(listeners, NULL);
        listener->reuseport = listener_option(fd, SOL_SOCKET, SO_REUSEPORT) == 1;
        socket_traits_read(&listener->traits, fd);
    }
    listener->fds[listener->count++] = fd;
    return true;
}

bool listeners_adopt(struct listeners *listeners, const int *fds, size_t count, struct error *error)
{
    *listeners = (struct listeners){0};
    for (size_t i = 0; i < count; i++) {
        if (!adopt_one(listeners, fds[i], count, error)) {
            for (size_t rest = i; rest < count; rest++) {
                close(fds[rest]);
            }
            listeners_close(listeners);
            return false;
        }
    }
    return true;
}
