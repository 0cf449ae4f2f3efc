#include "common/net/access_log.h"

#include "common/base/check.h"
#include "common/base/client_address.h"
#include "common/base/clock.h"
#include "common/base/escape.h"
#include "common/base/json_writer.h"
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/base/memory.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum {
    BATCH_BYTES = 32768,
    WAITING_BYTES = 8 * BATCH_BYTES, /* of lines that cannot be written now */
    TIME_BYTES = 32,
    CUT_FIELD_BYTES = 1024, /* at first, of a line that is too long for a pipe */
    END_BYTES = 128,        /* more than any end of a line */
    PIPE_LINE_BYTES = PIPE_BUF - END_BYTES,
    TELL_MS = 10000, /* between two lines about losses to a slow reader */
    LAST_PATIENCE_MS = 250,
    LOOK_AGAIN_MS = 10
};

struct access_log {
    int fd;
    enum config_access_log_format format;
    uint32_t process;
    struct buffer batch;
    struct buffer noted;   /* lines that may not be true yet, and have no end */
    size_t write_at_bytes; /* when the batch has grown so long */
    size_t field_bytes;    /* at most, of each field that a client fills */
    int64_t rendered_second;
    char time_text[TIME_BYTES]; /* of the rendered second */
    bool failed;                /* reported once, until the batch has been written */
    uint64_t lost_lines;        /* not told of yet */
    uint64_t told_ms;           /* when that was done the last time */
};

/* Stands before the text of a line that is noted or deferred. The places are offsets into it. */
struct line {
    struct access_log_extent where;
    uint64_t began_us;
    uint32_t slot_index;
    uint32_t bytes; /* of the text */
    uint32_t time_at;
    uint32_t size_at;
    uint32_t size_digits;
};

struct access_log *access_log_create(int fd, enum config_access_log_format format, uint32_t process)
{
    struct access_log *log = memory_alloc_zeroed(1, sizeof(*log));
    log->fd = fd;
    log->format = format;
    log->process = process;
    log->write_at_bytes = BATCH_BYTES;
    log->field_bytes = SIZE_MAX;
    buffer_reserve(&log->batch, BATCH_BYTES);
    return log;
}

void access_log_destroy(struct access_log *log)
{
    access_log_finish(log);
    buffer_free(&log->batch);
    buffer_free(&log->noted);
    free(log);
}

/* ---- Writing ---- */

static bool is_full(const struct access_log *log)
{
    return log->batch.len >= WAITING_BYTES;
}

/* That a reader is slow is no news before it costs a line. */
static void on_failure(struct access_log *log, int error)
{
    if (log->failed || (error == EAGAIN && !is_full(log))) {
        return;
    }
    log->failed = true;
    log_write(LOG_ERROR,
              "access log: cannot be written: %s; %d KiB of lines wait, and those beyond are lost "
              "until this is mended",
              log_file_loss_cause(error), WAITING_BYTES / 1024);
}

static void tell_losses(struct access_log *log)
{
    if (log->lost_lines > 0) {
        log_write(LOG_ERROR, "access log: %llu %s lost", (unsigned long long)log->lost_lines,
                  log->lost_lines == 1 ? "line" : "lines");
        log->lost_lines = 0;
        log->told_ms = clock_monotonic_ms();
    }
}

/* Gives memory back that only waiting lines have needed. */
static void empty_batch(struct access_log *log)
{
    buffer_clear(&log->batch);
    if (log->batch.capacity > 2 * BATCH_BYTES) {
        buffer_free(&log->batch);
        buffer_reserve(&log->batch, BATCH_BYTES);
    }
}

static void on_batch_written(struct access_log *log)
{
    empty_batch(log);
    if (log->failed) {
        log_write(LOG_NOTICE, "access log: is written again");
        log->failed = false;
    }
    tell_losses(log);
}

