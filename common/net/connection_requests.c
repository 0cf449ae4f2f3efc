#include "common/net/connection_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/log.h"
#include "common/net/durable.h"

enum {
    RETRY_AFTER_SECONDS = 1,
    TEXTS_BYTES = 2 << 20 /* that wait for slow readers on one event loop */
};

/* ---- Answering ---- */

static void log_refusal(const struct connection *c, struct http_refusal refusal)
{
    if (log_budget_allows(&c->loop->refusals, loop_now_ms(c->loop))) {
        char client[CLIENT_TEXT_BYTES];
        client_address_format(&c->client, client);
        log_write(LOG_INFO, "refused a request of %s with %u: %s", client, refusal.status,
                  refusal.reason);
    }
}

static struct buffer *output_bytes(struct connection *c)
{
    if (c->output.bytes.capacity == 0) {
        c->output.bytes = lending_take_buffer(&c->loop->lending, CONNECTION_READ_BYTES);
    }
    return &c->output.bytes;
}

/* Whether what the client sent goes back to it. */
static bool is_request_body(const struct http_exchange *exchange)
{
    return exchange->response.body.ptr == exchange->request.body.data;
}

/* A body that a handler wrote or lent, longer than what is copied behind its head: the only kind
 * that needs memory which neither the request has brought along nor the file cache holds. */
static size_t text_bytes(const struct http_exchange *exchange)
{
    const struct http_response *response = &exchange->response;
    size_t bytes = response->text.len;
    if (bytes == 0 && response->file == NULL && !is_request_body(exchange)) {
        bytes = response->body.len;
    }
    bool is_sent = http_response_has_body(response, &exchange->request);
    return is_sent && bytes > HTTP_RESPONSE_COPIED_BYTES ? bytes : 0;
}

static void answer_later(struct http_response *response)
{
    http_response_reset(response);
    http_response_error(response, 503);
    buffer_printf(&response->headers, "Retry-After: %d\r\n", RETRY_AFTER_SECONDS);
}

/* Slow readers of long texts get few of them at a time. */
static void bound_texts(struct connection *c)
{
    struct loop *loop = c->loop;
    size_t bytes = text_bytes(c->exchange);
    if (bytes > 0 && loop->text_bytes > 0 && loop->text_bytes + bytes > TEXTS_BYTES) {
        log_refusal(c, (struct http_refusal){503, "too many long answers are still being read"});
        answer_later(&c->exchange->response);
        return;
    }
    loop->text_bytes += bytes;
    c->output.counted |= bytes > 0;
}

/* Moves the body of a response behind its head. */
static void put_body(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    struct http_response *response = &exchange->response;
    if (response->text.len > 0) {
        output_set_text(&c->output, &response->text);
    } else if (response->parts != NULL) {
        CHECK(response->file != NULL);
        output_set_parts(&c->output, response->file, response->parts);
        response->file = NULL;
        response->parts = NULL;
    } else if (response->file != NULL) {
        output_set_file(&c->output, response->file, response->file_offset, response->file_bytes);
        response->file = NULL;
    } else if (is_request_body(exchange)) {
        output_set_text(&c->output, &exchange->request.body);
    } else {
        struct buffer copy = {0};
        buffer_append_span(&copy, response->body);
        output_set_text(&c->output, &copy);
    }
}

/* Of a body that is not in the output's bytes: what a successor must find again to make it from. A
 * text that a handler wrote is in nobody's hands but this process's. */
static uint64_t digest_body(uint64_t digest, const struct connection *c)
{
    const struct http_response *response = &c->exchange->response;
    const struct file_entry *file = response->file;
    if (file != NULL) {
        const uint64_t parts[] = {file->status.st_ino,
                                  (uint64_t)file->status.st_mtim.tv_sec,
                                  (uint64_t)file->status.st_mtim.tv_nsec,
                                  file->size_bytes,
                                  response->file_offset,
                                  response->file_bytes};
        return digest_add(digest, parts, sizeof(parts));
    }
    return is_request_body(c->exchange) ? digest : DIGEST_NONE;
}

