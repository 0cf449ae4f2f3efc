#include "server/listen/socket_traits.h"

#include "server/listen/listener_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SO_BUF_LOCK /* headers before Linux 5.14 */
#define SO_BUF_LOCK 72
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef IPV6_MINHOPCOUNT
#define IPV6_MINHOPCOUNT 73
#endif

enum {
    NO_RESET = -2,
    DEFAULT = -1 /* the value that makes it follow the default of all sockets */
};

/* An option whose value the kernel gives back as it was set (or doubles, for buffers). Where what
 * is read is the default of something else, reset makes it that again. */
struct trait {
    const char *name;
    int level;
    int option;
    int reset;
    bool doubled;
};

#define TRAIT(level, option) {#option, level, option, NO_RESET, false}

static const struct trait table[] = {
    TRAIT(SOL_SOCKET, SO_REUSEADDR),
    TRAIT(SOL_SOCKET, SO_REUSEPORT),
    TRAIT(SOL_SOCKET, SO_KEEPALIVE),
    TRAIT(SOL_SOCKET, SO_DONTROUTE),
    TRAIT(SOL_SOCKET, SO_LINGER),
    TRAIT(SOL_SOCKET, SO_OOBINLINE),
    TRAIT(SOL_SOCKET, SO_PRIORITY),
    TRAIT(SOL_SOCKET, SO_RCVLOWAT),
    TRAIT(SOL_SOCKET, SO_RCVTIMEO),
    TRAIT(SOL_SOCKET, SO_SNDTIMEO),
    TRAIT(SOL_SOCKET, SO_BINDTOIFINDEX),
    TRAIT(SOL_SOCKET, SO_MAX_PACING_RATE),
    TRAIT(SOL_SOCKET, SO_BUSY_POLL),
    TRAIT(SOL_SOCKET, SO_LOCK_FILTER),
    {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, NO_RESET, true},
    {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, NO_RESET, true},
    TRAIT(SOL_SOCKET, SO_BUF_LOCK), /* behind the two that set it */
    TRAIT(IPPROTO_TCP, TCP_NODELAY),
    TRAIT(IPPROTO_TCP, TCP_CORK),
    {"TCP_MAXSEG", IPPROTO_TCP, TCP_MAXSEG, 0, false},
    TRAIT(IPPROTO_TCP, TCP_DEFER_ACCEPT),
    TRAIT(IPPROTO_TCP, TCP_WINDOW_CLAMP),
    TRAIT(IPPROTO_TCP, TCP_USER_TIMEOUT),
    TRAIT(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
    TRAIT(IPPROTO_TCP, TCP_FASTOPEN),
    TRAIT(IPPROTO_TCP, TCP_CONGESTION),
    TRAIT(IPPROTO_IP, IP_TOS),
    {"IP_TTL", IPPROTO_IP, IP_TTL, DEFAULT, false},
    TRAIT(IPPROTO_IP, IP_MINTTL),
    TRAIT(IPPROTO_IP, IP_TRANSPARENT),
    TRAIT(IPPROTO_IPV6, IPV6_V6ONLY),
    TRAIT(IPPROTO_IPV6, IPV6_TCLASS),
    {"IPV6_UNICAST_HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS, DEFAULT, false},
    TRAIT(IPPROTO_IPV6, IPV6_MINHOPCOUNT),
};

_Static_assert(sizeof(table) / sizeof(table[0]) == SOCKET_TRAITS, "one value for each row");

/* How many bytes it has; 0: the socket does not have it. */
static socklen_t read_value(const struct trait *trait, int fd, void *value)
{
    socklen_t bytes = SOCKET_TRAIT_BYTES;
    memset(value, 0, SOCKET_TRAIT_BYTES);
    return getsockopt(fd, trait->level, trait->option, value, &bytes) == 0 ? bytes : 0;
}

/* Of a listening socket this is the length of its queue. */
static unsigned read_backlog(int fd)
{
    struct tcp_info info;
    socklen_t bytes = sizeof(info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 ? info.tcpi_sacked : 0;
}

void socket_traits_read(struct socket_traits *traits, int fd)
{
    for (size_t i = 0; i < SOCKET_TRAITS; i++) {
        traits->list[i].bytes = (unsigned char)read_value(&table[i], fd, traits->list[i].value);
    }
    traits->backlog = read_backlog(fd);
}

static bool is_as_noted(const struct socket_traits *traits, size_t index, int fd)
{
    unsigned char value[SOCKET_TRAIT_BYTES];
    socklen_t bytes = read_value(&table[index], fd, value);
    return bytes == traits->list[index].bytes &&
           memcmp(value, traits->list[index].value, bytes) == 0;
}

static void set_noted(const struct socket_traits *traits, size_t index, int fd)
{
    const struct trait *trait = &table[index];
    int half;
    const void *value = traits->list[index].value;
    if (trait->doubled) {
        memcpy(&half, value, sizeof(half));
        half /= 2;
        value = &half;
    }
    setsockopt(fd, trait->level, trait->option, value, traits->list[index].bytes);
}

static bool restore(const struct socket_traits *traits, size_t index, int fd)
{
    const struct trait *trait = &table[index];
    if (trait->reset != NO_RESET) {
        setsockopt(fd, trait->level, trait->option, &trait->reset, sizeof(trait->reset));
        if (is_as_noted(traits, index, fd)) {
            return true;
        }
    }
    set_noted(traits, index, fd);
    return is_as_noted(traits, index, fd);
}

/* ---- What is no option with a value ---- */

/* An accept must never wait (O_NONBLOCK), and no process is to get signals (O_ASYNC). */
static const char *restore_flags(int fd, bool *restored)
{
    int flags = fcntl(fd, F_GETFL);
    if ((flags & (O_NONBLOCK | O_ASYNC)) == O_NONBLOCK) {
        return NULL;
    }
    *restored = fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(fd, F_SETOWN, 0) == 0 && *restored;
    return (flags & O_NONBLOCK) == 0 ? "O_NONBLOCK" : "O_ASYNC";
}

/* A filter drops what it likes, also every client's first packet. To take one away tells whether
 * there was one. */
static const char *remove_filters(int fd, bool *restored)
{
    int unused = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) == 0) {
        return "SO_ATTACH_FILTER";
    }
    if (errno == EPERM) { /* it is locked */
        *restored = false;
        return "SO_LOCK_FILTER";
    }
    if (setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof(unused)) == 0) {
        return "SO_ATTACH_REUSEPORT_CBPF";
    }
    return NULL;
}