void access_log_flush(struct access_log *log)
{
    if (log->batch.len == 0) {
        return;
    }
    size_t written = log_file_append(log->fd, log->batch.data, log->batch.len);
    if (written == log->batch.len) {
        on_batch_written(log);
    } else {
        on_failure(log, errno);
        buffer_consume(&log->batch, written);
        if (written > 0 && clock_monotonic_ms() - log->told_ms >= TELL_MS) {
            tell_losses(log); /* it may never catch up entirely */
        }
    }
    log->write_at_bytes = log->batch.len + BATCH_BYTES;
}

static uint64_t count_lines(const struct buffer *batch)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < batch->len; i++) {
        lines += batch->data[i] == '\n';
    }
    return lines;
}

void access_log_finish(struct access_log *log)
{
    const uint64_t until_ms = clock_monotonic_ms() + LAST_PATIENCE_MS;
    struct pollfd room = {.fd = log->fd, .events = POLLOUT};
    access_log_flush(log);
    while (log->batch.len > 0 && errno == EAGAIN && clock_monotonic_ms() < until_ms) {
        poll(&room, 1, LOOK_AGAIN_MS);
        access_log_flush(log);
    }
    log->lost_lines += count_lines(&log->batch);
    empty_batch(log);
    tell_losses(log);
}

/* ---- Rendering ---- */

/* The address without the port. */
static void append_host(struct buffer *out, const struct client_address *client)
{
    char text[CLIENT_TEXT_BYTES];
    client_address_format(client, text);
    const char *port = strrchr(text, ':');
    struct span host = {text, port == NULL ? strlen(text) : (size_t)(port - text)};
    if (host.len > 2 && host.ptr[0] == '[') {
        host = (struct span){host.ptr + 1, host.len - 2};
    }
    buffer_append_span(out, host);
}

static void append_quoted(struct buffer *out, struct span text)
{
    buffer_append_span(out, SPAN("\""));
    escape_text(out, text.len > 0 ? text : SPAN("-"));
    buffer_append_span(out, SPAN("\""));
}

/* What a client has sent, cut where the line would get too long. */
static struct span field(const struct access_log *log, struct span text)
{
    return (struct span){text.ptr, text.len < log->field_bytes ? text.len : log->field_bytes};
}

static struct span request_line(const struct access_log *log, struct http_request *request)
{
    return field(log, http_request_shown_line(request, &request->arena));
}

static struct span header(const struct access_log *log, const struct http_request *request,
                          enum http_field_id id)
{
    return field(log, http_request_field(request, id));
}

static void render_time(struct access_log *log)
{
    uint64_t now_ms = clock_realtime_ms();
    if ((int64_t)(now_ms / 1000) == log->rendered_second) {
        return;
    }
    log->rendered_second = (int64_t)(now_ms / 1000);
    if (log->format == CONFIG_ACCESS_LOG_JSON) {
        clock_format_iso8601(now_ms / 1000 * 1000, log->time_text);
        return;
    }
    time_t second = (time_t)log->rendered_second;
    struct tm utc;
    gmtime_r(&second, &utc);
    strftime(log->time_text, TIME_BYTES, "%d/%b/%Y:%H:%M:%S +0000", &utc);
}

static uint32_t count_digits(uint64_t number)
{
    uint32_t digits = 1;
    for (; number >= 10; number /= 10) {
        digits++;
    }
    return digits;
}

/* In the buffer of what is noted. */
struct places {
    size_t time_at;
    size_t size_end;
};

static void append_combined(struct access_log *log, struct http_exchange *exchange, uint64_t size,
                            struct places *places)
{
    struct http_request *request = &exchange->request;
    struct buffer *out = &log->noted;
    append_host(out, exchange->client);
    buffer_append_span(out, SPAN(" - - ["));
    places->time_at = out->len;
    buffer_append_span(out, span_of(log->time_text));
    buffer_append_span(out, SPAN("] "));
    append_quoted(out, request_line(log, request));
    buffer_append_span(out, SPAN(" "));
    buffer_append_uint(out, exchange->response.status);
    buffer_append_span(out, SPAN(" "));
    buffer_append_uint(out, size);
    places->size_end = out->len;
    buffer_append_span(out, SPAN(" "));
    append_quoted(out, header(log, request, HTTP_FIELD_REFERER));
    buffer_append_span(out, SPAN(" "));
    append_quoted(out, header(log, request, HTTP_FIELD_USER_AGENT));
}

