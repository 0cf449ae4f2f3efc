#include "common/net/connection.h"

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/net/output.h"
#include "common/net/reader_pace.h"
#include "common/net/worker_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 16384,        /* room offered to one read */
    IDLE_AFTER_MS = 1000,      /* silent for so long between requests: nothing is on its way */
    DRAIN_CHANCE_MS = 1000,    /* how long a drain waits for a request that may be on its way */
    LINGER_READ_BYTES = 65536, /* discarded at a time */
    RETRY_AFTER_SECONDS = 1
};

/* What the input side is doing. */
enum connection_phase {
    PHASE_WAITING, /* no byte of the next request yet */
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_HANDLING, /* the exchange is with another thread: hands off it, and off the input */
    PHASE_CLOSING,  /* the last response is being sent; input is ignored */
    PHASE_LINGERING /* all is sent: read and discard, so that a reset does not destroy it */
};

struct connection {
    struct event event; /* one of EV_READ and EV_WRITE is watched, or none */
    int fd;
    enum connection_phase phase;
    bool watching_read;
    bool sending; /* output is blocked; EV_WRITE is watched */
    bool idle;    /* counted in the slot's gauge */
    bool counted; /* in the slot's gauge of open connections */
    bool must_linger;
    bool doomed;         /* to be destroyed when its exchange comes back */
    uint32_t unfinished; /* requests counted as started, not yet as finished */
    uint32_t answered;   /* of these, those whose response is in the output */
    uint64_t deadline_ms;
    uint64_t waiting_since_ms;
    struct reader_pace pace; /* while output is blocked */
    struct worker *worker;
    struct http_exchange *exchange; /* while a request is being read or handled */
    struct buffer input;
    size_t input_used; /* bytes of input that earlier requests took */
    struct output output;
    struct client_address client;
    TAILQ_ENTRY(connection) link;
};

static void on_event(evutil_socket_t fd, short what, void *argument);
static void on_readable(struct connection *c);

struct worker *connection_worker(const struct connection *connection)
{
    return connection->worker;
}

struct connection *connection_next(const struct connection *connection)
{
    return TAILQ_NEXT(connection, link);
}

static const struct config *config_of(const struct connection *c)
{
    return c->worker->options.config;
}

/* ---- What is watched ---- */

static void watch(struct connection *c, short what)
{
    event_assign(&c->event, c->worker->base, c->fd, (short)(what | EV_PERSIST), on_event, c);
    event_add(&c->event, NULL);
    c->watching_read = what == EV_READ;
}

static void watch_read(struct connection *c)
{
    if (!c->watching_read) {
        event_del(&c->event);
        watch(c, EV_READ);
    }
}

static void watch_write(struct connection *c)
{
    event_del(&c->event);
    watch(c, EV_WRITE);
}

static void watch_nothing(struct connection *c)
{
    event_del(&c->event);
    c->watching_read = false;
}

/* ---- Life ---- */

static void leave_gauges(struct connection *c)
{
    struct worker_slot *slot = worker_slot_of(c->worker);
    if (c->idle) {
        slot_subtract(&slot->connections_idle, 1);
        c->idle = false;
    }
    if (c->counted) {
        slot_subtract(&slot->connections_open, 1);
        c->counted = false;
    }
}

/* In a drain a request that may be on its way gets a short last chance. */
static void wait_for_request(struct connection *c, uint64_t timeout_ms)
{
    uint64_t now_ms = worker_now_ms(c->worker);
    if (c->worker->draining && timeout_ms > DRAIN_CHANCE_MS) {
        timeout_ms = DRAIN_CHANCE_MS;
    }
    c->phase = PHASE_WAITING;
    c->waiting_since_ms = now_ms;
    if (!c->sending) { /* else the deadline is that of the sending */
        c->deadline_ms = now_ms + timeout_ms;
    }
}

void connection_create(struct worker *worker, int fd, const struct client_address *client)
{
    struct connection *c = memory_alloc_zeroed(1, sizeof(*c));
    struct worker_slot *slot = worker_slot_of(worker);
    c->worker = worker;
    c->fd = fd;
    c->client = *client;
    c->counted = true;
    TAILQ_INSERT_TAIL(&worker->connections, c, link);
    worker->connection_count++;
    slot_add(&slot->connections_open, 1);
    slot_add(&slot->counters.connections_accepted, 1);
    wait_for_request(c, config_of(c)->header_timeout_ms);
    watch(c, EV_READ);
    on_readable(c); /* the request has often come with the connection */
}

