#include "common/net/tcp_account.h"

#include "common/base/check.h"

/* netinet/tcp.h has the same structure without the counts, and cannot be included beside it. */
#include <linux/sockios.h>
#include <linux/tcp.h>

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { MAX_ROUNDS = 1000 };

/* A connection's states, by the kernel's numbers (include/net/tcp_states.h). TIME_WAIT is none of a
 * descriptor's: that one is in state CLOSE by then. */
enum tcp_state {
    TCP_STATE_ESTABLISHED = 1,
    TCP_STATE_FIN_WAIT1 = 4,
    TCP_STATE_FIN_WAIT2 = 5,
    TCP_STATE_CLOSE = 7,
    TCP_STATE_CLOSE_WAIT = 8,
    TCP_STATE_LAST_ACK = 9,
    TCP_STATE_CLOSING = 11
};

/* The kernel takes the counts at one moment, and the state at this moment or just before it. */
struct counts {
    enum tcp_state state;
    int64_t received;
    int64_t acknowledged;
    bool all_acknowledged; /* of what was written; false: perhaps not */
};

struct queues {
    int unread;
    int unacknowledged; /* sent or not */
};

/* Of a count that stands still. */
struct bounds {
    int64_t least;
    int64_t most;
};

static bool client_has_finished(enum tcp_state state)
{
    return state == TCP_STATE_CLOSE_WAIT || state == TCP_STATE_LAST_ACK ||
           state == TCP_STATE_CLOSING;
}

static bool server_has_finished(enum tcp_state state)
{
    return state == TCP_STATE_FIN_WAIT1 || state == TCP_STATE_FIN_WAIT2 ||
           state == TCP_STATE_LAST_ACK || state == TCP_STATE_CLOSING;
}

static bool fail(int error)
{
    errno = error;
    return false;
}

static bool ask_option(int fd, int option, int *value)
{
    socklen_t bytes = sizeof(*value);
    return getsockopt(fd, SOL_SOCKET, option, value, &bytes) == 0;
}

/* Whether the counts of this socket mean what its process has read and written. */
static bool is_countable(int fd)
{
    int protocol = 0;
    int urgent_inline = 0;
    if (!ask_option(fd, SO_PROTOCOL, &protocol) || !ask_option(fd, SO_OOBINLINE, &urgent_inline)) {
        return false;
    }
    if (protocol != IPPROTO_TCP) {
        return fail(EPROTOTYPE);
    }
    return urgent_inline || fail(EINVAL);
}

_Static_assert(offsetof(struct tcp_info, tcpi_bytes_acked) <
                   offsetof(struct tcp_info, tcpi_bytes_received),
               "a kernel that tells what was received tells what is acknowledged, too");

static bool ask_counts(int fd, struct counts *counts)
{
    struct tcp_info info;
    socklen_t bytes = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) {
        return false;
    }
    if (bytes < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received)) {
        return fail(ENOTSUP);
    }
    const size_t unsent_ends =
        offsetof(struct tcp_info, tcpi_notsent_bytes) + sizeof(info.tcpi_notsent_bytes);
    *counts = (struct counts){.state = info.tcpi_state,
                              .received = (int64_t)info.tcpi_bytes_received,
                              .acknowledged = (int64_t)info.tcpi_bytes_acked,
                              .all_acknowledged = bytes >= unsent_ends && info.tcpi_unacked == 0 &&
                                                  info.tcpi_notsent_bytes == 0};
    CHECK(counts->received >= 0 && counts->acknowledged >= 0);
    return true;
}

static bool ask_queues(int fd, struct queues *queues)
{
    if (ioctl(fd, SIOCINQ, &queues->unread) != 0 ||
        ioctl(fd, SIOCOUTQ, &queues->unacknowledged) != 0) {
        return false;
    }
    CHECK(queues->unread >= 0 && queues->unacknowledged >= 0);
    return true;
}

/* A socket that was never connected is in the state of one whose connection is over. Only the
 * latter still has a peer: getpeername() would not tell, but this option does. */
