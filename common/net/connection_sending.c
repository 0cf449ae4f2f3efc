#include "common/net/connection_internal.h"

#include "common/base/check.h"
#include "common/base/digest.h"
#include "common/base/log.h"
#include "common/net/durable.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>

/* Whether the last response has a taker for the connection. */
static bool has_taker(const struct connection *c)
{
    const struct http_exchange *exchange = c->exchange;
    return exchange != NULL && exchange->response.detach != NULL &&
           http_response_has_body(&exchange->response, &exchange->request);
}

/* The last response is sent. Closing at once while the client may still be sending would make the
 * kernel reset the connection, and the client might never see the response (RFC 9112, 9.6). */
static void finish(struct connection *c)
{
    CHECK(c->unfinished == 0); /* every request has been answered to its end */
    if (has_taker(c)) {
        connection_give_away(c);
        return;
    }
    if (!(c->must_linger || connection_has_unread_input(c)) || shutdown(c->fd, SHUT_WR) != 0) {
        connection_destroy(c);
        return;
    }
    connection_linger_begin(c);
}

/* ---- The access log ---- */

void connection_sending_note(struct connection *c, const struct access_log_extent *where)
{
    struct access_log *log = c->loop->access_log;
    if (log != NULL) {
        access_log_note(log, c->exchange, where);
        if (c->sending) { /* other connections come before its turn */
            access_log_defer(log, &c->unlogged);
        }
    }
}

bool connection_sending_may_note(const struct connection *c)
{
    const struct access_log *log = c->loop->access_log;
    return log == NULL || access_log_may_note(log, &c->unlogged);
}

/* If this process dies while it sends, its successor learns from the kernel what was sent. */
static void offer_lines(struct connection *c)
{
    struct access_log *log = c->loop->access_log;
    if (log != NULL) {
        access_log_offer(log, durable_index(c->loop->options.durable, c->record), &c->unlogged,
                         c->sent_bytes);
    }
}

/* After each attempt to send: writes the lines of what has been sent by now. Where a successor
 * would make all of the output again, with its lines, they are written when all of it is sent. */
static void log_sent(struct connection *c, bool all)
{
    struct access_log *log = c->loop->access_log;
    if (log == NULL) {
        return;
    }
    if (!all) {
        access_log_defer(log, &c->unlogged);
    }
    if (c->unlogged.len > 0) {
        if (!all && c->record != NULL && access_log_is_kept(log)) {
            access_log_stamp(log, &c->unlogged, c->sent_bytes);
        } else {
            access_log_settle(log, &c->unlogged, c->sent_bytes);
        }
    }
    access_log_sent(log);
}

void connection_sending_log_cut(struct connection *c)
{
    struct access_log *log = c->loop->access_log;
    if (log == NULL) {
        return;
    }
    access_log_defer(log, &c->unlogged);
    if (c->record != NULL &&
        c->unlogged.len > 0) { /* nobody goes on with it, lest he log it, too */
        offer_lines(c);
        durable_end(c->record);
    }
    access_log_cut(log, &c->unlogged, c->sent_bytes);
}

void connection_sending_log_later(struct connection *c)
{
    struct access_log *log = c->loop->access_log;
    if (log != NULL && c->record != NULL && access_log_is_kept(log)) {
        access_log_defer(log, &c->unlogged);
    } else {
        connection_sending_log_cut(c);
    }
}

/* ---- Sending ---- */

static void forget_text(struct connection *c)
{
    if (c->output.counted) {
        CHECK(c->output.body_bytes <= c->loop->text_bytes);
        c->loop->text_bytes -= (size_t)c->output.body_bytes;
        c->output.counted = false;
    }
}

void connection_sending_drop(struct connection *c)
{
    output_clear(&c->output);
    forget_text(c);
}

void connection_sending_extend(struct connection *c, uint64_t sent)
{
    uint64_t now_ms = loop_now_ms(c->loop);
    c->deadline_ms = c->sending ? reader_pace_extend(&c->pace, c->fd, connection_config(c), now_ms,
                                                     sent, c->deadline_ms)
                                : reader_pace_begin(&c->pace, c->fd, connection_config(c), now_ms);
}

/* The requests whose answers are all sent belong to the past. */
static void note_sent(struct connection *c)
{
    bool within = c->phase == PHASE_HEAD || c->phase == PHASE_BODY || c->phase == PHASE_HANDLING;
    size_t done = within ? c->request_start : c->input_used;
    durable_sent(c->record, done, c->sent_bytes, c->phase == PHASE_CLOSING);
    c->request_start = done;
    c->input_done = (uint32_t)done;
    c->digest = DIGEST_EMPTY;
}

