#include "loadtest/prober/load.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "loadtest/prober/connection.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    TICK_MS = 5,
    OPENS_PER_TICK = 64,        /* 12,800 a second: less than what a server accepts */
    OPENS_PER_TICK_REFUSED = 5, /* 1,000 a second */
    STOP_SIGNALS = 2
};

static const uint64_t ns_per_s = 1000000000;

enum phase { PHASE_OPENING, PHASE_RUNNING, PHASE_ENDING };

TAILQ_HEAD(connection_list, connection);

struct load {
    const struct prober_options *options;
    struct results *results;
    struct client client;
    enum phase phase;
    struct connection *connections;
    struct connection_list idle;
    struct connection_list closed;
    struct connection_list timed; /* what waits for the server, longest first */
    unsigned not_tried;           /* connections whose first opening has not ended */
    unsigned to_open;             /* connections that have not been opened for the first time */
    unsigned opens_left;          /* in this tick */
    bool is_refusing;
    unsigned under_way; /* requests on a connection */
    uint64_t total;     /* requests that will be due */
    uint64_t due;       /* that have been */
    uint64_t taken;     /* that have found a connection */
    int timer_fd;
    struct event *timer;
    struct event *tick;
    struct event *signals[STOP_SIGNALS];
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "lab-prober: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- When ---- */

static uint64_t intended_ns(const struct load *load, uint64_t number)
{
    const uint64_t rate = load->options->rate_per_s;
    return load->results->start_ns + number / rate * ns_per_s + number % rate * ns_per_s / rate;
}

static uint64_t planned_end_ns(const struct load *load)
{
    return load->results->measured_ns + (uint64_t)load->options->duration_ms * 1000000;
}

/* Sets it anew, which takes back an expiry that nobody has read. */
static void set_timer(const struct load *load, uint64_t time_ns)
{
    const struct itimerspec at = {.it_value = {.tv_sec = (time_t)(time_ns / ns_per_s),
                                               .tv_nsec = (long)(time_ns % ns_per_s)}};
    if (timerfd_settime(load->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) != 0) {
        fail("timerfd_settime");
    }
}

/* ---- Which connection ---- */

static void wait_with(struct load *load, struct connection *connection, uint64_t now_ns)
{
    connection->since_ns = now_ns;
    TAILQ_INSERT_TAIL(&load->timed, connection, timed_link);
}

static void begin_request(struct load *load, struct connection *connection, uint64_t due_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    load->under_way++;
    results_add_start(load->results, now_ns);
    wait_with(load, connection, now_ns);
    connection_request(connection, load->options->closed_loop ? now_ns : due_ns, now_ns);
}

static struct connection *take_free(struct load *load)
{
    struct connection_list *list = TAILQ_EMPTY(&load->idle) ? &load->closed : &load->idle;
    struct connection *connection = TAILQ_FIRST(list);
    if (connection != NULL) {
        TAILQ_REMOVE(list, connection, free_link);
    }
    return connection;
}

/* Gives requests that are due to free connections. */
static void dispatch(struct load *load)
{
    struct connection *connection;
    while (load->taken < load->due && (connection = take_free(load)) != NULL) {
        begin_request(load, connection, intended_ns(load, load->taken++));
    }
    uint64_t queued = load->due - load->taken;
    if (queued > load->results->queue_max) {
        load->results->queue_max = queued;
    }
}

/* Every look at the clock takes in what has come due: the timer's turn may be late. */
static void note_due(struct load *load)
{
    if (load->phase != PHASE_RUNNING || load->options->closed_loop) {
        return;
    }
    uint64_t now_ns = clock_monotonic_ns();
    for (; load->due < load->total && intended_ns(load, load->due) <= now_ns; load->due++) {
        results_add_lateness(load->results, intended_ns(load, load->due), now_ns);
    }
    dispatch(load);
}

/* ---- Opening connections ---- */

static bool may_reopen(const struct load *load)
{
    if (load->phase == PHASE_OPENING) {
        return load->to_open > 0;
    }
    /* Without kept connections, requests alone open them. */
    return load->phase == PHASE_RUNNING &&
           (load->options->closed_loop || !load->options->connect_per_request);
}

/* Where each request has a connection of its own, opening them is the load, and not a repair. */
static bool take_budget(struct load *load)
{
    if (load->opens_left > 0) {
        load->opens_left--;
        return true;
    }
    return load->options->connect_per_request && !load->is_refusing;
}

static void reopen(struct load *load)
{
    while (may_reopen(load) && !TAILQ_EMPTY(&load->closed) && take_budget(load)) {
        struct connection *connection = TAILQ_FIRST(&load->closed);
        TAILQ_REMOVE(&load->closed, connection, free_link);
        if (load->phase == PHASE_RUNNING && load->options->closed_loop) {
            begin_request(load, connection, 0);
            continue;
        }
        load->to_open -= load->phase == PHASE_OPENING;
        wait_with(load, connection, clock_monotonic_ns());
        connection_open(connection);
    }
}

/* ---- From phase to phase ---- */

static void stop_when_idle(struct load *load)
{
    if (load->phase == PHASE_ENDING && load->under_way == 0) {
        event_base_loopbreak(load->client.base);
    }
}

/* What is due and has found no connection is not sent any more. */
static void end_run(struct load *load)
{
    uint64_t now_ns = clock_monotonic_ns();
    load->phase = PHASE_ENDING;
    load->results->end_ns = now_ns;
    for (; load->taken < load->due; load->taken++) {
        const struct ended_request request = {.intended_ns = intended_ns(load, load->taken),
                                              .ended_ns = now_ns,
                                              .outcome = OUTCOME_NOT_SENT};
        results_add_end(load->results, &request);
    }
    stop_when_idle(load);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct load *load = argument;
    note_due(load);
    uint64_t next_ns = planned_end_ns(load);
    if (load->due < load->total) {
        next_ns = intended_ns(load, load->due);
    } else if (clock_monotonic_ns() >= next_ns) {
        event_del(load->timer);
        end_run(load);
        return;
    }
    set_timer(load, next_ns);
}

static void start_closed_loop(struct load *load)
{
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&load->idle)) != NULL) {
        TAILQ_REMOVE(&load->idle, connection, free_link);
        begin_request(load, connection, 0);
    }
    reopen(load);
}