/* ---- What a successor is to know: for a connection with a record ---- */

/* What is in the output now, from start on, is a part of what a successor would make again. */
static void note_put(struct connection *c, size_t start, bool body_follows)
{
    const struct buffer *bytes = &c->output.bytes;
    const uint32_t date_second = (uint32_t)c->loop->date_second; /* until 2106 */
    if (c->digest == DIGEST_EMPTY) {
        c->date_second = date_second;
    } else if (c->date_second != date_second && !connection_is_silent(c)) {
        c->digest = DIGEST_NONE; /* one date is remembered, not two */
    }
    c->digest = digest_add(c->digest, bytes->data + start, bytes->len - start);
    if (body_follows) {
        c->digest = digest_body(c->digest, c);
    }
}

/* From here on the request is never taken for one that nobody has looked at. */
static void note_begun(struct connection *c)
{
    if (!c->begun && !connection_is_silent(c)) {
        durable_begin(c->record, c->put_bytes);
        c->begun = true;
    }
}

static void note_answered(struct connection *c)
{
    if (c->begun) {
        durable_answered(c->record);
    }
    c->begun = false;
}

/* Puts the response into the output, and its line into the books. */
static void put_response(struct connection *c)
{
    struct loop *loop = c->loop;
    const struct http_request *request = &c->exchange->request;
    const struct http_response *response = &c->exchange->response;
    struct span date =
        connection_is_silent(c) ? connection_replay_date(c) : loop_date_line(loop, response->file);
    struct buffer *bytes = output_bytes(c);
    const size_t start = bytes->len;
    const uint64_t body =
        http_response_has_body(response, request) ? http_response_body_bytes(response) : 0;
    bool body_follows = http_response_render(response, request, date, bytes);
    const size_t head = bytes->len - start - (body_follows ? 0 : (size_t)body);
    const struct access_log_extent where = {c->put_bytes, c->put_bytes + head,
                                            c->put_bytes + head + body};
    if (c->record != NULL) {
        note_put(c, start, body_follows);
    }
    if (body_follows) {
        put_body(c);
    }
    c->put_bytes = where.end;
    connection_sending_note(c, &where);
}

/* Whether nothing more is answered after it. What is made again was decided before. */
static bool is_last(const struct connection *c)
{
    return !c->exchange->request.keep_alive ||
           (c->replay != NULL ? connection_replay_closes(c) : loop_is_draining(c->loop));
}

void connection_requests_respond(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    struct http_response *response = &exchange->response;
    if (c->record != NULL) {
        note_begun(c);
    }
    bound_texts(c);
    response->close |= is_last(c);
    put_response(c);
    c->answered++;
    CHECK(c->answered <= c->unfinished); /* nobody is answered who has not asked */
    c->served = true;
    connection_wait_for_request(c, connection_config(c)->idle_timeout_ms);
    if (response->close) {
        connection_set_phase(c, PHASE_CLOSING);
        /* The client may not expect the end, or has sent more already. */
        c->must_linger |= exchange->request.keep_alive || c->input_used < c->input.len;
    }
    if (c->record != NULL) {
        note_answered(c);
    }
}

