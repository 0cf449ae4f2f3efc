/* What other processes that share the sockets have done to them. */
#include "server/listen/listener_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A socket that was bound to whatever port was free has lost it when it was shut down; one that was
 * bound to a certain port still has it, and refuses to be bound again. */
static bool listen_again(const struct listener *listener, int fd)
{
    return (bind(fd, &listener->bound.address.any, listener->bound.bytes) == 0 ||
            errno == EINVAL) &&
           listen(fd, (int)listener->traits.backlog) == 0;
}

static bool is_in_place(const struct listener *listener, int fd)
{
    struct endpoint endpoint;
    return endpoint_of_socket(&endpoint, fd) && endpoint_equals(&endpoint, &listener->bound);
}

/* The first thing that is wrong is told: the others mostly follow from it. */
static void tell(const struct listener *listener, struct error *what, const char *happened,
                 const char *detail)
{
    char address[ENDPOINT_TEXT_BYTES];
    if (what->text[0] == '\0') {
        endpoint_format(&listener->bound, address);
        error_set(what, "the listening socket of %s %s%s", address, happened, detail);
    }
}

/* False: that socket cannot be made again what it was. */
static bool check_socket(struct listener *listener, int fd, struct error *what)
{
    bool restored = true;
    if (!listener_is_listening(fd)) {
        tell(listener, what, "was shut down", "");
        if (!listen_again(listener, fd)) {
            return false;
        }
    }
    if (!is_in_place(listener, fd)) {
        tell(listener, what,
             listener_is_listening(fd) ? "was moved to another address" : "was shut down", "");
        return false;
    }
    const char *changed = socket_traits_restore(&listener->traits, fd, &restored);
    if (changed != NULL) {
        tell(listener, what, "was changed: ", changed);
    }
    return restored;
}

/* Of those that a service manager holds, too, only what is of no more use is given up. */
static bool may_renew(const struct listener *listener)
{
    return !listener->is_passed || !listener_is_listening(listener->fds[0]);
}

/* With the same descriptors, so that nobody else needs to know. Clients that wait at the old
 * sockets are cut: those are not to be trusted. */
static bool renew(struct listeners *listeners, struct listener *listener)
{
    struct listener fresh;
    for (size_t i = 0; i < listener->count; i++) {
        shutdown(listener->fds[i], SHUT_RD);
    }
    if (!listener_open_set(&fresh, &listener->bound, listener->reuseport, listener->count)) {
        return false;
    }
    bool moved = true;
    for (size_t i = 0; i < listener->count; i++) {
        moved = dup3(fresh.fds[i], listener->fds[i], O_CLOEXEC) >= 0 && moved;
    }
    listener->traits = fresh.traits;
    listener->is_passed = false;
    listener->id = listeners_take_id(listeners, NULL);
    listener_close(&fresh);
    return moved;
}

bool listeners_check(struct listeners *listeners, size_t index, bool distrusts,
                     enum listener_health *health, struct error *what, struct error *error)
{
    struct listener *listener = &listeners->list[index];
    bool mended = true;
    what->text[0] = '\0';
    for (size_t i = 0; i < listener->count; i++) {
        mended = check_socket(listener, listener->fds[i], what) && mended;
    }
    *health = what->text[0] == '\0' ? LISTENER_SOUND : LISTENER_MENDED;
    if (mended && (*health == LISTENER_SOUND || !distrusts || !may_renew(listener))) {
        return true;
    }
    *health = LISTENER_RENEWED;
    if (!may_renew(listener)) {
        return error_set(error, "%s, and belongs to the service manager; restart its .socket unit",
                         what->text);
    }
    return renew(listeners, listener) ||
           error_set(error, "%s, and cannot be opened anew: %s; restart the server", what->text,
                     strerror(errno));
}
