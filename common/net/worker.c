#include "common/net/worker.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/http_date.h"
#include "common/net/connection.h"
#include "common/net/worker_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TICK_MS = 100,
    SWEEP_MS = 200,
    ACCEPT_BATCH = 8,           /* then the others get their turn, and the other workers theirs */
    DRAIN_ACCEPTS = 4096,       /* as many as the queue can hold */
    ACCEPT_PAUSE_MS = 100,      /* after running out of descriptors */
    ACCEPT_COMPLAINT_MS = 1000, /* without a shortage for so long, the next one is reported */
    ACCEPT_YIELD_MS = 1,        /* how long connections are left to workers with fewer */
    ACCEPT_UNYIELDING = 4       /* accepted after that without asking again */
};

enum worker_command { WORKER_SERVE, WORKER_DRAIN, WORKER_STOP };

/* ---- Memory that is lent ---- */

struct buffer worker_take_buffer(struct worker *worker, size_t bytes)
{
    struct buffer buffer = {0};
    if (worker->spare_buffer_count > 0) {
        buffer = worker->spare_buffers[--worker->spare_buffer_count];
    }
    buffer_reserve(&buffer, bytes);
    return buffer;
}

void worker_give_buffer(struct worker *worker, struct buffer *buffer)
{
    if (buffer->capacity == 0) {
        return;
    }
    if (buffer->capacity > WORKER_SPARE_BUFFER_BYTES ||
        worker->spare_buffer_count == WORKER_SPARE_BUFFERS) {
        buffer_free(buffer);
        return;
    }
    buffer_clear(buffer);
    worker->spare_buffers[worker->spare_buffer_count++] = *buffer;
    *buffer = (struct buffer){0};
}

struct http_exchange *worker_take_exchange(struct worker *worker)
{
    struct http_exchange *exchange = worker->spare_exchanges;
    if (exchange == NULL) {
        exchange = http_exchange_create(&worker->limits);
        exchange->complete = worker_complete;
        return exchange;
    }
    worker->spare_exchanges = exchange->next;
    worker->spare_exchange_count--;
    return exchange;
}

void worker_give_exchange(struct worker *worker, struct http_exchange *exchange)
{
    if (worker->spare_exchange_count == WORKER_SPARE_EXCHANGES) {
        http_exchange_destroy(exchange);
        return;
    }
    http_exchange_reset(exchange);
    exchange->next = worker->spare_exchanges;
    worker->spare_exchanges = exchange;
    worker->spare_exchange_count++;
}

/* ---- Time ---- */

uint64_t worker_now_ms(struct worker *worker)
{
    struct handler_context *context = worker->options.context;
    if (worker->now_turn != context->turn) {
        worker->now_turn = context->turn;
        context->now_ms = clock_monotonic_ms();
    }
    return context->now_ms;
}

static void render_date(struct worker *worker)
{
    int64_t second = (int64_t)(clock_realtime_ms() / 1000);
    if (second == worker->date_second) {
        return;
    }
    char date[HTTP_DATE_BYTES];
    http_date_format(second, date);
    int bytes = snprintf(worker->date_line, DATE_LINE_BYTES, "Date: %s\r\n", date);
    worker->date_line_bytes = (size_t)bytes;
    worker->date_second = second;
}

/* ---- Accepting ---- */

static void set_listening(struct worker *worker, bool on)
{
    if (worker->listening == on) {
        return;
    }
    worker->listening = on;
    if (on) {
        event_add(&worker->listen_event, NULL);
    } else {
        event_del(&worker->listen_event);
    }
}

/* Without a descriptor the connection cannot be taken from the queue, and the socket would stay
 * readable: better to look away for a moment than to spin. */
static void pause_listening(struct worker *worker)
{
    uint64_t now_ms = worker_now_ms(worker);
    if (now_ms - worker->listen_at_ms > ACCEPT_COMPLAINT_MS) {
        log_write(LOG_WARN, "cannot accept connections: %m; trying again every %d ms",
                  ACCEPT_PAUSE_MS);
    }
    worker->listen_at_ms = now_ms + ACCEPT_PAUSE_MS;
    set_listening(worker, false);
}

static void resume_listening(struct worker *worker, uint64_t now_ms)
{
    if (!worker->draining && now_ms >= worker->listen_at_ms &&
        worker->connection_count < worker->options.max_connections) {
        set_listening(worker, true);
    }
}

