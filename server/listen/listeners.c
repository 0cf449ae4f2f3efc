/* Several addresses, some of which a predecessor may serve already. */
#include "server/listen/listener_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PORT_TRIES = 16 /* for a port that is free at several addresses */ };

/* ---- Beside the sockets that are there ---- */

static bool overlaps(const struct listeners *listeners, const struct endpoint *endpoint)
{
    for (size_t i = 0; listeners != NULL && i < listeners->count; i++) {
        if (endpoint_overlaps(&listeners->list[i].bound, endpoint)) {
            return true;
        }
    }
    return false;
}

/* Linux lets a socket listen where another one does if both say so, and one user made them. Whether
 * sockets that listen already say so counts at that moment, and not later. */
static void allow_others(const struct listeners *listeners, bool allow)
{
    for (size_t i = 0; i < listeners->count; i++) {
        const struct listener *listener = &listeners->list[i];
        for (size_t k = 0; k < listener->count && !listener->reuseport; k++) {
            listener_set_option(listener->fds[k], SOL_SOCKET, SO_REUSEPORT, allow);
        }
    }
}

static bool explain_overlap(const struct endpoint *endpoint, struct error *error)
{
    char address[ENDPOINT_TEXT_BYTES];
    const char *cause = strerror(errno);
    endpoint_format(endpoint, address);
    return error_set(
        error,
        "cannot listen on %s beside the address at which this server listens already: %s; "
        "this change needs a restart",
        address, cause);
}

/* The first and the last moment of the others' permission are those of opening. */
static bool open_beside(struct listener *listener, const struct endpoint *endpoint,
                        const struct listener_plan *plan, struct error *error)
{
    allow_others(plan->old, true);
    bool opened = listener_open_set(listener, endpoint, true, plan->count);
    int saved_errno = errno;
    allow_others(plan->old, false);
    errno = saved_errno;
    if (!opened) {
        return explain_overlap(endpoint, error);
    }
    if (!plan->reuseport) {
        listener_set_option(listener->fds[0], SOL_SOCKET, SO_REUSEPORT, 0);
        socket_traits_read(&listener->traits, listener->fds[0]);
        listener->reuseport = false;
    }
    return true;
}

/* ---- Several addresses ---- */