static void start_run(struct load *load)
{
    const struct prober_options *options = load->options;
    load->phase = PHASE_RUNNING;
    load->is_refusing = false;
    results_start(load->results, clock_monotonic_ns(), options->warm_up_ms);
    uint64_t planned_ms = (uint64_t)options->warm_up_ms + options->duration_ms;
    load->total = options->closed_loop ? 0 : planned_ms * options->rate_per_s / 1000;
    if (options->closed_loop) {
        start_closed_loop(load);
    }
    if (event_add(load->timer, NULL) != 0) {
        fail("event_add");
    }
    set_timer(load, options->closed_loop ? planned_end_ns(load) : load->results->start_ns);
}

/* One more connection is open, or could not be opened. */
static void note_tried(struct load *load)
{
    if (load->phase != PHASE_OPENING || --load->not_tried > 0) {
        return;
    }
    if (TAILQ_EMPTY(&load->idle)) {
        event_base_loopbreak(load->client.base);
    } else {
        start_run(load);
    }
}

/* ---- What connections tell ---- */

/* Where a connection goes that has nothing to do now. */
static void rest(struct load *load, struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSED) {
        TAILQ_INSERT_TAIL(&load->closed, connection, free_link);
        reopen(load);
    } else if (load->options->closed_loop && load->phase == PHASE_RUNNING) {
        begin_request(load, connection, 0);
        return;
    } else {
        TAILQ_INSERT_TAIL(&load->idle, connection, free_link);
    }
    note_due(load);
}

