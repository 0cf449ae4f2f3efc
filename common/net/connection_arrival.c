/* Takes connections that other event loops have sent, or that a dead process was just being given.
 */
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/net/claims.h"
#include "common/net/connection_internal.h"
#include "common/net/connection_passport.h"
#include "common/net/durable.h"
#include "common/net/tcp_account.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TAKEN_AT_ONCE = 1024, /* more than an inbox holds; then the loop's connections get their turn */
    STRANGE_TOLD_MS = 60000
};

/* What a message turned out to be. */
enum message {
    MESSAGE_NONE,
    MESSAGE_CONNECTION,
    MESSAGE_LOST,    /* no descriptor was free for it */
    MESSAGE_STRANGE, /* no loop sends such a thing */
    MESSAGE_END      /* the inbox was shut down: this comes again and again */
};

/* How far it has come, the kernel knows: whoever sent it might lie. */
static void find_out(struct connection *c)
{
    struct tcp_account account;
    if (c->record == NULL) {
        return;
    }
    if (!tcp_account_ask(c->fd, &account)) {
        durable_abandon(c->loop->options.durable, c->record, &c->input);
        c->record = NULL;
        return;
    }
    c->read_bytes = account.read_bytes;
    c->sent_bytes = c->put_bytes = account.written_bytes;
}

static void enter(struct loop *loop, int fd, const struct client_address *client,
                  struct durable_record *record, const struct passport *passport)
{
    connection_count_client(loop, client);
    CHECK(fd >= 0);
    if (!loop_has_free_place(loop)) {
        connection_evict(loop); /* if none is silent after all, there is one too many */
    }
    struct connection *c = connection_enter(loop, fd, client);
    c->record = record;
    find_out(c);
    if (loop->options.durable != NULL && c->record == NULL) {
        connection_journal_mortal(c);
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

/* The sender may have died meanwhile, and its successor have it. */
static bool is_taken(const struct loop *loop, uint64_t claim)
{
    struct claims *claims = loop->options.claims;
    return claim == 0 || (claims != NULL && claims_take(claims, claim, loop->options.generation));
}

void connection_arrive(struct loop *loop, int fd, const struct client_address *client,
                       const struct passport *passport)
{
    struct durable *durable = loop->options.durable;
    struct durable_record *record =
        durable != NULL ? durable_enter(durable, fd, passport->claim) : NULL;
    if (is_taken(loop, passport->claim)) {
        if (record != NULL) {
            durable_settle(record);
        }
        enter(loop, fd, client, record, passport);
    } else if (record != NULL) {
        durable_leave(durable, record, fd, &(struct buffer){0});
    } else {
        close(fd);
    }
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

/* Between the kernel's giving the socket and its record a successor has to look for it. Where
 * several read the same inbox it may be another one that comes: then that is not found. */
static void expect(const struct loop *loop, int from_fd)
{
    struct passport next;
    if (loop->options.durable != NULL &&
        recv(from_fd, &next, sizeof(next), MSG_PEEK | MSG_DONTWAIT) == sizeof(next)) {
        durable_expect(loop->options.durable, next.cookie, next.claim);
    }
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
        connection_report_failure(loop, "take over");
        return MESSAGE_LOST;
    }
    if (!whole || fd < 0 || !connection_find_client(fd, &client)) {
        if (fd >= 0) {
            close(fd);
        }
        return MESSAGE_STRANGE;
    }
    connection_arrive(loop, fd, &client, &passport);
    return MESSAGE_CONNECTION;
}

static enum message take_next(struct loop *loop, int from_fd)
{
    expect(loop, from_fd);
    enum message message = take_one(loop, from_fd);
    if (loop->options.durable != NULL && message != MESSAGE_CONNECTION) {
        durable_expect_nothing(loop->options.durable);
    }
    return message;
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
        enum message message = take_next(loop, from_fd);
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

/* ---- What no record tells of ---- */

/* From now on it is this process's, and its successor knows it by its cookie. */
static void expect_again(struct loop *loop, int fd)
{
    uint64_t cookie = connection_cookie(fd);
    if (cookie != 0) {
        durable_expect(loop->options.durable, cookie, 0);
    }
}

/* It was on its way to the predecessor, or to its successor. */
static bool has_come(const struct loop *loop, const struct durable_expected *expected)
{
    struct claims *claims = loop->options.claims;
    return expected->claim == 0 ||
           (claims != NULL && claims_take(claims, expected->claim, expected->generation));
}

/* What came with a connection that moves is lost, but not whose it is. */
static void adopt_found(struct loop *loop, int fd, const struct client_address *client,
                        const struct durable_expected *expected)
{
    static const struct passport nothing_known = {
        .deadline_ms = UINT64_MAX, .waiting_since_ms = UINT64_MAX, .served = true};
    struct tcp_account account;
    bool is_known = tcp_account_ask(fd, &account);
    bool is_new = is_known && account.read_bytes == 0 && account.written_bytes == 0;
    if (is_new || (is_known && expected->cookie != 0)) {
        expect_again(loop, fd);
    }
    connection_journal_adoption(loop, ADOPTION_CONNECTIONS,
                                is_new || (is_known && expected->cookie != 0));
    if (is_new) {
        connection_count_client(loop, client);
        connection_create(loop, fd, client);
    } else if (is_known && expected->cookie != 0) {
        connection_arrive(loop, fd, client, &nothing_known);
    } else {
        close(fd);
    }
}

void connection_adopt_expected(struct loop *loop, int fd, const struct durable_expected *expected)
{
    struct client_address client;
    if (connection_find_client(fd, &client) && has_come(loop, expected)) {
        adopt_found(loop, fd, &client, expected);
    } else {
        close(fd);
    }
    durable_expect_nothing(loop->options.durable);
}