static void give_back_input(struct connection *c)
{
    spares_give_buffer(&c->worker->spares, &c->input);
    c->input_used = 0;
}

/* Another thread works on the exchange: only the sending side can end for now. */
static void doom(struct connection *c)
{
    watch_nothing(c);
    output_clear(&c->output);
    c->sending = false;
    c->doomed = true;
}

void connection_destroy(struct connection *c)
{
    struct worker *worker = c->worker;
    struct worker_slot *slot = worker_slot_of(worker);
    if (c->phase == PHASE_HANDLING && !worker->stopped) {
        doom(c);
        return;
    }
    event_del(&c->event);
    close(c->fd);
    leave_gauges(c);
    if (c->unfinished > 0) {
        slot_add(&slot->counters.requests_aborted, c->unfinished);
        slot_subtract(&slot->connections_busy, 1);
    }
    if (c->exchange != NULL) {
        spares_give_exchange(&worker->spares, c->exchange);
    }
    give_back_input(c);
    output_clear(&c->output);
    spares_give_buffer(&worker->spares, &c->output.bytes);
    TAILQ_REMOVE(&worker->connections, c, link);
    if (worker->options.config->max_connections_per_client > 0) {
        client_counts_leave(&worker->client_counts, &c->client);
    }
    free(c);
    worker->connection_count--;
    acceptor_resume(worker);
}

bool connection_evict_idle(struct worker *worker)
{
    struct connection *c = NULL;
    if (worker_has_idle(worker)) {
        c = TAILQ_FIRST(&worker->connections);
        while (c != NULL && !c->idle) {
            c = TAILQ_NEXT(c, link);
        }
    }
    if (c != NULL) {
        connection_destroy(c);
    }
    return c != NULL;
}

/* ---- The journal ---- */

static void count_started(struct connection *c)
{
    struct worker_slot *slot = worker_slot_of(c->worker);
    if (c->unfinished++ == 0) {
        slot_add(&slot->connections_busy, 1);
    }
    slot_add(&slot->counters.requests_started, 1);
}

/* Books the answers in the output as sent; returns how many. */
static uint32_t count_finished(struct connection *c)
{
    struct worker_slot *slot = worker_slot_of(c->worker);
    uint32_t answered = c->answered;
    slot_add(&slot->counters.requests_finished, answered);
    c->unfinished -= answered;
    c->answered = 0;
    if (answered > 0 && c->unfinished == 0) {
        slot_subtract(&slot->connections_busy, 1);
    }
    if (c->phase == PHASE_CLOSING) {
        leave_gauges(c);
    }
    return answered;
}

/* The opposite: they were not sent after all. */
static void uncount_finished(struct connection *c, uint32_t answered)
{
    struct worker_slot *slot = worker_slot_of(c->worker);
    if (answered > 0 && c->unfinished == 0) {
        slot_add(&slot->connections_busy, 1);
    }
    slot_subtract(&slot->counters.requests_finished, answered);
    c->unfinished += answered;
    c->answered = answered;
    if (c->phase == PHASE_CLOSING && !c->counted) {
        slot_add(&slot->connections_open, 1);
        c->counted = true;
    }
}

/* ---- Answering ---- */

static void log_refusal(const struct connection *c, struct http_refusal refusal)
{
    if (log_budget_allows(&c->worker->refusals, worker_now_ms(c->worker))) {
        char client[CLIENT_TEXT_BYTES];
        client_address_format(&c->client, client);
        log_write(LOG_INFO, "refused a request of %s with %u: %s", client, refusal.status,
                  refusal.reason);
    }
}

static struct buffer *output_bytes(struct connection *c)
{
    if (c->output.bytes.capacity == 0) {
        c->output.bytes = spares_take_buffer(&c->worker->spares, READ_BYTES);
    }
    return &c->output.bytes;
}

/* The flag comes before the order, which a busy loop reads only after its handler. */
static bool is_draining(const struct worker *worker)
{
    return worker->draining ||
           atomic_load_explicit(worker->options.server_draining, memory_order_relaxed);
}

