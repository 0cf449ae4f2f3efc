#include "common/net/connection.h"

#include "common/base/check.h"
#include "common/base/digest.h"
#include "common/base/memory.h"
#include "common/net/connection_internal.h"
#include "common/net/durable.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IDLE_AFTER_MS = 1000,  /* silent for so long between requests: nothing is on its way */
    STALE_AFTER_MS = 1000, /* a head that is not whole after that stands still */
    DRAIN_CHANCE_MS = 1000 /* how long a drain waits for a request that may be on its way */
};

static void on_event(evutil_socket_t fd, short what, void *argument);
static void on_readable(struct connection *c);

struct connection *connection_next(const struct connection *connection)
{
    return TAILQ_NEXT(connection, link);
}

/* ---- What is watched ---- */

static void set_event(struct connection *c, short what)
{
    event_assign(&c->event, c->loop->base, c->fd, (short)(what | EV_PERSIST), on_event, c);
}

void connection_watch_read(struct connection *c)
{
    if (!c->watching_read) {
        event_del(&c->event);
        set_event(c, EV_READ);
        event_add(&c->event, NULL);
        c->watching_read = true;
    }
}

void connection_watch_write(struct connection *c)
{
    event_del(&c->event);
    set_event(c, EV_WRITE);
    event_add(&c->event, NULL);
    c->watching_read = false;
}

void connection_watch_nothing(struct connection *c)
{
    event_del(&c->event);
    c->watching_read = false;
}

/* ---- Life ---- */

static struct connection_list *list_of(struct connection *c)
{
    CHECK(c->place < CONNECTION_PLACES);
    return &c->loop->places[c->place];
}

static void enter_list(struct connection *c, enum connection_place place)
{
    c->place = place;
    c->loop->asking_count += place == PLACE_ASKING;
    TAILQ_INSERT_TAIL(list_of(c), c, link);
}

static void leave_list(struct connection *c)
{
    CHECK(c->place != PLACE_ASKING || c->loop->asking_count > 0);
    c->loop->asking_count -= c->place == PLACE_ASKING;
    TAILQ_REMOVE(list_of(c), c, link);
}

void connection_set_phase(struct connection *c, enum connection_phase phase)
{
#define BIT(phase) (1U << PHASE_##phase)
    static const uint8_t may_follow[CONNECTION_PHASES] = {
        [PHASE_WAITING] = BIT(WAITING) | BIT(HEAD) | BIT(CLOSING),
        [PHASE_HEAD] = BIT(WAITING) | BIT(BODY) | BIT(HANDLING),
        [PHASE_BODY] = BIT(WAITING) | BIT(HANDLING),
        [PHASE_HANDLING] = BIT(WAITING),
        [PHASE_CLOSING] = BIT(LINGERING),
        [PHASE_LINGERING] = 0,
    };
#undef BIT
    CHECK((may_follow[c->phase] >> phase & 1) != 0);
    c->phase = phase;
}

void connection_move(struct connection *c, enum connection_place place)
{
    if (c->place != place) {
        CHECK(place != PLACE_PARKED || (c->phase == PHASE_WAITING && !c->sending));
        CHECK((place == PLACE_LINGERING) == (c->phase == PHASE_LINGERING));
        CHECK(place != PLACE_PARKED || (c->idle && c->served));
        leave_list(c);
        enter_list(c, place);
    }
}

/* In a drain a request that may be on its way gets a short last chance. */
void connection_wait_for_request(struct connection *c, uint64_t timeout_ms)
{
    uint64_t now_ms = loop_now_ms(c->loop);
    if (c->loop->hurrying && timeout_ms > DRAIN_CHANCE_MS) {
        timeout_ms = DRAIN_CHANCE_MS;
    }
    connection_set_phase(c, PHASE_WAITING);
    c->waiting_since_ms = now_ms;
    if (!c->sending) { /* else the deadline is that of the sending */
        c->deadline_ms = now_ms + timeout_ms;
    }
}