/* Leaves the object open: append_end closes it. */
static void append_json(struct access_log *log, struct http_exchange *exchange, uint64_t size,
                        struct places *places)
{
    struct http_request *request = &exchange->request;
    char client[CLIENT_TEXT_BYTES];
    client_address_format(exchange->client, client);
    struct json_writer json;
    json_init(&json, &log->noted);
    json_object_begin(&json);
    json_put_string(&json, "time", span_of(log->time_text));
    places->time_at = log->noted.len - strlen(log->time_text) - 1; /* the quote */
    json_put_string(&json, "client", span_of(client));
    json_put_string(&json, "request", request_line(log, request));
    json_put_uint(&json, "status", exchange->response.status);
    json_put_uint(&json, "bytes", size);
    places->size_end = log->noted.len;
    json_put_string(&json, "referer", header(log, request, HTTP_FIELD_REFERER));
    json_put_string(&json, "user_agent", header(log, request, HTTP_FIELD_USER_AGENT));
}

static void append_line(struct access_log *log, struct http_exchange *exchange, uint64_t size,
                        struct places *places)
{
    if (log->format == CONFIG_ACCESS_LOG_JSON) {
        append_json(log, exchange, size, places);
    } else {
        append_combined(log, exchange, size, places);
    }
}

/* A pipe takes no more at once, and between two writes others may write. */
static bool takes_long_lines(const struct access_log *log)
{
    struct stat status;
    return fstat(log->fd, &status) == 0 && S_ISREG(status.st_mode);
}

/* Renders the line at start again, with shorter fields. Escaped, each byte can become six. */
static void shorten_line(struct access_log *log, struct http_exchange *exchange, uint64_t size,
                         size_t start, struct places *places)
{
    for (log->field_bytes = CUT_FIELD_BYTES; log->noted.len - start > PIPE_LINE_BYTES;
         log->field_bytes /= 2) {
        log->noted.len = start;
        append_line(log, exchange, size, places);
    }
    log->field_bytes = SIZE_MAX;
}

void access_log_note(struct access_log *log, struct http_exchange *exchange,
                     const struct access_log_extent *where)
{
    const uint64_t size = where->end - where->body;
    const size_t start = log->noted.len;
    const size_t text = start + sizeof(struct line);
    struct places places;
    render_time(log);
    buffer_reserve(&log->noted, sizeof(struct line));
    log->noted.len = text;
    append_line(log, exchange, size, &places);
    if (log->noted.len - text > PIPE_LINE_BYTES && !takes_long_lines(log)) {
        shorten_line(log, exchange, size, text, &places);
    }
    const uint32_t digits = count_digits(size);
    const struct line line = {.where = *where,
                              .began_us = exchange->began_us,
                              .slot_index = exchange->slot_index,
                              .bytes = (uint32_t)(log->noted.len - text),
                              .time_at = (uint32_t)(places.time_at - text),
                              .size_at = (uint32_t)(places.size_end - text) - digits,
                              .size_digits = digits};
    memcpy(log->noted.data + start, &line, sizeof(line));
}

/* The line at an offset, which moves behind it; its text. */
static struct span take_line(const struct buffer *lines, size_t *at, struct line *line)
{
    CHECK(sizeof(*line) <= lines->len - *at);
    memcpy(line, lines->data + *at, sizeof(*line));
    CHECK(line->bytes <= lines->len - *at - sizeof(*line)); /* whole lines, one behind the other */
    struct span text = {lines->data + *at + sizeof(*line), line->bytes};
    *at += sizeof(*line) + line->bytes;
    return text;
}

