#include "common/net/worker.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/wake.h"
#include "common/http/file_cache.h"
#include "common/net/connection.h"
#include "common/net/durable.h"
#include "common/net/worker_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

enum { TICK_MS = 100, SWEEP_MS = 200, TRIM_MS = 1000 };

enum worker_command { WORKER_SERVE, WORKER_RETIRE, WORKER_DRAIN, WORKER_STOP };

/* ---- Tick ---- */

static void sweep_connections(struct loop *loop, uint64_t now_ms)
{
    for (int place = 0; place < PLACE_PARKED; place++) {
        struct connection *c = TAILQ_FIRST(&loop->places[place]);
        while (c != NULL) {
            struct connection *next = connection_next(c);
            connection_sweep(c, now_ms);
            c = next;
        }
    }
    struct connection *c;
    while ((c = TAILQ_FIRST(&loop->places[PLACE_PARKED])) != NULL && connection_is_due(c, now_ms)) {
        connection_sweep(c, now_ms); /* ends it */
    }
}

static void follow_root(const struct loop *loop, uint64_t now_ms)
{
    struct file_cache *files = loop->options.context->files;
    if (files != NULL) {
        file_cache_follow_root(files, now_ms);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    struct loop *loop = &worker->loop;
    uint64_t now_ms = loop_now_ms(loop);
    slot_beat(loop_slot(loop), now_ms, loop->draining ? SLOT_DRAINING : SLOT_READY);
    loop_render_date(loop);
    if (now_ms - worker->swept_ms >= SWEEP_MS) {
        worker->swept_ms = now_ms;
        sweep_connections(loop, now_ms);
    }
    if (loop->options.durable != NULL && now_ms - worker->trimmed_ms >= TRIM_MS) {
        bool goes_on = durable_trim(loop->options.durable); /* then with the next tick */
        worker->trimmed_ms = goes_on ? now_ms - TRIM_MS : now_ms;
    }
    if (loop->access_log != NULL) {
        access_log_flush(loop->access_log);
    }
    log_tell_losses();
    log_budget_report(&loop->refusals, now_ms);
    log_budget_report(&loop->cut_files, now_ms);
    log_budget_report(&loop->given_up, now_ms);
    follow_root(loop, now_ms);
    acceptor_resume(&worker->acceptor);
    if (loop->options.rebalance != NULL) {
        if (!loop->draining && !loop->stopped) {
            event_add(&worker->inbox_event, NULL); /* on_inbox may have looked away */
        }
        loop->options.rebalance(loop->options.rebalance_data, worker,
                                loop->options.context->slot_index);
    }
}

/* ---- Connections that come from other workers and go to them ---- */

uint64_t worker_hand_over(struct worker *worker, int to_fd, uint64_t count)
{
    return connection_hand_over(&worker->loop, to_fd, count);
}

bool worker_take_over(struct worker *worker, int from_fd)
{
    return connection_take_over(&worker->loop, from_fd);
}

/* ---- Connections that a dead process has left behind ---- */

bool worker_adopt(struct worker *worker, struct durable_record *record, int fd,
                  const struct worker_end *end)
{
    return connection_adopt(&worker->loop, record, fd, end);
}

void worker_adopt_expected(struct worker *worker, int fd, const struct durable_expected *expected)
{
    connection_adopt_expected(&worker->loop, fd, expected);
}

void worker_lose(struct worker *worker, struct durable_record *record)
{
    connection_lose(&worker->loop, record);
}

void worker_lose_disbelieved(struct worker *worker)
{
    connection_lose_disbelieved(&worker->loop);
}

struct adoption_counts worker_adoption(struct worker *worker)
{
    struct adoption_counts counts = {0};
    adoption_add(&counts, &loop_slot(&worker->loop)->counters.adoption);
    return counts;
}

bool worker_log_writer(const struct worker *worker, uint32_t *generation, int *fd)
{
    const struct access_log *log = worker->loop.access_log;
    return log != NULL && access_log_writer(log, generation, fd);
}

void worker_ask_log_writer(struct worker *worker, int fd)
{
    access_log_ask_writer(worker->loop.access_log, fd);
}

bool worker_log_awaits(const struct worker *worker, const struct durable_record *record)
{
    const struct loop *loop = &worker->loop;
    uint32_t offered;
    return loop->access_log != NULL && access_log_offered(loop->access_log, &offered) &&
           durable_index(loop->options.durable, record) == offered;
}

void worker_settle_log(struct worker *worker)
{
    if (worker->loop.access_log != NULL) {
        access_log_accept_cut(worker->loop.access_log);
    }
}

static void on_inbox(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct worker *worker = argument;
    loop_note_turn(&worker->loop);
    if (!worker_take_over(worker, fd)) { /* until the next tick: else the loop would spin */
        event_del(&worker->inbox_event);
    }
}

/* ---- Commands and completions from other threads ---- */

static void drain_connections(struct loop *loop)
{
    uint64_t now_ms = loop_now_ms(loop);
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        struct connection *c = TAILQ_FIRST(&loop->places[place]);
        for (; c != NULL; c = connection_next(c)) {
            connection_drain(c, now_ms);
        }
    }
}

/* What has been handed over is this worker's, although it has not looked; what comes later is for
 * whoever shares the inbox, or for its sender to take back. */
static void close_inbox(struct worker *worker)
{
    if (worker->loop.options.rebalance != NULL) {
        worker_take_over(worker, worker->loop.options.inbox_fd);
        event_del(&worker->inbox_event);
    }
}