static bool is_used(const struct listeners *listeners, uint32_t id)
{
    for (size_t i = 0; listeners != NULL && i < listeners->count; i++) {
        if (listeners->list[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Some address may be kept for ever, while others come and go. */
uint32_t listeners_take_id(struct listeners *listeners, const struct listeners *old)
{
    uint32_t id = listeners->last_id;
    do {
        id++;
    } while (is_used(listeners, id) || is_used(old, id));
    listeners->last_id = id;
    return id;
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0 || errno != EAFNOSUPPORT;
}

/* A port that the kernel has chosen stays; and without IPv6 "*" is bound to IPv4's wildcard. */
static bool is_for(const struct listener *listener, const struct endpoint *endpoint)
{
    return endpoint_equals(&listener->bound, endpoint) ||
           (endpoint_equals(&listener->wanted, endpoint) &&
            (endpoint_port(endpoint) == 0 || !has_ipv6()));
}

/* The predecessor's set for this address that no other address has yet; NULL: there is none. */
static const struct listener *find_old(const struct listeners *listeners,
                                       const struct listeners *old, const struct endpoint *endpoint)
{
    for (size_t i = 0; old != NULL && i < old->count; i++) {
        const struct listener *listener = &old->list[i];
        if (is_for(listener, endpoint) && listeners_find(listeners, listener->id) == NULL) {
            return listener;
        }
    }
    return NULL;
}

static bool share_old(struct listener *listener, const struct listener *old,
                      const struct endpoint *endpoint, const struct listener_plan *plan,
                      struct error *error)
{
    char address[ENDPOINT_TEXT_BYTES];
    endpoint_format(&old->bound, address);
    if (old->reuseport != plan->reuseport) {
        return error_set(error,
                         "\"accept\" cannot change at %s, where this server listens already: this "
                         "change needs a restart",
                         address);
    }
    if (old->count != plan->count) {
        return error_set(
            error,
            "with \"accept: reuseport\" the number of event loops cannot change from %zu "
            "to %zu without a restart: closing a socket would cut who waits at it",
            old->count, plan->count);
    }
    if (!listener_share(listener, old)) {
        return error_set(error,
                         "cannot take over the listening sockets: %s; raise the limit of open "
                         "files",
                         strerror(errno));
    }
    listener->wanted = *endpoint;
    return true;
}

/* Into the next place of the list. */
static bool open_one(struct listeners *listeners, const struct endpoint *endpoint,
                     const struct listener_plan *plan, struct error *error)
{
    struct listener *listener = &listeners->list[listeners->count];
    const struct listener *old = find_old(listeners, plan->old, endpoint);
    if (old != NULL) {
        return share_old(listener, old, endpoint, plan, error);
    }
    bool opened = overlaps(plan->old, endpoint) ? open_beside(listener, endpoint, plan, error)
                                                : listener_open(listener, endpoint, plan, error);
    if (opened) {
        listener->id = listeners_take_id(listeners, plan->old);
    }
    return opened;
}

/* A name may have addresses that this machine does not have: those of IPv6 where that is off. */
static bool is_lacking(const struct endpoint *endpoint)
{
    return endpoint->may_lack && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT);
}

/* Of an item that begins at this index in the list: one port for all of its addresses. */
static bool open_item(struct listeners *listeners, const struct endpoints *endpoints, size_t first,
                      const struct listener_plan *plan, struct error *error)
{
    size_t before = listeners->count;
    uint8_t item = endpoints->list[first].item;
    for (size_t i = first; i < endpoints->count && endpoints->list[i].item == item; i++) {
        struct endpoint endpoint = endpoints->list[i];
        if (endpoint_port(&endpoint) == 0 && listeners->count > before) {
            endpoint_set_port(&endpoint, endpoint_port(&listeners->list[before].bound));
        }
        if (open_one(listeners, &endpoint, plan, error)) {
            listeners->list[listeners->count++].wanted = endpoints->list[i];
        } else if (!is_lacking(&endpoint)) {
            return false;
        }
    }
    return listeners->count > before;
}

static void close_from(struct listeners *listeners, size_t first)
{
    int saved_errno = errno;
    while (listeners->count > first) {
        listener_close(&listeners->list[--listeners->count]);
    }
    errno = saved_errno;
}

/* A port that the kernel has chosen at one address may be taken at the next. */
static bool try_item(struct listeners *listeners, const struct endpoints *endpoints, size_t first,
                     const struct listener_plan *plan, struct error *error)
{
    size_t before = listeners->count;
    int tries = endpoint_port(&endpoints->list[first]) == 0 ? PORT_TRIES : 1;
    bool opened = open_item(listeners, endpoints, first, plan, error);
    while (!opened && errno == EADDRINUSE && --tries > 0) {
        close_from(listeners, before);
        opened = open_item(listeners, endpoints, first, plan, error);
    }
    return opened;
}

bool listeners_open(struct listeners *listeners, const struct endpoints *endpoints,
                    const struct listener_plan *plan, struct error *error)
{
    *listeners = (struct listeners){.last_id = plan->old != NULL ? plan->old->last_id : 0};
    for (size_t i = 0; i < endpoints->count; i++) {
        bool begins_item = i == 0 || endpoints->list[i].item != endpoints->list[i - 1].item;
        if (begins_item && !try_item(listeners, endpoints, i, plan, error)) {
            listeners_close(listeners);
            return false;
        }
    }
    return true;
}

bool listeners_share(struct listeners *listeners, const struct listeners *other)
{
    *listeners = (struct listeners){.last_id = other->last_id};
    for (size_t i = 0; i < other->count; i++) {
        if (!listener_share(&listeners->list[i], &other->list[i])) {
            close_from(listeners, 0);
            return false;
        }
        listeners->count++;
    }
    return true;
}

void listeners_close(struct listeners *listeners)
{
    close_from(listeners, 0);
}

const struct listener *listeners_find(const struct listeners *listeners, uint32_t id)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (listeners->list[i].id == id) {
            return &listeners->list[i];
        }
    }
    return NULL;
}

bool listeners_are_loopback(const struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (!endpoint_is_loopback(&listeners->list[i].bound)) {
            return false;
        }
    }
    return listeners->count > 0;
}

void listeners_format(const struct listeners *listeners, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < listeners->count && used < bytes; i++) {
        char address[ENDPOINT_TEXT_BYTES];
        endpoint_format(&listeners->list[i].bound, address);
        used += (size_t)snprintf(out + used, bytes - used, "%s%s", i == 0 ? "" : ", ", address);
    }
}