/* Accepts one connection. False: none is waiting, or none can be had. */
static bool accept_one(struct worker *worker)
{
    struct sockaddr_storage address;
    socklen_t bytes = sizeof(address);
    int fd = accept4(worker->options.listen_fd, (struct sockaddr *)&address, &bytes,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
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
        case EINVAL: /* shut down: the server drains */
            set_listening(worker, false);
            return false;
        default: /* that client is gone again; there may be others */
            return true;
        }
    }
    struct client_address client = client_address_pack((struct sockaddr *)&address);
    connection_create(worker, fd, &client);
    return true;
}

/* Looks away from the socket for a moment, so that others come first. */
static void yield(struct worker *worker)
{
    const struct timeval moment = {.tv_usec = ACCEPT_YIELD_MS * 1000};
    set_listening(worker, false);
    event_add(&worker->yield_event, &moment);
}

static void on_yield_end(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    worker->has_yielded = true;
    resume_listening(worker, worker_now_ms(worker));
}

static bool should_yield(struct worker *worker, int accepted)
{
    const struct worker_options *options = &worker->options;
    if (options->may_accept == NULL || (worker->has_yielded && accepted < ACCEPT_UNYIELDING)) {
        return false;
    }
    return !options->may_accept(options->may_accept_data, options->context->slot_index);
}

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (worker->connection_count >= worker->options.max_connections) {
            set_listening(worker, false);
            return;
        }
        if (should_yield(worker, i)) {
            yield(worker);
            break;
        }
        if (!accept_one(worker)) {
            break;
        }
    }
    worker->has_yielded = false;
}

void worker_connection_ended(struct worker *worker)
{
    worker->connection_count--;
    if (!worker->listening && !worker->stopped) {
        resume_listening(worker, worker_now_ms(worker));
    }
}

/* ---- Tick ---- */

