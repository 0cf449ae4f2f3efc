#include "common/net/acceptor.h"

#include "common/base/log.h"
#include "common/http/status_line.h"
#include "common/net/connection.h"
#include "common/net/worker_internal.h"

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

static void set_listening(struct worker *worker, bool on)
{
    struct acceptor *acceptor = &worker->acceptor;
    if (acceptor->listening == on && !acceptor->has_deaf) {
        return;
    }
    acceptor->listening = on;
    acceptor->has_deaf = false;
    for (size_t i = 0; i < worker->options.listen_count; i++) {
        if (on) {
            event_add(&acceptor->listen_events[i], NULL);
        } else {
            event_del(&acceptor->listen_events[i]);
        }
    }
}

/* Once for each shortage: of descriptors, or of the kernel's memory. errno tells of which. */
static void report_shortage(struct worker *worker, const char *remedy)
{
    uint64_t now_ms = worker_now_ms(worker);
    if (now_ms - worker->acceptor.short_ms > ACCEPT_COMPLAINT_MS) {
        log_write(LOG_WARN, "cannot accept connections: %m; %s", remedy);
    }
    worker->acceptor.short_ms = now_ms;
}

/* The others are still watched; the tick looks whether it listens again. */
static void look_away_from(struct worker *worker, int listen_fd)
{
    for (size_t i = 0; i < worker->options.listen_count; i++) {
        if (worker->options.listen_fds[i] == listen_fd) {
            event_del(&worker->acceptor.listen_events[i]);
        }
    }
    worker->acceptor.has_deaf = true;
}

/* Without a descriptor the connection cannot be taken from the queue, and the socket would stay
 * readable: better to look away for a moment than to spin. */
static void pause_listening(struct worker *worker)
{
    report_shortage(worker, "trying again every 100 ms");
    worker->acceptor.not_before_ms = worker_now_ms(worker) + ACCEPT_PAUSE_MS;
    set_listening(worker, false);
}

/* Another one can be taken, maybe in somebody's place. */
static bool has_room(struct worker *worker)
{
    return worker_has_free_place(worker) ||
           (worker->connection_count == worker->options.max_connections &&
            connection_may_evict(worker));
}

void acceptor_resume(struct worker *worker)
{
    bool is_complete = worker->acceptor.listening && !worker->acceptor.has_deaf;
    if (!is_complete && !worker->draining && !worker->stopped &&
        worker_now_ms(worker) >= worker->acceptor.not_before_ms && has_room(worker)) {
        set_listening(worker, true);
    }
}

/* Tells a client that it has too many connections. It is not waited for: what it has sent already
 * is read once, so that the close does not become a reset that destroys the answer. */
static void refuse(struct worker *worker, int fd, const struct client_address *client)
{
    char text[REFUSAL_BYTES];
    char discarded[4096];
    int bytes = snprintf(text, sizeof(text),
                         "%.*sServer: twinhttpd\r\n%.*sContent-Length: 0\r\n"
                         "Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n\r\n",
                         (int)http_status_line(503).len, http_status_line(503).ptr,
                         (int)worker->date_line_bytes, worker->date_line);
    ssize_t ignored = send(fd, text, (size_t)bytes, MSG_NOSIGNAL);
    ignored = recv(fd, discarded, sizeof(discarded), 0);
    (void)ignored;
    close(fd);
    slot_add(&worker_slot_of(worker)->counters.connections_refused, 1);
    if (log_budget_allows(&worker->refusals, worker_now_ms(worker))) {
        char name[CLIENT_TEXT_BYTES];
        client_address_format(client, name);
        log_write(LOG_INFO, "refused a connection of %s: its address has %llu already", name,
                  (unsigned long long)worker->options.config->max_connections_per_client);
    }
}

