#include "common/net/acceptor.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/http/status_line.h"
#include "common/net/connection.h"
#include "common/net/durable.h"
#include "common/net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_BATCH = 8,           /* then the others get their turn, and the other workers theirs */
    DRAIN_ACCEPTS = 4096,       /* as many as the queue can hold */
    ACCEPT_PAUSE_MS = 100,      /* without a descriptor, and without one that can be freed */
    ACCEPT_COMPLAINT_MS = 1000, /* without a shortage for so long, the next one is reported */
    ACCEPT_YIELD_MS = 1,        /* how long connections are left to workers with fewer */
    ACCEPT_UNYIELDING = 4,      /* accepted after that without asking again */
    ACCEPT_TURN_MS = 1,         /* a batch in which a handler takes longer ends with it */
    REFUSAL_BYTES = 256
};

static void set_listening(struct acceptor *acceptor, bool on)
{
    if (acceptor->listening == on && !acceptor->has_deaf) {
        return;
    }
    acceptor->listening = on;
    acceptor->has_deaf = false;
    for (size_t i = 0; i < acceptor->loop->options.listen_count; i++) {
        if (on) {
            event_add(&acceptor->listen_events[i], NULL);
        } else {
            event_del(&acceptor->listen_events[i]);
        }
    }
}

/* Once for each shortage: of descriptors, or of the kernel's memory. errno tells of which. */
static void report_shortage(struct acceptor *acceptor, const char *remedy)
{
    uint64_t now_ms = loop_now_ms(acceptor->loop);
    if (now_ms - acceptor->short_ms > ACCEPT_COMPLAINT_MS) {
        log_write(LOG_WARN, "cannot accept connections: %m; %s", remedy);
    }
    acceptor->short_ms = now_ms;
}

/* The others are still watched; the tick looks whether it listens again. */
static void look_away_from(struct acceptor *acceptor, int listen_fd)
{
    for (size_t i = 0; i < acceptor->loop->options.listen_count; i++) {
        if (acceptor->loop->options.listen_fds[i] == listen_fd) {
            event_del(&acceptor->listen_events[i]);
        }
    }
    acceptor->has_deaf = true;
}

/* Without a descriptor the connection cannot be taken from the queue, and the socket would stay
 * readable: better to look away for a moment than to spin. */
static void pause_listening(struct acceptor *acceptor)
{
    report_shortage(acceptor, "trying again every 100 ms");
    acceptor->not_before_ms = loop_now_ms(acceptor->loop) + ACCEPT_PAUSE_MS;
    set_listening(acceptor, false);
}

/* Another one can be taken, maybe in somebody's place. */
static bool has_room(struct acceptor *acceptor)
{
    struct loop *loop = acceptor->loop;
    return loop_has_free_place(loop) ||
           (loop->connection_count == loop->options.max_connections && connection_may_evict(loop));
}

void acceptor_resume(struct acceptor *acceptor)
{
    struct loop *loop = acceptor->loop;
    bool is_complete = acceptor->listening && !acceptor->has_deaf;
    if (!is_complete && !loop->draining && !loop->stopped &&
        loop_now_ms(loop) >= acceptor->not_before_ms && has_room(acceptor)) {
        set_listening(acceptor, true);
    }
}

/* Tells a client that it has too many connections. It is not waited for: what it has sent already
 * is read once, so that the close does not become a reset that destroys the answer. */
static void refuse(struct acceptor *acceptor, int fd, const struct client_address *client)
{
    struct loop *loop = acceptor->loop;
    char text[REFUSAL_BYTES];
    char discarded[4096];
    int bytes = snprintf(text, sizeof(text),
                         "%.*sServer: twinhttpd\r\n%.*sContent-Length: 0\r\n"
                         "Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n\r\n",
                         (int)http_status_line(503).len, http_status_line(503).ptr,
                         (int)loop->date_line_bytes, loop->date_line);
    CHECK(bytes > 0 && bytes < REFUSAL_BYTES);
    (void)send(fd, text, (size_t)bytes, MSG_NOSIGNAL);
    (void)recv(fd, discarded, sizeof(discarded), 0);
    close(fd);
    slot_add(&loop_slot(loop)->counters.connections_refused, 1);
    if (log_budget_allows(&loop->refusals, loop_now_ms(loop))) {
        char name[CLIENT_TEXT_BYTES];
        client_address_format(client, name);
        log_write(LOG_INFO, "refused a connection of %s: its address has %llu already", name,
                  (unsigned long long)loop->options.config->max_connections_per_client);
    }
}