static void begin_retirement(struct worker *worker)
{
    struct loop *loop = &worker->loop;
    if (loop->draining) {
        return;
    }
    loop->draining = true;
    worker->drain_until_ms = loop_now_ms(loop) + loop->options.config->drain_timeout_ms;
    acceptor_close(&worker->acceptor);
    slot_set_state(loop_slot(loop), SLOT_DRAINING);
    close_inbox(worker);
    acceptor_give_up(&worker->acceptor);
}

static void begin_drain(struct worker *worker)
{
    if (worker->loop.hurrying) {
        return;
    }
    worker->loop.hurrying = true;
    begin_retirement(worker);
    CHECK(worker->loop.draining);
    acceptor_drain(&worker->acceptor);
    acceptor_give_up(&worker->acceptor); /* also where it has retired from before */
    drain_connections(&worker->loop);
}

/* Edge-triggered: what is written to the eventfd need not be read. */
static void on_wake(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    loop_note_turn(&worker->loop);
    connection_complete_all(&worker->loop);
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
    CHECK(wanted > WORKER_SERVE && wanted <= WORKER_STOP); /* there is no way back */
    int current = atomic_load(&worker->command);
    while (current < (int)wanted &&
           !atomic_compare_exchange_weak(&worker->command, &current, (int)wanted)) {
    }
    loop_wake(&worker->loop);
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

static void on_place_freed(void *data)
{
    struct worker *worker = data;
    acceptor_resume(&worker->acceptor);
}

static void add_events(struct worker *worker)
{
    struct loop *loop = &worker->loop;
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    event_assign(&worker->wake_event, loop->base, loop->wake_fd, EV_READ | EV_ET | EV_PERSIST,
                 on_wake, worker);
    event_assign(&worker->tick_event, loop->base, -1, EV_PERSIST, on_tick, worker);
    event_add(&worker->wake_event, NULL);
    event_add(&worker->tick_event, &tick);
    if (loop->options.rebalance != NULL) {
        event_assign(&worker->inbox_event, loop->base, loop->options.inbox_fd, EV_READ | EV_PERSIST,
                     on_inbox, worker);
        event_add(&worker->inbox_event, NULL);
    }
    acceptor_open(&worker->acceptor, loop);
}

struct worker *worker_create(const struct worker_options *options)
{
    struct event_base *base = create_base();
    int wake_fd = wake_open();
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
    struct worker *worker = memory_alloc_zeroed(1, sizeof(*worker));
    loop_open(&worker->loop, options, base, wake_fd);
    worker->loop.place_freed = on_place_freed;
    worker->loop.place_freed_data = worker;
    add_events(worker);
    return worker;
}

struct event_base *worker_event_base(struct worker *worker)
{
    return worker->loop.base;
}

static bool is_drained(struct worker *worker)
{
    struct loop *loop = &worker->loop;
    return loop->draining &&
           (loop->connection_count == 0 || loop_now_ms(loop) >= worker->drain_until_ms);
}

static void log_what_is_cut(struct loop *loop)
{
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        struct connection *c = TAILQ_FIRST(&loop->places[place]);
        for (; c != NULL; c = connection_next(c)) {
            connection_log_cut(c);
        }
    }
}

/* Waits for events, and deals with them. */
static bool take_turn(struct loop *loop)
{
    const struct worker_dispatch *dispatch = &loop->options.dispatch;
    loop_begin_turn(loop);
    if (event_base_loop(loop->base, EVLOOP_ONCE) < 0) {
        log_write(LOG_ERROR, "the event loop failed: %m");
        return false;
    }
    if (dispatch->turn_end != NULL) {
        dispatch->turn_end(dispatch->data);
    }
    loop_end_turn(loop);
    return true;
}

void worker_run(struct worker *worker)
{
    struct loop *loop = &worker->loop;
    const struct worker_dispatch *dispatch = &loop->options.dispatch;
    CHECK(!loop->stopped);
    CHECK(dispatch->take != NULL || dispatch->turn_end == NULL); /* nothing was taken */
    while (atomic_load_explicit(&worker->command, memory_order_relaxed) != WORKER_STOP &&
           !is_drained(worker) && take_turn(loop)) {
    }
    if (loop->draining && loop->connection_count > 0) {
        log_write(LOG_WARN, "the drain deadline is over: %llu connections are cut",
                  (unsigned long long)loop->connection_count);
    }
    if (loop->access_log != NULL) { /* with a stuck thread nobody calls worker_destroy */
        log_what_is_cut(loop);
        access_log_finish(loop->access_log);
    }
}

static void destroy_connections(struct loop *loop)
{
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        while (!TAILQ_EMPTY(&loop->places[place])) {
            connection_destroy(TAILQ_FIRST(&loop->places[place]));
        }
    }
}

void worker_cut(struct worker *worker)
{
    worker->loop.stopped = true;
    destroy_connections(&worker->loop);
}

void worker_destroy(struct worker *worker)
{
    worker_cut(worker);
    CHECK(worker->loop.connection_count == 0);
    acceptor_close(&worker->acceptor);
    event_del(&worker->wake_event);
    event_del(&worker->tick_event);
    if (worker->loop.options.rebalance != NULL) {
        event_del(&worker->inbox_event);
    }
    loop_close(&worker->loop);
    free(worker);
}
