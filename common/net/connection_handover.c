#include "common/base/log.h"
#include "common/net/connection_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What goes with the socket. Both ends are threads of one program: no other layout can arrive. */
struct passport {
    struct client_address client;
    uint64_t deadline_ms;
    uint64_t waiting_since_ms;
    uint64_t served; /* bool, without padding */
};

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
    struct passport passport = {c->client, c->deadline_ms, c->waiting_since_ms, c->served};
    struct iovec part = {&passport, sizeof(passport)};
    union control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                        .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    memcpy(CMSG_DATA(&control.header), &c->fd, sizeof(c->fd));
    return sendmsg(to_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void report(struct worker *worker, const char *failure)
{
    if (log_budget_allows(&worker->refusals, worker_now_ms(worker))) {
        log_write(LOG_WARN, "cannot %s a connection: %m", failure);
    }
}

static bool hand_over_one(struct worker *worker, struct connection *c, int to_fd)
{
    if (!send_connection(c, to_fd)) {
        if (errno != EAGAIN) { /* that queue is full: the rest can wait */
            report(worker, "hand over");
        }
        return false;
    }
    connection_destroy(c); /* closes this worker's descriptor; the socket lives on */
    return true;
}

uint64_t worker_hand_over(struct worker *worker, int to_fd, uint64_t count)
{
    uint64_t sent = 0;
    struct connection *c = TAILQ_FIRST(&worker->places[PLACE_IN_USE]);
    while (c != NULL && sent < count && !worker->draining) {
        struct connection *next = connection_next(c);
        if (is_at_rest(c) && !c->idle) {
            if (!hand_over_one(worker, c, to_fd)) {
                break;
            }
            sent++;
        }
        c = next;
    }
    return sent;
}

/* ---- Receiving ---- */

static void adopt(struct worker *worker, int fd, const struct passport *passport)
{
    if (worker->options.config->max_connections_per_client > 0) { /* it was let in before */
        client_counts_enter(&worker->client_counts, &passport->client, UINT64_MAX);
    }
    if (!worker_has_free_place(worker)) {
        connection_evict(worker); /* if none is silent after all, there is one too many */
    }
    struct connection *c = connection_enter(worker, fd, &passport->client);
    slot_add(&worker_slot_of(worker)->counters.connections_adopted, 1);
    c->served = passport->served;
    connection_move(c, PLACE_IN_USE); /* only such are handed over */
    connection_wait_for_request(c, connection_config(c)->idle_timeout_ms);
    c->waiting_since_ms = passport->waiting_since_ms;
    if (passport->deadline_ms < c->deadline_ms) {
        c->deadline_ms = passport->deadline_ms;
    }
    connection_watch_read(c);
}

/* False: nothing is there. */
static bool take_one(struct worker *worker, int from_fd)
{
    struct passport passport;
    struct iovec part = {&passport, sizeof(passport)};
    union control control;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    if (recvmsg(from_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) {
        return false;
    }
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_type != SCM_RIGHTS) { /* no descriptor was free for it */
        errno = EMFILE;
        report(worker, "take over");
        return true;
    }
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    adopt(worker, fd, &passport);
    return true;
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

bool worker_take_over(struct worker *worker, int from_fd)
{
    bool free = true;
    while ((free = has_free_descriptor(from_fd)) &&
           take_one(worker, from_fd)) { /* no more than a socket's queue: some hundreds */
    }
    return free;
}