static bool was_connected(int fd)
{
    sa_family_t family;
    socklen_t bytes = sizeof(family);
    return getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &family, &bytes) == 0;
}

/* Nothing changes any more. */
static bool account_of_the_end(int fd, const struct counts *counts, struct tcp_account *account)
{
    struct queues queues;
    if (!was_connected(fd) || !ask_queues(fd, &queues)) {
        return false;
    }
    *account = (struct tcp_account){.read_bytes = (uint64_t)(counts->received - queues.unread),
                                    .written_bytes =
                                        (uint64_t)(counts->acknowledged + queues.unacknowledged),
                                    .client_has_finished = true,
                                    .server_has_finished = true,
                                    .is_over = true};
    return true;
}

static void narrow(struct bounds *bounds, int64_t least, int64_t most)
{
    if (least > bounds->least) {
        bounds->least = least;
    }
    if (most < bounds->most) {
        bounds->most = most;
    }
}

/* Bounds can cross when a client sends a second FIN. */
static bool is_known(const struct bounds *bounds)
{
    return bounds->least >= bounds->most;
}

static bool is_connected(enum tcp_state state)
{
    return state == TCP_STATE_ESTABLISHED || client_has_finished(state) ||
           server_has_finished(state);
}

/* Neither bytes nor a FIN. */
static bool nothing_is_unread(int fd)
{
    char byte;
    return recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* The usual case costs two calls: all was acknowledged at the moment of the counts, and behind it
 * nothing is unread. So nothing has come since, either, as nobody reads. */
static bool is_at_rest(int fd, const struct counts *counts)
{
    return counts->state == TCP_STATE_ESTABLISHED && counts->all_acknowledged &&
           nothing_is_unread(fd);
}

/* What was read and written stands still while the kernel answers. But counts and queues cannot be
 * asked at one moment, and packets come in between: what is received and unread grows by the same,
 * and what is unacknowledged falls as what is acknowledged grows. So counts of before the queues
 * give a bound below, and those of behind them a bound above. Where no packet came in between, that
 * bound is exact: each of both intervals has to be quiet once, not both in the same round.
 *
 * The state of behind a count knows of every FIN in it, and a state of before it of no other. The
 * state of after is behind the count of before and not behind that of after: it does for both. */
static bool ask_until_known(int fd, struct counts before, struct tcp_account *account)
{
    CHECK(is_connected(before.state));
    struct bounds read = {.least = INT64_MIN, .most = INT64_MAX};
    struct bounds written = read;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        struct queues queues;
        struct counts after;
        if (!ask_queues(fd, &queues) || !ask_counts(fd, &after)) {
            return false;
        }
        if (!is_connected(after.state)) {
            return account_of_the_end(fd, &after, account);
        }
        int64_t unread = queues.unread + client_has_finished(after.state);
        int64_t unacknowledged = queues.unacknowledged - server_has_finished(after.state);
        narrow(&read, before.received - unread, after.received - unread);
        narrow(&written, before.acknowledged + unacknowledged, after.acknowledged + unacknowledged);
        if (is_known(&read) && is_known(&written)) {
            *account =
                (struct tcp_account){.read_bytes = (uint64_t)read.most,
                                     .written_bytes = (uint64_t)written.most,
                                     .client_has_finished = client_has_finished(after.state),
                                     .server_has_finished = server_has_finished(after.state)};
            return true;
        }
        before = after;
    }
    return fail(EAGAIN);
}

bool tcp_account_ask(int socket_fd, struct tcp_account *account)
{
    struct counts counts;
    if (!is_countable(socket_fd) || !ask_counts(socket_fd, &counts)) {
        return false;
    }
    if (is_at_rest(socket_fd, &counts)) {
        *account = (struct tcp_account){.read_bytes = (uint64_t)counts.received,
                                        .written_bytes = (uint64_t)counts.acknowledged};
        return true;
    }
    if (is_connected(counts.state)) {
        return ask_until_known(socket_fd, counts, account);
    }
    return counts.state == TCP_STATE_CLOSE ? account_of_the_end(socket_fd, &counts, account)
                                           : fail(ENOTCONN);
}