/* The response is complete: puts it into the output and gets ready for the next request. */
static void respond(struct connection *c)
{
    struct worker *worker = c->worker;
    struct http_exchange *exchange = c->exchange;
    struct http_response *response = &exchange->response;
    response->close |= !exchange->request.keep_alive || is_draining(worker);
    struct span date = {worker->date_line, worker->date_line_bytes};
    bool file_follows = http_response_render(response, &exchange->request, date, output_bytes(c));
    if (file_follows) {
        output_set_file(&c->output, response->file, response->file_offset, response->file_bytes);
        file_entry_retain(response->file);
    }
    if (worker->access_log != NULL) {
        access_log_write(worker->access_log, exchange);
    }
    c->answered++;
    wait_for_request(c, config_of(c)->idle_timeout_ms);
    if (response->close) {
        c->phase = PHASE_CLOSING;
        /* The client may not expect the end, or has sent more already. */
        c->must_linger |= exchange->request.keep_alive || c->input_used < c->input.len;
    }
    http_exchange_reset(exchange);
}

/* Answers a request that cannot be followed to its end: the connection ends with it. */
static void refuse(struct connection *c, struct http_refusal refusal)
{
    log_refusal(c, refusal);
    if (c->phase == PHASE_HEAD) {
        count_started(c);
        c->exchange->request.head = c->input.data + c->input_used; /* may have moved since */
    }
    struct http_response *response = &c->exchange->response;
    http_response_reset(response);
    http_response_error(response, refusal.status);
    if (refusal.status == 405) {
        http_response_add_header(response, "Allow", "GET, HEAD, POST, OPTIONS");
    }
    response->close = true;
    c->must_linger = true;
    respond(c);
}

static void answer_overload(struct connection *c)
{
    struct http_response *response = &c->exchange->response;
    http_response_error(response, 503);
    buffer_printf(&response->headers, "Retry-After: %d\r\n", RETRY_AFTER_SECONDS);
    respond(c);
}

static void run_inline(struct connection *c)
{
    struct handler_context *context = c->worker->options.context;
    context->now_ms = worker_now_ms(c->worker);
    http_exchange_run(c->exchange, context);
    respond(c);
}

/* The request is complete: has it handled, here or elsewhere. */
static void handle(struct connection *c)
{
    const struct worker_dispatch *dispatch = &c->worker->options.dispatch;
    if (c->exchange->route == NULL) {
        respond(c);
        return;
    }
    enum dispatch_result result = DISPATCH_INLINE;
    if (dispatch->take != NULL) {
        c->phase = PHASE_HANDLING; /* before another thread can have finished */
        result = dispatch->take(dispatch->data, c->exchange);
    }
    switch (result) {
    case DISPATCH_TAKEN:
        break;
    case DISPATCH_FULL:
        answer_overload(c);
        break;
    case DISPATCH_INLINE:
        run_inline(c);
        break;
    }
}

/* ---- Reading ---- */

static bool expects_continue(const struct http_request *request)
{
    return request->minor_version == 1 && request->field_occurrences[HTTP_FIELD_EXPECT] > 0;
}

