#include "common/base/check.h"
#include "common/base/log.h"
#include "common/net/connection_internal.h"
#include "common/net/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TAKEN_AT_ONCE = 1024, /* more than an inbox holds; then the loop's connections get their turn */
    STRANGE_TOLD_MS = 60000
};

/* What goes with the socket. Both ends are threads of one program; what has another form was sent
 * by somebody who has taken over a loop, and is thrown away. */
struct passport {
    uint64_t deadline_ms;
    uint64_t waiting_since_ms;
    uint64_t served; /* bool, without padding */
};
_Static_assert(sizeof(struct passport) == 3 * sizeof(uint64_t),
               "no padding, in which memory of this worker would travel along");

/* Room for one descriptor, aligned as the kernel wants it. */
union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* ---- Sending ---- */

/* Everything that was asked is answered, and nothing more has been read: what the client sends now
 * waits in the socket for whoever reads it next. */
static bool is_at_rest(const struct connection *c)
{
    return c->phase == PHASE_WAITING && !c->sending && c->exchange == NULL &&
           c->input_used == c->input.len && output_is_empty(&c->output);
}

static bool send_connection(const struct connection *c, int to_fd)
{
    struct passport passport = {c->deadline_ms, c->waiting_since_ms, c->served};
    struct iovec part = {&passport, sizeof(passport)};
    union control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                        .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    memcpy(CMSG_DATA(&control.header), &c->fd, sizeof(c->fd));
    if (c->record != NULL) { /* one process alone goes on with it */
        durable_giving(c->record, true);
    }
    bool sent = sendmsg(to_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    if (c->record != NULL && !sent) {
        durable_giving(c->record, false);
    }
    return sent;
}

static void report(struct loop *loop, const char *failure)
{
    if (log_budget_allows(&loop->refusals, loop_now_ms(loop))) {
        log_write(LOG_WARN, "cannot %s a connection: %m", failure);
    }
}

static bool hand_over_one(struct loop *loop, struct connection *c, int to_fd)
{
    CHECK(c->unfinished == 0 && c->unlogged.len == 0); /* nothing stays behind */
    if (!send_connection(c, to_fd)) {
        if (errno != EAGAIN) { /* that queue is full: the rest can wait */
            report(loop, "hand over");
        }
        return false;
    }
    connection_destroy(c); /* closes this worker's descriptor; the socket lives on */
    return true;
}

uint64_t connection_hand_over(struct loop *loop, int to_fd, uint64_t count)
{
    uint64_t sent = 0;
    struct connection *c = TAILQ_FIRST(&loop->places[PLACE_IN_USE]);
    while (c != NULL && sent < count && !loop->draining) {
        struct connection *next = connection_next(c);
        if (is_at_rest(c) && !c->idle) {
            CHECK(c->place == PLACE_IN_USE && c->loop == loop);
            if (!hand_over_one(loop, c, to_fd)) {
                break;
            }
            sent++;
            CHECK(sent <= count);
        }
        c = next;
    }
    return sent;
}

/* ---- Receiving ---- */

/* What a message turned out to be. */
enum message {
    MESSAGE_NONE,
    MESSAGE_CONNECTION,
    MESSAGE_LOST,    /* no descriptor was free for it */
    MESSAGE_STRANGE, /* no loop sends such a thing */
    MESSAGE_END      /* the inbox was shut down: this comes again and again */
};

static void adopt(struct loop *loop, int fd, const struct client_address *client,
                  const struct passport *passport)
{
    if (loop->options.config->max_connections_per_client > 0) { /* it was let in before */
        client_counts_enter(&loop->client_counts, client, UINT64_MAX);
    }
    CHECK(fd >= 0);
    if (!loop_has_free_place(loop)) {
        connection_evict(loop); /* if none is silent after all, there is one too many */
    }
    struct connection *c = connection_enter(loop, fd, client);
    if (loop->options.durable != NULL) {
        c->record = durable_enter(loop->options.durable, fd);
    }
    slot_add(&loop_slot(loop)->counters.connections_adopted, 1);
    c->served = passport->served != 0;
    connection_move(c, PLACE_IN_USE); /* only such are handed over */
    connection_wait_for_request(c, connection_config(c)->idle_timeout_ms);
    if (passport->waiting_since_ms < c->waiting_since_ms) {
        c->waiting_since_ms = passport->waiting_since_ms;
    }
    if (passport->deadline_ms < c->deadline_ms) {
        c->deadline_ms = passport->deadline_ms;
    }
    connection_watch_read(c);
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t bytes = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 ? value : -1;
}

/* The kernel is asked who the client is: that goes into logs and limits. A client that is gone
 * meanwhile has none. */
bool connection_find_client(int fd, struct client_address *client)
{
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof(address);
    int domain = option_of(fd, SO_DOMAIN);
    if ((domain != AF_INET && domain != AF_INET6) || option_of(fd, SO_TYPE) != SOCK_STREAM ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        return false;
    }
    bool connected = getpeername(fd, (struct sockaddr *)&address, &bytes) == 0;
    *client = client_address_pack((const struct sockaddr *)&address);
    return connected || errno == ENOTCONN;
}

/* The one descriptor that came with a message; -1: none did. There is room for no more. */
static int descriptor_in(struct msghdr *message)
{
    int fd = -1;
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(fd))) {
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    }
    return fd;
}

static enum message take_one(struct loop *loop, int from_fd)
{
    struct passport passport;
    struct client_address client;
    struct iovec part = {&passport, sizeof(passport)};
    union control control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t bytes = recvmsg(from_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes <= 0) {
        return bytes < 0 ? MESSAGE_NONE : MESSAGE_END;
    }
    int fd = descriptor_in(&message);
    bool whole = bytes == sizeof(passport) && (message.msg_flags & MSG_TRUNC) == 0;
    if (whole && fd < 0 && (message.msg_flags & MSG_CTRUNC) != 0) {
        errno = EMFILE;
        report(loop, "take over");
        return MESSAGE_LOST;
    }
    if (!whole || fd < 0 || !connection_find_client(fd, &client)) {
        if (fd >= 0) {
            close(fd);
        }
        return MESSAGE_STRANGE;
    }
    adopt(loop, fd, &client, &passport);
    return MESSAGE_CONNECTION;
}

static void report_strange(struct loop *loop)
{
    uint64_t now_ms = loop_now_ms(loop);
    if (loop->strange_told_ms == 0 || now_ms - loop->strange_told_ms >= STRANGE_TOLD_MS) {
        loop->strange_told_ms = now_ms;
        log_write(LOG_ERROR,
                  "what has come into this loop's inbox is no connection: another worker "
                  "has gone wrong, or the inbox was shut down");
    }
}

/* The kernel closes a descriptor that arrives where none is free, and its client is cut off. Only
 * another thread of this process can take the free one meanwhile. */
static bool has_free_descriptor(int any_fd)
{
    int fd = fcntl(any_fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

bool connection_take_over(struct loop *loop, int from_fd)
{
    bool strange = false;
    for (int i = 0; i < TAKEN_AT_ONCE; i++) {
        if (!has_free_descriptor(from_fd)) {
            return false;
        }
        enum message message = take_one(loop, from_fd);
        strange = strange || message == MESSAGE_STRANGE || message == MESSAGE_END;
        if (message == MESSAGE_NONE || message == MESSAGE_END) {
            break;
        }
    }
    if (strange) {
        report_strange(loop);
    }
    return !strange;
}