static int accept_from(int listen_fd, struct sockaddr_storage *address)
{
    socklen_t bytes = sizeof(*address);
    return accept4(listen_fd, (struct sockaddr *)address, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Somebody waits, and no descriptor is free: one who will not be missed gives his. */
static bool free_descriptor(struct worker *worker)
{
    if ((errno != EMFILE && errno != ENFILE) || worker->draining) {
        return false;
    }
    int shortage = errno;
    bool evicted = connection_evict(worker);
    errno = shortage;
    if (evicted) {
        report_shortage(worker, "connections that are silent make room");
    }
    return evicted;
}

/* Accepts one connection. False: none is waiting, or none can be had. */
static bool accept_one(struct worker *worker, int listen_fd)
{
    struct sockaddr_storage address;
    int fd = accept_from(listen_fd, &address);
    if (fd < 0 && free_descriptor(worker)) {
        fd = accept_from(listen_fd, &address);
    }
    if (fd < 0) {
        switch (errno) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            pause_listening(worker);
            return false;
        case EAGAIN:
            return false;
        case EINVAL: /* shut down: the server drains, or somebody else has done it */
            look_away_from(worker, listen_fd);
            return false;
        default: /* that client is gone again; there may be others */
            return true;
        }
    }
    struct client_address client = client_address_pack((struct sockaddr *)&address);
    uint64_t most = worker->options.config->max_connections_per_client;
    if (most > 0 && !client_counts_enter(&worker->client_counts, &client, most)) {
        refuse(worker, fd, &client);
        return true;
    }
    if (!worker_has_free_place(worker) && !worker->draining) {
        connection_evict(worker); /* if none is silent after all, there is one too many */
    }
    connection_create(worker, fd, &client);
    return true;
}

/* Looks away from the socket for a moment, so that others come first. */
static void yield(struct worker *worker)
{
    const struct timeval moment = {.tv_usec = ACCEPT_YIELD_MS * 1000};
    set_listening(worker, false);
    event_add(&worker->acceptor.yield_event, &moment);
}

static void on_yield_end(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    worker->acceptor.has_yielded = true;
    acceptor_resume(worker);
}

static bool should_yield(struct worker *worker, int accepted)
{
    const struct worker_options *options = &worker->options;
    if (options->may_accept == NULL ||
        (worker->acceptor.has_yielded && accepted < ACCEPT_UNYIELDING)) {
        return false;
    }
    return !options->may_accept(options->may_accept_data, options->context->slot_index);
}

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct worker *worker = argument;
    uint64_t begin_ms = worker_now_ms(worker);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (should_yield(worker, i)) {
            yield(worker);
            break;
        }
        if (i > 0 && !worker_has_free_place(worker)) {
            break; /* the next event tells whether anybody else waits */
        }
        if (!has_room(worker)) {
            set_listening(worker, false);
            return;
        }
        if (!accept_one(worker, fd) || worker_now_ms(worker) - begin_ms > ACCEPT_TURN_MS) {
            break;
        }
    }
    worker->acceptor.has_yielded = false;
}

void acceptor_open(struct worker *worker)
{
    struct acceptor *acceptor = &worker->acceptor;
    for (size_t i = 0; i < worker->options.listen_count; i++) {
        event_assign(&acceptor->listen_events[i], worker->base, worker->options.listen_fds[i],
                     EV_READ | EV_PERSIST, on_acceptable, worker);
    }
    event_assign(&acceptor->yield_event, worker->base, -1, 0, on_yield_end, worker);
    set_listening(worker, true);
}

static void take_queued(struct worker *worker, int listen_fd)
{
    for (int i = 0; i < DRAIN_ACCEPTS && accept_one(worker, listen_fd); i++) {
    }
}

void acceptor_give_up(struct worker *worker)
{
    const struct worker_options *options = &worker->options;
    for (size_t i = 0; i < options->listen_count; i++) {
        if (options->may_shut_down != NULL &&
            options->may_shut_down(options->may_shut_down_data, i)) {
            take_queued(worker, options->listen_fds[i]);
            shutdown(options->listen_fds[i], SHUT_RD);
        }
    }
}

void acceptor_drain(struct worker *worker)
{
    for (size_t i = 0; i < worker->options.listen_count; i++) {
        take_queued(worker, worker->options.listen_fds[i]);
    }
}

void acceptor_close(struct worker *worker)
{
    set_listening(worker, false);
    event_del(&worker->acceptor.yield_event);
}