void connection_requests_refuse(struct connection *c, struct http_refusal refusal)
{
    CHECK(c->phase == PHASE_HEAD || c->phase == PHASE_BODY);
    log_refusal(c, refusal);
    if (c->phase == PHASE_HEAD) {
        connection_journal_started(c);
        connection_move(c, PLACE_IN_USE);
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
    connection_requests_respond(c);
}

static void answer_overload(struct connection *c)
{
    answer_later(&c->exchange->response);
    connection_requests_respond(c);
}

static void run_inline(struct connection *c)
{
    struct handler_context *context = c->loop->options.context;
    context->now_ms = loop_now_ms(c->loop);
    bool blocks = c->exchange->route->blocks;
    http_exchange_run(c->exchange, context);
    if (blocks) {
        handler_context_next_turn(context); /* the clock has to be read again */
    }
    connection_requests_respond(c);
}

/* The request is complete: has it handled, here or elsewhere. */
static void handle(struct connection *c)
{
    const struct worker_dispatch *dispatch = &c->loop->options.dispatch;
    bool here = dispatch->take == NULL;
    if (c->replay != NULL) {
        switch (connection_replay_next(c)) {
        case REPLAY_RUN:
            break;
        case REPLAY_RUN_HERE:
            here = true;
            break;
        case REPLAY_ANSWERED:
            connection_requests_respond(c);
            return;
        case REPLAY_SKIP:
            return;
        }
    }
    if (c->exchange->route == NULL) {
        connection_requests_respond(c);
        return;
    }
    if (c->record != NULL) {
        note_begun(c);
    }
    enum dispatch_result result = DISPATCH_INLINE;
    if (!here) {
        connection_set_phase(c, PHASE_HANDLING); /* before another thread can have finished */
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

/* The head announces a body. */
static void begin_body(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    bool body_has_begun = c->input.len > c->input_used;
    if (c->replay != NULL) {
        connection_replay_expectation(c, &body_has_begun);
    }
    connection_set_phase(c, PHASE_BODY);
    c->deadline_ms = loop_now_ms(c->loop) + connection_config(c)->body_timeout_ms;
    if (!exchange->request.expects_continue || body_has_begun) {
        return;
    }
    if (exchange->route == NULL) { /* refused already: better that it is not sent at all */
        exchange->response.close = true;
        c->must_linger = true;
        connection_requests_respond(c);
        return;
    }
    const struct span interim = SPAN("HTTP/1.1 100 Continue\r\n\r\n");
    const size_t start = c->output.bytes.len;
    if (c->record != NULL && !connection_is_silent(c)) {
        durable_interim(c->record, c->put_bytes);
    }
    buffer_append_span(output_bytes(c), interim);
    if (c->record != NULL) {
        note_put(c, start, false);
    }
    c->put_bytes += interim.len;
}

static void on_head(struct connection *c)
{
    struct http_exchange *exchange = c->exchange;
    connection_journal_started(c);
    connection_move(c, PLACE_IN_USE);
    CHECK(exchange->request.head_bytes <= c->input.len - c->input_used);
    c->input_used += exchange->request.head_bytes;
    if (!exchange->request.has_body) {
        http_exchange_route(exchange, c->loop->options.router);
        handle(c);
        return;
    }
    http_exchange_keep_head(exchange);
    http_exchange_route(exchange, c->loop->options.router);
    begin_body(c);
}

static void begin_request(struct connection *c)
{
    if (c->exchange == NULL) {
        c->exchange = http_exchange_take(&c->loop->exchanges, &c->loop->limits);
        c->exchange->complete = loop_complete;
        c->exchange->connection = c;
        c->exchange->owner = c->loop;
        c->exchange->client = &c->client;
    } else { /* it still holds what was answered last */
        http_exchange_reset(c->exchange);
    }
    c->exchange->slot_index = c->loop->options.context->slot_index; /* unless another answers */
    if (c->loop->access_log != NULL) {
        c->exchange->began_us = clock_monotonic_us();
    }
    c->request_start = c->input_used;
    connection_set_phase(c, PHASE_HEAD);
    c->deadline_ms = loop_now_ms(c->loop) + connection_config(c)->header_timeout_ms;
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
        connection_requests_refuse(c, http_parser_refusal(exchange->parser));
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
    CHECK(used <= c->input.len - c->input_used);
    c->input_used += used;
    switch (result) {
    case HTTP_PARSE_DONE:
        handle(c);
        return true;
    case HTTP_PARSE_REFUSED:
        connection_requests_refuse(c, http_parser_refusal(exchange->parser));
        return false;
    default:
        return false;
    }
}

bool connection_requests_step(struct connection *c)
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