static void on_opened(struct connection *connection)
{
    struct load *load = connection->client->owner;
    load->results->connections_opened++;
    load->is_refusing = false;
    if (connection->has_request) {
        return;
    }
    TAILQ_REMOVE(&load->timed, connection, timed_link);
    rest(load, connection);
    note_tried(load);
}

static void note_end(struct load *load, struct connection *connection, enum outcome outcome)
{
    uint64_t generation;
    uint64_t pid;
    const struct ended_request request = {
        .connection = &connection->number,
        .intended_ns = connection->intended_ns,
        .started_ns = connection->started_ns,
        .ended_ns = clock_monotonic_ns(),
        .outcome = outcome,
        .status = connection_status(connection),
        .generation =
            connection_is_told(connection, "\"generation\":", &generation) ? &generation : NULL,
        .pid = connection_is_told(connection, "\"pid\":", &pid) ? &pid : NULL};
    results_add_end(load->results, &request);
    load->under_way--;
    load->is_refusing |= outcome == OUTCOME_REFUSED;
}

static void on_answered(struct connection *connection, enum outcome outcome)
{
    struct load *load = connection->client->owner;
    TAILQ_REMOVE(&load->timed, connection, timed_link);
    note_end(load, connection, outcome);
    if (connection->state == CONNECTION_ENDING) {
        wait_with(load, connection, clock_monotonic_ns());
    } else {
        rest(load, connection);
    }
    stop_when_idle(load);
}

static void count_end(struct load *load, enum connection_end end)
{
    switch (end) {
    case CONNECTION_END_REFUSED:
        load->is_refusing = true;
        load->results->connects_failed++;
        break;
    case CONNECTION_END_CONNECT_FAILED:
        load->results->connects_failed++;
        break;
    case CONNECTION_END_IDLE:
        load->results->idle_closes++;
        break;
    case CONNECTION_END_ANNOUNCED:
        load->results->announced_closes++;
        break;
    }
}

static void on_closed(struct connection *connection, enum connection_end end)
{
    struct load *load = connection->client->owner;
    count_end(load, end);
    if (end == CONNECTION_END_IDLE) {
        TAILQ_REMOVE(&load->idle, connection, free_link);
    } else {
        TAILQ_REMOVE(&load->timed, connection, timed_link);
    }
    rest(load, connection);
    if (end == CONNECTION_END_REFUSED || end == CONNECTION_END_CONNECT_FAILED) {
        note_tried(load);
    }
}

static void on_failed(struct client *client, const char *what, int error)
{
    struct load *load = client->owner;
    results_note_error(load->results, what, error);
}

/* ---- Time and signals ---- */

static void give_up(struct load *load, struct connection *connection)
{
    if (connection->has_request) {
        connection_drop(connection);
        on_answered(connection, OUTCOME_TIMEOUT);
        return;
    }
    bool was_ending = connection->state == CONNECTION_ENDING;
    connection_drop(connection);
    if (!was_ending) {
        results_note_error(load->results, "connect", ETIMEDOUT);
    }
    on_closed(connection, was_ending ? CONNECTION_END_ANNOUNCED : CONNECTION_END_CONNECT_FAILED);
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what;
    struct load *load = argument;
    const uint64_t timeout_ns = (uint64_t)load->options->timeout_ms * 1000000;
    uint64_t now_ns = clock_monotonic_ns();
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&load->timed)) != NULL &&
           connection->since_ns + timeout_ns <= now_ns) {
        give_up(load, connection);
    }
    load->opens_left = load->is_refusing ? OPENS_PER_TICK_REFUSED : OPENS_PER_TICK;
    reopen(load);
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    (void)number, (void)what;
    struct load *load = argument;
    for (int i = 0; i < STOP_SIGNALS; i++) {
        event_del(load->signals[i]); /* the next one ends the program as the kernel does it */
    }
    load->results->interrupted = true;
    if (load->phase == PHASE_OPENING) {
        results_start(load->results, clock_monotonic_ns(), load->options->warm_up_ms);
    }
    if (load->phase != PHASE_ENDING) {
        note_due(load);
        event_del(load->timer);
        end_run(load);
    }
}

