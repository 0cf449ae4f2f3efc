#include "common/net/worker.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/http_date.h"
#include "common/net/connection.h"
#include "common/net/worker_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { TICK_MS = 100, SWEEP_MS = 200 };

enum worker_command { WORKER_SERVE, WORKER_RETIRE, WORKER_DRAIN, WORKER_STOP };

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

struct span worker_date_line(struct worker *worker, const struct file_entry *file)
{
    if (file != NULL && file->last_modified > worker->date_second) {
        render_date(worker);
    }
    return (struct span){worker->date_line, worker->date_line_bytes};
}

/* ---- Tick ---- */

static void sweep_connections(struct worker *worker, uint64_t now_ms)
{
    for (int place = 0; place < PLACE_PARKED; place++) {
        struct connection *c = TAILQ_FIRST(&worker->places[place]);
        while (c != NULL) {
            struct connection *next = connection_next(c);
            connection_sweep(c, now_ms);
            c = next;
        }
    }
    struct connection *c;
    while ((c = TAILQ_FIRST(&worker->places[PLACE_PARKED])) != NULL &&
           connection_is_due(c, now_ms)) {
        connection_sweep(c, now_ms); /* ends it */
    }
}

static void follow_root(struct worker *worker, uint64_t now_ms)
{
    struct file_cache *files = worker->options.context->files;
    if (files != NULL) {
        file_cache_follow_root(files, now_ms);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    uint64_t now_ms = worker_now_ms(worker);
    slot_beat(worker_slot_of(worker), now_ms, worker->draining ? SLOT_DRAINING : SLOT_READY);
    render_date(worker);
    if (now_ms - worker->swept_ms >= SWEEP_MS) {
        worker->swept_ms = now_ms;
        sweep_connections(worker, now_ms);
    }
    if (worker->access_log != NULL) {
        access_log_flush(worker->access_log);
    }
    log_tell_losses();
    log_budget_report(&worker->refusals, now_ms);
    log_budget_report(&worker->cut_files, now_ms);
    follow_root(worker, now_ms);
    acceptor_resume(worker);
    if (worker->options.rebalance != NULL) {
        if (!worker->draining && !worker->stopped) {
            event_add(&worker->inbox_event, NULL); /* on_inbox may have looked away */
        }
        worker->options.rebalance(worker->options.rebalance_data, worker,
                                  worker->options.context->slot_index);
    }
}

static void on_inbox(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct worker *worker = argument;
    if (!worker_take_over(worker, fd)) { /* until the next tick: else the loop would spin */
        event_del(&worker->inbox_event);
    }
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
    struct worker *worker = exchange->owner;
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

static void drain_connections(struct worker *worker)
{
    uint64_t now_ms = worker_now_ms(worker);
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        struct connection *c = TAILQ_FIRST(&worker->places[place]);
        for (; c != NULL; c = connection_next(c)) {
            connection_drain(c, now_ms);
        }
    }
}

/* What has been handed over is this worker's, although it has not looked; what comes later is for
 * whoever shares the inbox, or for its sender to take back. */
static void close_inbox(struct worker *worker)
{
    if (worker->options.rebalance != NULL) {
        worker_take_over(worker, worker->options.inbox_fd);
        event_del(&worker->inbox_event);
    }
}

static void begin_retirement(struct worker *worker)
{
    if (worker->draining) {
        return;
    }
    worker->draining = true;
    worker->drain_until_ms = worker_now_ms(worker) + worker->options.config->drain_timeout_ms;
    acceptor_close(worker);
    slot_set_state(worker_slot_of(worker), SLOT_DRAINING);
    close_inbox(worker);
    acceptor_give_up(worker);
}

static void begin_drain(struct worker *worker)
{
    if (worker->hurrying) {
        return;
    }
    worker->hurrying = true;
    begin_retirement(worker);
    acceptor_drain(worker);
    acceptor_give_up(worker); /* also where it has retired from before */
    drain_connections(worker);
}

/* Edge-triggered: what is written to the eventfd need not be read. */
static void on_wake(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    take_completed(worker);
    switch (atomic_load(&worker->command)) {
    case WORKER_RETIRE:
        begin_retirement(worker);
        break;
    case WORKER_DRAIN:
        begin_drain(worker);
        break;
    default:
        break;
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

void worker_retire(struct worker *worker)
{
    command(worker, WORKER_RETIRE);
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
    event_assign(&worker->wake_event, worker->base, worker->wake_fd, EV_READ | EV_ET | EV_PERSIST,
                 on_wake, worker);
    event_assign(&worker->tick_event, worker->base, -1, EV_PERSIST, on_tick, worker);
    event_add(&worker->wake_event, NULL);
    event_add(&worker->tick_event, &tick);
    if (worker->options.rebalance != NULL) {
        event_assign(&worker->inbox_event, worker->base, worker->options.inbox_fd,
                     EV_READ | EV_PERSIST, on_inbox, worker);
        event_add(&worker->inbox_event, NULL);
    }
    acceptor_open(worker);
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
    worker->cut_files.warns = true;
    worker->limits = (struct http_limits){
        .request_line_bytes = config->max_request_line_bytes,
        .header_bytes = config->max_header_bytes,
        .headers = config->max_headers,
        .body_bytes = config->max_body_bytes,
    };
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        TAILQ_INIT(&worker->places[place]);
    }
    pthread_mutex_init(&worker->completed_lock, NULL);
    if (options->access_log_fd >= 0) {
        worker->access_log = access_log_create(options->access_log_fd, config->access_log_format);
    }
    handler_context_next_turn(options->context); /* so that the first look at the clock reads it */
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

static void log_what_is_cut(struct worker *worker)
{
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        struct connection *c = TAILQ_FIRST(&worker->places[place]);
        for (; c != NULL; c = connection_next(c)) {
            connection_log_cut(c);
        }
    }
}

void worker_run(struct worker *worker)
{
    const struct worker_dispatch *dispatch = &worker->options.dispatch;
    while (atomic_load_explicit(&worker->command, memory_order_relaxed) != WORKER_STOP &&
           !is_drained(worker)) {
        handler_context_next_turn(worker->options.context);
        if (event_base_loop(worker->base, EVLOOP_ONCE) < 0) {
            log_write(LOG_ERROR, "the event loop failed: %m");
            break;
        }
        if (dispatch->turn_end != NULL) {
            dispatch->turn_end(dispatch->data);
        }
    }
    if (worker->draining && worker->connection_count > 0) {
        log_write(LOG_WARN, "the drain deadline is over: %llu connections are cut",
                  (unsigned long long)worker->connection_count);
    }
    if (worker->access_log != NULL) { /* with a stuck thread nobody calls worker_destroy */
        log_what_is_cut(worker);
        access_log_finish(worker->access_log);
    }
}

static void destroy_connections(struct worker *worker)
{
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        while (!TAILQ_EMPTY(&worker->places[place])) {
            connection_destroy(TAILQ_FIRST(&worker->places[place]));
        }
    }
}

void worker_destroy(struct worker *worker)
{
    worker->stopped = true;
    destroy_connections(worker);
    lending_free(&worker->lending);
    if (worker->access_log != NULL) {
        access_log_destroy(worker->access_log);
    }
    acceptor_close(worker);
    event_del(&worker->wake_event);
    event_del(&worker->tick_event);
    if (worker->options.rebalance != NULL) {
        event_del(&worker->inbox_event);
    }
    event_base_free(worker->base);
    close(worker->wake_fd);
    pthread_mutex_destroy(&worker->completed_lock);
    free(worker);
}