static void sweep_connections(struct worker *worker, uint64_t now_ms)
{
    struct connection *c = TAILQ_FIRST(&worker->connections);
    while (c != NULL) {
        struct connection *next = connection_next(c);
        connection_sweep(c, now_ms);
        c = next;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    uint64_t now_ms = worker_now_ms(worker);
    atomic_store_explicit(&worker_slot_of(worker)->heartbeat_ms, now_ms, memory_order_relaxed);
    render_date(worker);
    if (now_ms - worker->swept_ms >= SWEEP_MS) {
        worker->swept_ms = now_ms;
        sweep_connections(worker, now_ms);
    }
    if (worker->access_log != NULL) {
        access_log_flush(worker->access_log);
    }
    resume_listening(worker, now_ms);
}

/* ---- Commands and completions from other threads ---- */

static void wake(struct worker *worker)
{
    /* Can only fail when the counter is full, and then the loop is awake anyway. */
    ssize_t ignored = write(worker->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored;
}

void worker_complete(struct http_exchange *exchange)
{
    struct worker *worker = connection_worker(exchange->connection);
    pthread_mutex_lock(&worker->completed_lock);
    bool was_empty = worker->completed == NULL;
    exchange->next = worker->completed;
    worker->completed = exchange;
    pthread_mutex_unlock(&worker->completed_lock);
    if (was_empty) {
        wake(worker);
    }
}

static void take_completed(struct worker *worker)
{
    pthread_mutex_lock(&worker->completed_lock);
    struct http_exchange *newest = worker->completed;
    worker->completed = NULL;
    pthread_mutex_unlock(&worker->completed_lock);
    struct http_exchange *oldest = NULL; /* turn the list round: first finished, first answered */
    while (newest != NULL) {
        struct http_exchange *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct http_exchange *next = oldest->next;
        connection_complete(oldest);
        oldest = next;
    }
}

static void begin_drain(struct worker *worker)
{
    if (worker->draining) {
        return;
    }
    uint64_t now_ms = worker_now_ms(worker);
    /* What the kernel has queued already was accepted in the client's eyes; whoever comes later is
     * to be refused at once. */
    for (int i = 0; i < DRAIN_ACCEPTS && accept_one(worker); i++) {
    }
    shutdown(worker->options.listen_fd, SHUT_RD);
    set_listening(worker, false);
    worker->draining = true;
    worker->drain_until_ms = now_ms + worker->options.config->drain_timeout_ms;
    slot_set_state(worker_slot_of(worker), SLOT_DRAINING);
    struct connection *c = TAILQ_FIRST(&worker->connections);
    while (c != NULL) {
        struct connection *next = connection_next(c);
        connection_drain(c, now_ms);
        c = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct worker *worker = argument;
    uint64_t count;
    ssize_t ignored = read((int)fd, &count, sizeof(count));
    (void)ignored;
    take_completed(worker);
    if (atomic_load(&worker->command) == WORKER_DRAIN) {
        begin_drain(worker);
    }
}

static void command(struct worker *worker, enum worker_command wanted)
{
    int current = atomic_load(&worker->command);
    while (current < (int)wanted &&
           !atomic_compare_exchange_weak(&worker->command, &current, (int)wanted)) {
    }
    wake(worker);
}

void worker_stop(struct worker *worker)
{
    command(worker, WORKER_STOP);
}

void worker_drain(struct worker *worker)
{
    command(worker, WORKER_DRAIN);
}

/* ---- Life ---- */

static struct event_base *create_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL) {
        return NULL;
    }
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* one thread only */
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void add_events(struct worker *worker)
{
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    event_assign(&worker->listen_event, worker->base, worker->options.listen_fd,
                 EV_READ | EV_PERSIST, on_acceptable, worker);
    event_assign(&worker->wake_event, worker->base, worker->wake_fd, EV_READ | EV_PERSIST, on_wake,
                 worker);
    event_assign(&worker->tick_event, worker->base, -1, EV_PERSIST, on_tick, worker);
    event_assign(&worker->yield_event, worker->base, -1, 0, on_yield_end, worker);
    event_add(&worker->wake_event, NULL);
    event_add(&worker->tick_event, &tick);
    set_listening(worker, true);
}

struct worker *worker_create(const struct worker_options *options)
{
    struct event_base *base = create_base();
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (base == NULL || wake_fd < 0) {
        log_write(LOG_ERROR, "cannot make an event loop: %m; raise the limit of open files");
        if (base != NULL) {
            event_base_free(base);
        }
        if (wake_fd >= 0) {
            close(wake_fd);
        }
        return NULL;
    }
    const struct config *config = options->config;
    struct worker *worker = memory_alloc_zeroed(1, sizeof(*worker));
    worker->options = *options;
    worker->base = base;
    worker->wake_fd = wake_fd;
    worker->limits = (struct http_limits){
        .request_line_bytes = config->max_request_line_bytes,
        .header_bytes = config->max_header_bytes,
        .headers = config->max_headers,
        .body_bytes = config->max_body_bytes,
    };
    TAILQ_INIT(&worker->connections);
    pthread_mutex_init(&worker->completed_lock, NULL);
    if (options->access_log_fd >= 0) {
        worker->access_log = access_log_create(options->access_log_fd, config->access_log_format);
    }
    options->context->turn++; /* so that the first look at the clock reads it */
    render_date(worker);
    add_events(worker);
    return worker;
}

struct event_base *worker_event_base(struct worker *worker)
{
    return worker->base;
}

static bool is_drained(struct worker *worker)
{
    return worker->draining &&
           (worker->connection_count == 0 || worker_now_ms(worker) >= worker->drain_until_ms);
}

void worker_run(struct worker *worker)
{
    while (atomic_load_explicit(&worker->command, memory_order_relaxed) != WORKER_STOP &&
           !is_drained(worker)) {
        worker->options.context->turn++;
        if (event_base_loop(worker->base, EVLOOP_ONCE) < 0) {
            log_write(LOG_ERROR, "the event loop failed: %m");
            break;
        }
    }
    if (worker->draining && worker->connection_count > 0) {
        log_write(LOG_WARN, "the drain deadline is over: %llu connections are cut",
                  (unsigned long long)worker->connection_count);
    }
}

void worker_destroy(struct worker *worker)
{
    worker->stopped = true;
    while (!TAILQ_EMPTY(&worker->connections)) {
        connection_destroy(TAILQ_FIRST(&worker->connections));
    }
    while (worker->spare_buffer_count > 0) {
        buffer_free(&worker->spare_buffers[--worker->spare_buffer_count]);
    }
    while (worker->spare_exchanges != NULL) {
        http_exchange_destroy(worker_take_exchange(worker));
    }
    if (worker->access_log != NULL) {
        access_log_destroy(worker->access_log);
    }
    set_listening(worker, false);
    event_del(&worker->wake_event);
    event_del(&worker->tick_event);
    event_del(&worker->yield_event);
    event_base_free(worker->base);
    close(worker->wake_fd);
    pthread_mutex_destroy(&worker->completed_lock);
    free(worker);
}