/* Whether one more line may wait; else it is lost. */
static bool has_room(struct access_log *log)
{
    log->lost_lines += is_full(log);
    return !is_full(log);
}

static void add(struct access_log *log, struct span text)
{
    buffer_append_span(&log->batch, text);
}

static void add_field(struct access_log *log, struct span name, uint64_t value)
{
    add(log, log->format == CONFIG_ACCESS_LOG_JSON ? name : SPAN(" "));
    buffer_append_uint(&log->batch, value);
}

/* What is known when the last byte has gone to the kernel, or none will any more. */
static void add_end(struct access_log *log, const struct line *line, uint64_t now_us, bool aborted)
{
    add_field(log, SPAN(",\"duration_us\":"), now_us - line->began_us);
    add_field(log, SPAN(",\"process\":"), log->process);
    add_field(log, SPAN(",\"slot\":"), line->slot_index);
    if (log->format == CONFIG_ACCESS_LOG_JSON) {
        add(log, aborted ? SPAN(",\"aborted\":true}\n") : SPAN("}\n"));
    } else {
        add(log, aborted ? SPAN(" aborted\n") : SPAN("\n"));
    }
}

static void flush_if_full(struct access_log *log)
{
    if (log->batch.len >= log->write_at_bytes) {
        access_log_flush(log);
    }
}

void access_log_sent(struct access_log *log)
{
    const uint64_t now_us = log->noted.len > 0 ? clock_monotonic_us() : 0;
    for (size_t at = 0; at < log->noted.len;) {
        struct line line;
        struct span text = take_line(&log->noted, &at, &line);
        if (has_room(log)) {
            add(log, text);
            add_end(log, &line, now_us, false);
        }
    }
    buffer_clear(&log->noted);
    flush_if_full(log);
}

void access_log_defer(struct access_log *log, struct buffer *deferred)
{
    buffer_append(deferred, log->noted.data, log->noted.len);
    buffer_clear(&log->noted);
}

/* The line with the time of now and the size that was sent. */
static void add_corrected(struct access_log *log, const struct line *line, struct span text,
                          uint64_t now_us, uint64_t sent_bytes)
{
    if (!has_room(log)) {
        return;
    }
    const struct access_log_extent *where = &line->where;
    uint64_t sent = sent_bytes < where->end ? sent_bytes : where->end;
    const size_t time_end = line->time_at + strlen(log->time_text);
    const size_t size_end = line->size_at + line->size_digits;
    add(log, (struct span){text.ptr, line->time_at});
    add(log, span_of(log->time_text));
    add(log, (struct span){text.ptr + time_end, line->size_at - time_end});
    buffer_append_uint(&log->batch, sent > where->body ? sent - where->body : 0);
    add(log, (struct span){text.ptr + size_end, text.len - size_end});
    add_end(log, line, now_us, sent < where->end);
}

void access_log_settle(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes)
{
    const uint64_t now_us = clock_monotonic_us();
    size_t done = 0;
    render_time(log);
    for (size_t at = 0; at < deferred->len; done = at) {
        struct line line;
        struct span text = take_line(deferred, &at, &line);
        if (line.where.end > sent_bytes) {
            break;
        }
        add_corrected(log, &line, text, now_us, sent_bytes);
    }
    buffer_consume(deferred, done);
    if (deferred->len == 0) {
        buffer_free(deferred);
    }
    flush_if_full(log);
}

void access_log_cut(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes)
{
    if (deferred->len == 0) {
        return;
    }
    const uint64_t now_us = clock_monotonic_us();
    render_time(log);
    for (size_t at = 0; at < deferred->len;) {
        struct line line;
        struct span text = take_line(deferred, &at, &line);
        add_corrected(log, &line, text, now_us, sent_bytes);
    }
    buffer_free(deferred);
    flush_if_full(log);
}