/* ---- All of it ---- */

static void make_request(struct client *client, const struct prober_options *options)
{
    buffer_printf(&client->request,
                  "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: lab-prober\r\n%s\r\n", options->path,
                  options->address_text,
                  options->connect_per_request ? "Connection: close\r\n" : "");
    client->reads_answers = strncmp(options->path, "/whoami", strlen("/whoami")) == 0;
}

static struct event *make_event(struct load *load, int fd, short what, event_callback_fn call)
{
    struct event *event = event_new(load->client.base, fd, what, call, load);
    if (event == NULL) {
        fail("event_new");
    }
    return event;
}

static void make_events(struct load *load)
{
    static const int stop_signals[STOP_SIGNALS] = {SIGINT, SIGTERM};
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    load->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (load->timer_fd < 0) {
        fail("timerfd_create");
    }
    load->timer = make_event(load, load->timer_fd, EV_READ | EV_PERSIST, on_timer);
    load->tick = make_event(load, -1, EV_PERSIST, on_tick);
    if (event_add(load->tick, &tick) != 0) {
        fail("event_add");
    }
    for (int i = 0; i < STOP_SIGNALS; i++) {
        load->signals[i] = make_event(load, stop_signals[i], EV_SIGNAL | EV_PERSIST, on_signal);
        if (event_add(load->signals[i], NULL) != 0) {
            fail("event_add");
        }
    }
}

static void make_connections(struct load *load)
{
    const unsigned count = load->options->connections;
    load->connections = memory_alloc_zeroed(count, sizeof(*load->connections));
    for (unsigned i = 0; i < count; i++) {
        connection_init(&load->connections[i], &load->client, i);
        TAILQ_INSERT_TAIL(&load->closed, &load->connections[i], free_link);
    }
    load->not_tried = load->to_open = count;
    load->opens_left = OPENS_PER_TICK;
}

static void create(struct load *load)
{
    load->client.base = event_base_new();
    if (load->client.base == NULL) {
        fail("event_base_new");
    }
    load->client.options = load->options;
    load->client.owner = load;
    load->client.opened = on_opened;
    load->client.answered = on_answered;
    load->client.closed = on_closed;
    load->client.failed = on_failed;
    TAILQ_INIT(&load->idle);
    TAILQ_INIT(&load->closed);
    TAILQ_INIT(&load->timed);
    make_request(&load->client, load->options);
    make_events(load);
    make_connections(load);
}

static void destroy(struct load *load)
{
    for (unsigned i = 0; i < load->options->connections; i++) {
        connection_drop(&load->connections[i]);
    }
    free(load->connections);
    for (int i = 0; i < STOP_SIGNALS; i++) {
        event_free(load->signals[i]);
    }
    event_free(load->tick);
    event_free(load->timer);
    close(load->timer_fd);
    buffer_free(&load->client.request);
    event_base_free(load->client.base);
}

bool load_run(const struct prober_options *options, struct results *results, struct error *error)
{
    struct load load = {.options = options, .results = results};
    create(&load);
    if (options->connect_per_request) {
        start_run(&load);
    } else {
        reopen(&load);
    }
    if (event_base_dispatch(load.client.base) < 0) {
        fail("event_base_dispatch");
    }
    bool was_started = load.phase != PHASE_OPENING;
    if (!was_started) {
        error_set(error,
                  "no connection to %s (%s); start the server there, or name another --address",
                  options->address_text,
                  results->first_error[0] != '\0' ? results->first_error : "closed at once");
    }
    destroy(&load);
    return was_started;
}