static int accept_from(int listen_fd, struct sockaddr_storage *address)
{
    socklen_t bytes = sizeof(*address);
    return accept4(listen_fd, (struct sockaddr *)address, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Somebody waits, and no descriptor is free: one who will not be missed gives his. */
static bool free_descriptor(struct acceptor *acceptor)
{
    if ((errno != EMFILE && errno != ENFILE) || acceptor->loop->draining) {
        return false;
    }
    int shortage = errno;
    bool evicted = connection_evict(acceptor->loop);
    errno = shortage;
    if (evicted) {
        report_shortage(acceptor, "connections that are silent make room");
    }
    return evicted;
}

/* Between the kernel's giving a socket and its record a successor has to look for it. */
static void expect(const struct loop *loop, bool expected)
{
    if (loop->options.durable != NULL && expected) {
        durable_expect(loop->options.durable, 0, 0);
    } else if (loop->options.durable != NULL) {
        durable_expect_nothing(loop->options.durable);
    }
}

static int accept_next(struct acceptor *acceptor, int listen_fd, struct sockaddr_storage *address)
{
    expect(acceptor->loop, true);
    int fd = accept_from(listen_fd, address);
    if (fd < 0 && free_descriptor(acceptor)) {
        fd = accept_from(listen_fd, address);
    }
    if (fd < 0) {
        expect(acceptor->loop, false);
    }
    return fd;
}

/* Accepts one connection. False: none is waiting, or none can be had. */
static bool accept_one(struct acceptor *acceptor, int listen_fd)
{
    struct loop *loop = acceptor->loop;
    struct sockaddr_storage address;
    int fd = accept_next(acceptor, listen_fd, &address);
    if (fd < 0) {
        switch (errno) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            pause_listening(acceptor);
            return false;
        case EAGAIN:
            return false;
        case EINVAL: /* shut down: the server drains, or somebody else has done it */
            look_away_from(acceptor, listen_fd);
            return false;
        default: /* that client is gone again; there may be others */
            return true;
        }
    }
    struct client_address client = client_address_pack((struct sockaddr *)&address);
    uint64_t most = loop->options.config->max_connections_per_client;
    if (most > 0 && !client_counts_enter(&loop->client_counts, &client, most)) {
        refuse(acceptor, fd, &client);
        expect(loop, false);
        return true;
    }
    if (!loop_has_free_place(loop) && !loop->draining) {
        connection_evict(loop); /* if none is silent after all, there is one too many */
    }
    connection_create(loop, fd, &client);
    return true;
}

/* Looks away from the socket for a moment, so that others come first. */
static void yield(struct acceptor *acceptor)
{
    CHECK(!acceptor->has_yielded || acceptor->loop->options.may_accept != NULL);
    const struct timeval moment = {.tv_usec = ACCEPT_YIELD_MS * 1000};
    set_listening(acceptor, false);
    event_add(&acceptor->yield_event, &moment);
}

static void on_yield_end(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct acceptor *acceptor = argument;
    acceptor->has_yielded = true;
    acceptor_resume(acceptor);
}

static bool should_yield(struct acceptor *acceptor, int accepted)
{
    const struct worker_options *options = &acceptor->loop->options;
    if (options->may_accept == NULL || (acceptor->has_yielded && accepted < ACCEPT_UNYIELDING)) {
        return false;
    }
    return !options->may_accept(options->may_accept_data, options->context->slot_index);
}

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct acceptor *acceptor = argument;
    struct loop *loop = acceptor->loop;
    CHECK(acceptor->listening && !loop->draining);
    uint64_t begin_ms = loop_now_ms(loop);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (should_yield(acceptor, i)) {
            yield(acceptor);
            break;
        }
        if (i > 0 && !loop_has_free_place(loop)) {
            break; /* the next event tells whether anybody else waits */
        }
        if (!has_room(acceptor)) {
            set_listening(acceptor, false);
            return;
        }
        if (!accept_one(acceptor, fd) || loop_now_ms(loop) - begin_ms > ACCEPT_TURN_MS) {
            break;
        }
    }
    acceptor->has_yielded = false;
}

void acceptor_open(struct acceptor *acceptor, struct loop *loop)
{
    acceptor->loop = loop;
    for (size_t i = 0; i < loop->options.listen_count; i++) {
        event_assign(&acceptor->listen_events[i], loop->base, loop->options.listen_fds[i],
                     EV_READ | EV_PERSIST, on_acceptable, acceptor);
    }
    event_assign(&acceptor->yield_event, loop->base, -1, 0, on_yield_end, acceptor);
    set_listening(acceptor, true);
}

static void take_queued(struct acceptor *acceptor, int listen_fd)
{
    for (int i = 0; i < DRAIN_ACCEPTS && accept_one(acceptor, listen_fd); i++) {
    }
}

void acceptor_give_up(struct acceptor *acceptor)
{
    const struct worker_options *options = &acceptor->loop->options;
    CHECK(acceptor->loop->draining && !acceptor->listening);
    for (size_t i = 0; i < options->listen_count; i++) {
        if (options->may_shut_down != NULL &&
            options->may_shut_down(options->may_shut_down_data, i)) {
            take_queued(acceptor, options->listen_fds[i]);
            shutdown(options->listen_fds[i], SHUT_RD);
        }
    }
}

void acceptor_drain(struct acceptor *acceptor)
{
    CHECK(acceptor->loop->hurrying && !acceptor->listening);
    for (size_t i = 0; i < acceptor->loop->options.listen_count; i++) {
        take_queued(acceptor, acceptor->loop->options.listen_fds[i]);
    }
}

void acceptor_close(struct acceptor *acceptor)
{
    set_listening(acceptor, false);
    event_del(&acceptor->yield_event);
}