struct connection *connection_enter(struct loop *loop, int fd, const struct client_address *client)
{
    /* First of all: what a killed process holds and has not counted, no book tells of. */
    slot_add(&loop_slot(loop)->connections_open, 1);
    struct connection *c = memory_alloc_zeroed(1, sizeof(*c));
    /* What it asks for was asked after what came before it. */
    handler_context_next_turn(loop->options.context);
    c->loop = loop;
    c->fd = fd;
    c->client = *client;
    c->counted = true;
    c->digest = DIGEST_EMPTY;
    c->owed_since_ns = c->read_ns = loop_moment_ns(loop);
    enter_list(c, PLACE_ASKING);
    loop->connection_count++;
    CHECK(loop->asking_count <= loop->connection_count);
    set_event(c, EV_READ);
    return c;
}

void connection_count_client(struct loop *loop, const struct client_address *client)
{
    if (loop->options.config->max_connections_per_client > 0) {
        client_counts_enter(&loop->client_counts, client, UINT64_MAX);
    }
}

void connection_create(struct loop *loop, int fd, const struct client_address *client)
{
    struct connection *c = connection_enter(loop, fd, client);
    if (loop->options.durable != NULL) {
        c->record = durable_enter(loop->options.durable, fd, 0);
        if (c->record == NULL) {
            connection_journal_mortal(c);
        }
    }
    slot_add(&loop_slot(loop)->counters.connections_accepted, 1);
    connection_wait_for_request(c, connection_config(c)->header_timeout_ms);
    if (loop->draining) { /* first of all, the queue is to be emptied */
        connection_watch_read(c);
    } else { /* the request has often come already; then nothing need be watched for it */
        on_readable(c);
    }
}

/* Another thread works on the exchange: only the sending side can end for now. */
static void doom(struct connection *c)
{
    CHECK(!c->doomed); /* nothing else ends it, until its exchange comes back */
    connection_watch_nothing(c);
    connection_sending_log_later(c);
    connection_sending_drop(c);
    c->sending = false;
    c->doomed = true;
}

void connection_log_cut(struct connection *c)
{
    connection_sending_log_cut(c);
}

void connection_destroy(struct connection *c)
{
    struct loop *loop = c->loop;
    if (c->phase == PHASE_HANDLING && !loop->stopped) {
        doom(c);
        return;
    }
    CHECK(loop->connection_count > 0);
    CHECK(c->answered <= c->unfinished);
    event_del(&c->event);
    connection_sending_log_cut(c); /* while there is a record that tells of it */
    const bool is_durable = c->record != NULL;
    if (is_durable) {
        durable_leave(loop->options.durable, c->record, c->fd, &c->input);
        c->record = NULL;
    }
    connection_journal_leave(c); /* before the close: whoever dies between the two loses nothing */
    connection_journal_ended(c);
    if (!is_durable && c->fd >= 0) { /* else somebody else has it */
        close(c->fd);
    }
    if (c->exchange != NULL) {
        http_exchange_give(&loop->exchanges, c->exchange);
    }
    connection_give_back_input(c);
    connection_replay_end(c);
    connection_sending_drop(c);
    lending_give_buffer(&loop->lending, &c->output.bytes);
    leave_list(c);
    if (loop->options.config->max_connections_per_client > 0) {
        client_counts_leave(&loop->client_counts, &c->client);
    }
    free(c);
    loop->connection_count--;
    CHECK(loop->asking_count <= loop->connection_count);
    loop->place_freed(loop->place_freed_data);
}

void connection_give_away(struct connection *c)
{
    struct http_response *response = &c->exchange->response;
    const http_detach_fn detach = response->detach;
    void *data = response->detach_data;
    const int fd = c->fd;
    CHECK(c->phase == PHASE_CLOSING && output_is_empty(&c->output));
    response->detach = NULL;
    connection_watch_nothing(c);
    if (c->record != NULL) { /* whoever has it now goes on with it alone */
        durable_abandon(c->loop->options.durable, c->record, &c->input);
        c->record = NULL;
    }
    c->fd = -1;
    connection_destroy(c);
    detach(data, fd);
}

