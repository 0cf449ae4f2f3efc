#include "common/base/check.h"
#include "common/base/log.h"
#include "common/net/claims.h"
#include "common/net/connection_internal.h"
#include "common/net/connection_passport.h"
#include "common/net/durable.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Everything that was asked is answered, and nothing more has been read: what the client sends now
 * waits in the socket for whoever reads it next. */
static bool is_at_rest(const struct connection *c)
{
    return c->phase == PHASE_WAITING && !c->sending && c->exchange == NULL && c->replay == NULL &&
           c->input_used == c->input.len && output_is_empty(&c->output);
}

static bool send_socket(const struct connection *c, int to_fd, struct passport *passport)
{
    struct iovec part = {passport, sizeof(*passport)};
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

uint64_t connection_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t bytes = sizeof(cookie);
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0 ? cookie : 0;
}

/* Should this process die meanwhile, its successor has the record, and the receiver the socket. */
static bool send_claimed(const struct connection *c, int to_fd, struct passport *passport)
{
    struct claims *claims = c->loop->options.claims;
    passport->cookie = connection_cookie(c->fd);
    passport->claim = claims_choose(claims, c->loop->options.giver_id);
    if (passport->claim == 0) { /* nobody fetches what was sent before */
        errno = EAGAIN;
        return false;
    }
    durable_pend(c->record, passport->claim);
    claims_offer(claims, passport->claim);
    bool sent = send_socket(c, to_fd, passport);
    if (!sent) {
        int cause = errno;
        (void)claims_take(claims, passport->claim, c->loop->options.generation);
        durable_settle(c->record);
        errno = cause;
    }
    return sent;
}

static bool send_connection(const struct connection *c, int to_fd)
{
    struct passport passport = {.deadline_ms = c->deadline_ms,
                                .waiting_since_ms = c->waiting_since_ms,
                                .served = c->served};
    return c->record != NULL && c->loop->options.claims != NULL ? send_claimed(c, to_fd, &passport)
                                                                : send_socket(c, to_fd, &passport);
}

void connection_report_failure(struct loop *loop, const char *failure)
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
            connection_report_failure(loop, "hand over");
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