/* Answers that one send() will probably take are booked before it: when it returns the client may
 * have the answer already, and this process may be gone before it could write that down. A file is
 * booked when its last byte is sent; and so is what a successor would find sent, and book: behind
 * the record's step, so that nothing is booked twice. */
static enum output_result flush_and_count(struct connection *c)
{
    bool in_one_send = c->record == NULL && output_is_in_memory(&c->output);
    uint32_t counted = in_one_send ? connection_journal_finished(c) : 0;
    uint64_t sent = 0;
    if (c->record != NULL) {
        offer_lines(c);
        durable_sending(c->record, c->put_bytes,
                        &(struct durable_offer){.digest = c->digest,
                                                .date_second = c->date_second,
                                                .closes = c->phase == PHASE_CLOSING});
    }
    enum output_result result = output_flush(&c->output, c->fd, &sent);
    slot_add(&loop_slot(c->loop)->counters.bytes_sent, sent);
    c->sent_bytes += sent;
    CHECK(result != OUTPUT_DONE || c->sent_bytes == c->put_bytes);
    if (result == OUTPUT_DONE && c->record != NULL) {
        note_sent(c);
    }
    if (result == OUTPUT_DONE) {
        connection_journal_took(c, in_one_send ? counted : connection_journal_finished(c));
    } else if (in_one_send) {
        connection_journal_not_finished(c, counted);
    }
    if (result == OUTPUT_BLOCKED) {
        connection_sending_extend(c, sent);
    }
    return result;
}

/* Whoever put a file there while it is served may want to know. */
static void log_cut_short(struct connection *c)
{
    struct loop *loop = c->loop;
    if (!log_budget_allows(&loop->cut_files, loop_now_ms(loop))) {
        return;
    }
    const struct file_entry *file = c->output.file;
    const uint64_t body = c->output.body_bytes;
    char client[CLIENT_TEXT_BYTES];
    client_address_format(&c->client, client);
    errno = c->output.error; /* for %m */
    log_write(LOG_WARN,
              c->output.error == 0
                  ? "cut off %s after %llu of %llu bytes: %.*s has shrunk meanwhile"
                  : "cut off %s after %llu of %llu bytes: cannot read %.*s: %m",
              client, (unsigned long long)(body - (c->put_bytes - c->sent_bytes)),
              (unsigned long long)body, (int)file->path_len, file->path);
}

/* The time in which the client did not read is not taken from what it had for its next request. */
static void restore_deadline(struct connection *c)
{
    CHECK(!c->sending && output_is_empty(&c->output));
    const struct config *config = connection_config(c);
    uint64_t now_ms = loop_now_ms(c->loop);
    if (c->phase == PHASE_WAITING) {
        connection_wait_for_request(c, config->idle_timeout_ms);
    } else if (c->phase == PHASE_HEAD) {
        c->deadline_ms = now_ms + config->header_timeout_ms;
    } else if (c->phase == PHASE_BODY) {
        c->deadline_ms = now_ms + config->body_timeout_ms;
    }
}

bool connection_sending_flush(struct connection *c)
{
    if (output_is_empty(&c->output)) {
        return true;
    }
    switch (flush_and_count(c)) {
    case OUTPUT_CUT_SHORT:
        log_cut_short(c);
        connection_destroy(c);
        return false;
    case OUTPUT_FAILED:
        connection_destroy(c);
        return false;
    case OUTPUT_BLOCKED:
        log_sent(c, false);
        CHECK(!output_is_empty(&c->output));
        if (!c->sending) {
            c->sending = true;
            connection_watch_write(c);
        }
        connection_hold_little(c);
        return false;
    case OUTPUT_DONE:
        log_sent(c, true);
        forget_text(c);
        break;
    }
    if (c->sending) {
        c->sending = false;
        connection_watch_read(c);
        restore_deadline(c);
    }
    if (c->phase == PHASE_CLOSING) {
        finish(c);
        return false;
    }
    return true;
}

void connection_sending_reset_at_end(struct connection *c)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

void connection_sending_cut(struct connection *c)
{
    CHECK(c->sending);                /* there is something that it does not read */
    if (c->phase != PHASE_HANDLING) { /* else it does not end yet, and a successor may go on */
        connection_sending_reset_at_end(c);
    }
    if (log_budget_allows(&c->loop->refusals, loop_now_ms(c->loop))) {
        char client[CLIENT_TEXT_BYTES];
        client_address_format(&c->client, client);
        log_write(LOG_INFO, "cut %s, which reads its response too slowly", client);
    }
    connection_destroy(c);
}