/* The head announces a body. */
static void begin_body(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    bool body_has_begun = c->input.len > c->input_used;
    c->phase = PHASE_BODY;
    c->deadline_ms = worker_now_ms(c->worker) + config_of(c)->body_timeout_ms;
    if (!expects_continue(&exchange->request) || body_has_begun) {
        return;
    }
    if (exchange->route == NULL) { /* refused already: better that it is not sent at all */
        exchange->response.close = true;
        c->must_linger = true;
        respond(c);
        return;
    }
    buffer_append_span(output_bytes(c), SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
}

static void on_head(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    count_started(c);
    c->input_used += exchange->request.head_bytes;
    if (!exchange->request.has_body) {
        http_exchange_route(exchange, c->worker->options.router);
        handle(c);
        return;
    }
    http_exchange_keep_head(exchange);
    http_exchange_route(exchange, c->worker->options.router);
    begin_body(c);
}

static void begin_request(struct connection *c)
{
    if (c->exchange == NULL) {
        c->exchange = spares_take_exchange(&c->worker->spares, &c->worker->limits);
        c->exchange->complete = worker_complete;
        c->exchange->connection = c;
        c->exchange->client = &c->client;
    }
    c->phase = PHASE_HEAD;
    c->deadline_ms = worker_now_ms(c->worker) + config_of(c)->header_timeout_ms;
}

/* Both return whether there is more to do with the input at hand. */
static bool parse_head(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    switch (http_parser_feed_head(exchange->parser, &exchange->request,
                                  c->input.data + c->input_used, c->input.len - c->input_used)) {
    case HTTP_PARSE_HEAD:
        on_head(c);
        return true;
    case HTTP_PARSE_REFUSED:
        refuse(c, http_parser_refusal(exchange->parser));
        return false;
    default:
        return false;
    }
}

static bool parse_body(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    size_t used = 0;
    enum http_parse_result result =
        http_parser_feed_body(exchange->parser, &exchange->request, c->input.data + c->input_used,
                              c->input.len - c->input_used, &used);
    c->input_used += used;
    switch (result) {
    case HTTP_PARSE_DONE:
        handle(c);
        return true;
    case HTTP_PARSE_REFUSED:
        refuse(c, http_parser_refusal(exchange->parser));
        return false;
    default:
        return false;
    }
}

/* One step with the input at hand. False: more input, or another thread, is needed. */
static bool step(struct connection *c)
{
    if (c->input_used == c->input.len) {
        return false;
    }
    switch (c->phase) {
    case PHASE_WAITING:
        begin_request(c);
        return parse_head(c);
    case PHASE_HEAD:
        return parse_head(c);
    case PHASE_BODY:
        return parse_body(c);
    case PHASE_HANDLING:
    case PHASE_CLOSING:
    case PHASE_LINGERING:
        break;
    }
    return false;
}

/* ---- Sending ---- */

static bool has_unread_input(const struct connection *c)
{
    int bytes = 0;
    return ioctl(c->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

/* The last response is sent. Closing at once while the client may still be sending would make the
 * kernel reset the connection, and the client might never see the response (RFC 9112, 9.6). */
static void finish(struct connection *c)
{
    if (!(c->must_linger || has_unread_input(c)) || shutdown(c->fd, SHUT_WR) != 0) {
        connection_destroy(c);
        return;
    }
    give_back_input(c);
    c->phase = PHASE_LINGERING;
    c->deadline_ms = worker_now_ms(c->worker) + config_of(c)->linger_timeout_ms;
    watch_read(c);
}

static void extend_send_deadline(struct connection *c, uint64_t sent)
{
    uint64_t now_ms = worker_now_ms(c->worker);
    c->deadline_ms =
        c->sending ? reader_pace_extend(&c->pace, c->fd, config_of(c), now_ms, sent, c->deadline_ms)
                   : reader_pace_begin(&c->pace, c->fd, config_of(c), now_ms);
}

/* Answers that one send() will probably take are booked before it: when it returns the client may
 * have the answer already, and this process may be gone before it could write that down. A file is
 * booked when its last byte is sent. */
static enum output_result flush_and_count(struct connection *c)
{
    bool in_one_send = c->output.file == NULL;
    uint32_t counted = in_one_send ? count_finished(c) : 0;
    uint64_t sent = 0;
    enum output_result result = output_flush(&c->output, c->fd, &sent);
    slot_add(&worker_slot_of(c->worker)->counters.bytes_sent, sent);
    if (in_one_send && result != OUTPUT_DONE) {
        uncount_finished(c, counted);
    } else if (result == OUTPUT_DONE) {
        count_finished(c);
    }
    if (result == OUTPUT_BLOCKED) {
        extend_send_deadline(c, sent);
    }
    return result;
}

/* The time in which the client did not read is not taken from what it had for its next request. */
static void restore_deadline(struct connection *c)
{
    const struct config *config = config_of(c);
    uint64_t now_ms = worker_now_ms(c->worker);
    if (c->phase == PHASE_WAITING) {
        wait_for_request(c, config->idle_timeout_ms);
    } else if (c->phase == PHASE_HEAD) {
        c->deadline_ms = now_ms + config->header_timeout_ms;
    } else if (c->phase == PHASE_BODY) {
        c->deadline_ms = now_ms + config->body_timeout_ms;
    }
}

/* Sends what is in the output. True: all of it, and the connection goes on. */
static bool flush(struct connection *c)
{
    if (output_is_empty(&c->output)) {
        return true;
    }
    switch (flush_and_count(c)) {
    case OUTPUT_FAILED:
        connection_destroy(c);
        return false;
    case OUTPUT_BLOCKED:
        if (!c->sending) {
            c->sending = true;
            watch_write(c);
        }
        return false;
    case OUTPUT_DONE:
        break;
    }
    if (c->sending) {
        c->sending = false;
        watch_read(c);
        restore_deadline(c);
    }
    if (c->phase == PHASE_CLOSING) {
        finish(c);
        return false;
    }
    return true;
}

/* A connection that waits holds no memory but its own. */
static void rest(struct connection *c)
{
    spares_give_buffer(&c->worker->spares, &c->output.bytes);
    if (c->phase == PHASE_HANDLING) { /* the request that is being handled lies in the input */
        return;
    }
    if (c->input_used == c->input.len) {
        give_back_input(c);
    }
    if (c->phase == PHASE_WAITING && c->exchange != NULL) {
        spares_give_exchange(&c->worker->spares, c->exchange);
        c->exchange = NULL;
    }
}

/* Answers everything that has been received, in order, and sends the answers in as few calls as
 * possible. */
static void advance(struct connection *c)
{
    bool more = true;
    do {
        while (more && !output_is_full(&c->output)) {
            more = step(c);
        }
        if (!flush(c)) {
            return;
        }
    } while (more);
    rest(c);
}

/* Makes room behind the input. The unparsed part moves to the front only if it must. */
static void prepare_input(struct connection *c)
{
    if (c->input.capacity == 0) {
        c->input = spares_take_buffer(&c->worker->spares, READ_BYTES);
    } else if (c->input_used > 0) {
        buffer_consume(&c->input, c->input_used);
        c->input_used = 0;
    }
    if (c->input.capacity - c->input.len < READ_BYTES / 4) {
        buffer_reserve(&c->input, READ_BYTES);
    }
}

static void on_readable(struct connection *c)
{
    if (c->phase == PHASE_HANDLING) { /* not before the request at hand is answered */
        watch_nothing(c);
        return;
    }
    prepare_input(c);
    ssize_t n = recv(c->fd, c->input.data + c->input.len, c->input.capacity - c->input.len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        rest(c);
        return;
    }
    if (n <= 0) { /* nothing more will come, and what has come is answered or incomplete */
        connection_destroy(c);
        return;
    }
    if (c->idle) {
        c->idle = false;
        slot_subtract(&worker_slot_of(c->worker)->connections_idle, 1);
    }
    c->input.len += (size_t)n;
    advance(c);
}

static void on_lingering(struct connection *c)
{
    char discarded[LINGER_READ_BYTES];
    ssize_t n = recv(c->fd, discarded, sizeof(discarded), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        connection_destroy(c);
    }
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    struct connection *c = argument;
    if (what & EV_WRITE) {
        if (flush(c)) {
            advance(c);
        }
    } else if (c->phase == PHASE_LINGERING) {
        on_lingering(c);
    } else {
        on_readable(c);
    }
}

void connection_complete(struct http_exchange *exchange)
{
    struct connection *c = exchange->connection;
    assert(c->phase == PHASE_HANDLING && c->exchange == exchange);
    respond(c);
    if (c->doomed) {
        connection_destroy(c);
        return;
    }
    if (!c->sending) { /* else it goes on when the socket takes more */
        watch_read(c);
        advance(c);
    }
}

/* ---- Time ---- */

/* With a reset: else the kernel would keep what the client does not read, and go on trying to send
 * it for long after the connection is gone. */
static void cut_slow_reader(struct connection *c)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    if (log_budget_allows(&c->worker->refusals, worker_now_ms(c->worker))) {
        char client[CLIENT_TEXT_BYTES];
        client_address_format(&c->client, client);
        log_write(LOG_INFO, "cut %s, which reads its response too slowly", client);
    }
    connection_destroy(c);
}

static void expire(struct connection *c, uint64_t now_ms)
{
    if (c->sending) {
        extend_send_deadline(c, 0);
        if (now_ms >= c->deadline_ms) {
            cut_slow_reader(c);
        }
        return;
    }
    switch (c->phase) {
    case PHASE_HEAD:
        refuse(c, (struct http_refusal){408, "headers too slow"});
        break;
    case PHASE_BODY:
        refuse(c, (struct http_refusal){408, "body too slow"});
        break;
    case PHASE_HANDLING: /* takes as long as it takes */
        return;
    default:
        connection_destroy(c);
        return;
    }
    flush(c);
}

void connection_sweep(struct connection *c, uint64_t now_ms)
{
    if (now_ms >= c->deadline_ms) {
        expire(c, now_ms);
        return;
    }
    if (c->phase == PHASE_WAITING && !c->sending && !c->idle &&
        now_ms - c->waiting_since_ms >= IDLE_AFTER_MS) {
        c->idle = true;
        slot_add(&worker_slot_of(c->worker)->connections_idle, 1);
    }
}

void connection_drain(struct connection *c, uint64_t now_ms)
{
    uint64_t last_chance_ms = now_ms + DRAIN_CHANCE_MS;
    if (c->phase == PHASE_WAITING && !c->sending && c->deadline_ms > last_chance_ms) {
        c->deadline_ms = last_chance_ms;
    }
}