/* One that was shut down this moment has no queue: that is not for here to mend, or to name. */
static const char *restore_backlog(const struct socket_traits *traits, int fd, bool *restored)
{
    if (read_backlog(fd) == traits->backlog || !listener_is_listening(fd)) {
        return NULL;
    }
    *restored =
        listen(fd, (int)traits->backlog) == 0 && read_backlog(fd) == traits->backlog && *restored;
    return "the length of its queue";
}

static void note_first(const char **first, const char *changed)
{
    *first = *first == NULL ? changed : *first;
}

/* Where the default of all sockets has changed since (a sysctl), nobody has touched this one. */
static bool has_moved_with_default(struct socket_traits *traits, size_t index, int fd)
{
    const struct trait *trait = &table[index];
    unsigned char before[SOCKET_TRAIT_BYTES];
    unsigned char after[SOCKET_TRAIT_BYTES];
    if (trait->reset != DEFAULT) {
        return false;
    }
    read_value(trait, fd, before);
    setsockopt(fd, trait->level, trait->option, &trait->reset, sizeof(trait->reset));
    socklen_t bytes = read_value(trait, fd, after);
    if (memcmp(before, after, sizeof(after)) != 0) {
        return false;
    }
    traits->list[index].bytes = (unsigned char)bytes;
    memcpy(traits->list[index].value, after, sizeof(after));
    return true;
}

const char *socket_traits_restore(struct socket_traits *traits, int fd, bool *restored)
{
    *restored = true;
    const char *first = restore_flags(fd, restored);
    note_first(&first, remove_filters(fd, restored));
    note_first(&first, restore_backlog(traits, fd, restored));
    for (size_t i = 0; i < SOCKET_TRAITS; i++) {
        if (!is_as_noted(traits, i, fd) && !has_moved_with_default(traits, i, fd)) {
            note_first(&first, table[i].name);
            *restored = restore(traits, i, fd) && *restored;
        }
    }
    return first;
}