bool connection_has_unread_input(const struct connection *c)
{
    int bytes = 0;
    return ioctl(c->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

void connection_give_back_input(struct connection *c)
{
    if (c->record != NULL) {
        durable_input_give(c->loop->options.durable, c->record, &c->input);
    } else {
        lending_give_buffer(&c->loop->lending, &c->input);
    }
    c->input_used = c->request_start = 0;
    c->input_done = 0;
}

static void drop_used_input(struct connection *c)
{
    if (c->input_used > 0) {
        buffer_consume(&c->input, c->input_used);
        c->input_used = 0;
    }
}

/* What is left of the input is a part of a request, or requests that wait for the output. */
static void hold_little_input(struct connection *c)
{
    if (c->record != NULL) {
        connection_input_hold_little(c);
    } else if (c->input_used == c->input.len || c->phase == PHASE_CLOSING) {
        connection_give_back_input(c);
    } else if (c->input.capacity >= CONNECTION_READ_BYTES) {
        drop_used_input(c);
        lending_trim_buffer(&c->loop->lending, &c->input);
    }
}

void connection_hold_little(struct connection *c)
{
    struct lending *lending = &c->loop->lending;
    output_drop_sent(&c->output);
    lending_trim_buffer(lending, &c->output.bytes);
    if (c->phase == PHASE_HANDLING) { /* the request that is being handled lies in the input */
        return;
    }
    hold_little_input(c);
    if (c->exchange != NULL && (c->phase == PHASE_WAITING || c->phase == PHASE_CLOSING) &&
        c->exchange->response.detach == NULL) {
        http_exchange_give(&c->loop->exchanges, c->exchange);
        c->exchange = NULL;
    }
}

/* It waits for the client or the pool. */
static void rest(struct connection *c)
{
    if (c->phase != PHASE_HANDLING) {
        connection_watch_read(c);
    }
    connection_hold_little(c);
}

/* Answers everything that has been received, in order, and sends the answers in as few calls as
 * possible. */
static void advance(struct connection *c)
{
    bool more = true;
    do {
        while (more && !output_is_full(&c->output) &&
               (c->record == NULL || connection_input_may_step(c))) {
            more = connection_requests_step(c);
        }
        if (c->replay != NULL && !connection_replay_goes_on(c)) {
            return;
        }
        if (!connection_sending_flush(c)) {
            return;
        }
    } while (more);
    rest(c);
}

static void on_first_turn(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct connection *c = argument;
    loop_note_turn(c->loop);
    connection_watch_read(c);
    advance(c);
}

void connection_advance_soon(struct connection *c)
{
    CHECK(!c->watching_read && !c->sending);
    event_assign(&c->event, c->loop->base, c->fd, 0, on_first_turn, c);
    event_active(&c->event, EV_READ, 0);
}

static void note_read(struct connection *c, size_t bytes)
{
    c->input.len += bytes;
    c->read_bytes += bytes;
    c->read_ns = loop_moment_ns(c->loop);
    if (c->phase == PHASE_WAITING) { /* nobody was owed anything */
        c->owed_since_ns = c->read_ns;
    }
}

/* Makes room behind the input. The unparsed part moves to the front only if it must. */
static void prepare_input(struct connection *c)
{
    if (c->record != NULL && connection_input_prepare(c)) {
        return;
    }
    if (c->input.capacity == 0) {
        c->input = lending_take_buffer(&c->loop->lending, CONNECTION_READ_BYTES);
    } else {
        drop_used_input(c);
    }
    if (c->input.capacity - c->input.len < CONNECTION_READ_BYTES / 4) {
        bool is_short = c->input.len < CONNECTION_READ_BYTES / 2; /* then as much as at first */
        buffer_reserve(&c->input, CONNECTION_READ_BYTES - (is_short ? c->input.len : 0));
    }
    CHECK(c->input.len < c->input.capacity); /* reading nothing would look like the end */
}

static void on_readable(struct connection *c)
{
    if (c->phase == PHASE_HANDLING) { /* not before the request at hand is answered */
        connection_watch_nothing(c);
        return;
    }
    prepare_input(c);
    ssize_t n = recv(c->fd, c->input.data + c->input.len, c->input.capacity - c->input.len,
                     MSG_DONTWAIT); /* whoever handed it over may share its flags */
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        rest(c);
        return;
    }
    if (n <= 0) { /* nothing more will come, and what has come is answered or incomplete */
        connection_destroy(c);
        return;
    }
    if (c->idle) {
        CHECK(c->phase == PHASE_WAITING);
        c->idle = false;
        slot_subtract(&loop_slot(c->loop)->connections_idle, 1);
    }
    if (c->place == PLACE_PARKED) {
        connection_move(c, PLACE_IN_USE);
    }
    note_read(c, (size_t)n);
    advance(c);
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    struct connection *c = argument;
    loop_note_turn(c->loop);
    if (what & EV_WRITE) {
        if (connection_sending_flush(c)) {
            advance(c);
        }
    } else if (c->phase == PHASE_LINGERING) {
        connection_linger_read(c);
    } else {
        on_readable(c);
    }
}

/* The handler has finished elsewhere. */
static void complete(struct http_exchange *exchange)
{
    struct connection *c = exchange->connection;
    CHECK(c->phase == PHASE_HANDLING && c->exchange == exchange);
    CHECK(exchange->owner == c->loop); /* it comes back to the loop that it left */
    connection_requests_respond(c);
    if (c->doomed) {
        connection_sending_reset_at_end(c);
        connection_destroy(c);
        return;
    }
    if (c->sending) { /* it goes on when the socket takes more */
        connection_hold_little(c);
        return;
    }
    connection_watch_read(c);
    advance(c);
}

void connection_complete_all(struct loop *loop)
{
    struct http_exchange *completed = loop_take_completed(loop);
    while (completed != NULL) {
        struct http_exchange *next = completed->next;
        complete(completed);
        completed = next;
    }
}

/* ---- Time ---- */

static void expire(struct connection *c, uint64_t now_ms)
{
    if (c->sending) {
        connection_sending_extend(c, 0);
        if (now_ms >= c->deadline_ms) {
            connection_sending_cut(c);
        }
        return;
    }
    switch (c->phase) {
    case PHASE_HEAD:
        connection_requests_refuse(c, (struct http_refusal){408, "headers too slow"});
        break;
    case PHASE_BODY:
        connection_requests_refuse(c, (struct http_refusal){408, "body too slow"});
        break;
    case PHASE_HANDLING: /* takes as long as it takes */
        return;
    case PHASE_LINGERING:
        connection_linger_expire(c, now_ms);
        return;
    default:
        connection_destroy(c);
        return;
    }
    connection_sending_flush(c);
}

bool connection_is_due(const struct connection *c, uint64_t now_ms)
{
    return now_ms >= c->deadline_ms;
}

static bool is_newly_idle(const struct connection *c, uint64_t now_ms)
{
    return c->phase == PHASE_WAITING && !c->sending && !c->idle &&
           now_ms - c->waiting_since_ms >= IDLE_AFTER_MS;
}

/* Its head began so long before its deadline. */
static bool is_stale(const struct connection *c, uint64_t now_ms)
{
    return c->phase == PHASE_HEAD && !c->sending &&
           now_ms + connection_config(c)->header_timeout_ms >= c->deadline_ms + STALE_AFTER_MS;
}

void connection_sweep(struct connection *c, uint64_t now_ms)
{
    if (connection_is_due(c, now_ms)) {
        expire(c, now_ms);
        return;
    }
    if (is_newly_idle(c, now_ms)) {
        CHECK(c->unfinished == 0 && output_is_empty(&c->output)); /* it is owed nothing */
        c->idle = true;
        slot_add(&loop_slot(c->loop)->connections_idle, 1);
        if (c->served) {
            connection_move(c, PLACE_PARKED);
        }
    } else if (is_stale(c, now_ms)) {
        connection_move(c, PLACE_ASKING);
    }
}

void connection_drain(struct connection *c, uint64_t now_ms)
{
    uint64_t last_chance_ms = now_ms + DRAIN_CHANCE_MS;
    if (c->phase == PHASE_WAITING && !c->sending && c->deadline_ms > last_chance_ms) {
        c->deadline_ms = last_chance_ms;
    }
}
