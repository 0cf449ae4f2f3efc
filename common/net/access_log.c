#include "common/net/access_log.h"

#include "common/base/clock.h"
#include "common/base/escape.h"
#include "common/base/json_writer.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_BYTES = 32768, TIME_BYTES = 32 };

struct access_log {
    int fd;
    enum config_access_log_format format;
    struct buffer batch;
    struct buffer noted; /* lines that may not be true yet */
    int64_t rendered_second;
    char time_text[TIME_BYTES]; /* of the rendered second */
    bool failed;                /* reported once until a write succeeds */
};

/* Stands before the text of a line that is noted or deferred. The places are offsets into it. */
struct line {
    struct access_log_extent where;
    uint32_t bytes; /* of the text */
    uint32_t time_at;
    uint32_t size_at;
    uint32_t size_digits;
};

struct access_log *access_log_create(int fd, enum config_access_log_format format)
{
    struct access_log *log = memory_alloc_zeroed(1, sizeof(*log));
    log->fd = fd;
    log->format = format;
    buffer_reserve(&log->batch, BATCH_BYTES);
    return log;
}

void access_log_destroy(struct access_log *log)
{
    access_log_flush(log);
    buffer_free(&log->batch);
    buffer_free(&log->noted);
    free(log);
}

void access_log_flush(struct access_log *log)
{
    size_t written = 0;
    while (written < log->batch.len) {
        ssize_t n = write(log->fd, log->batch.data + written, log->batch.len - written);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) { /* the lines are lost: serving goes on */
            if (!log->failed) {
                log_write(LOG_ERROR, "access log: %m; lines are lost until this is mended");
            }
            log->failed = true;
            break;
        }
        log->failed = false;
        written += (size_t)n;
    }
    buffer_clear(&log->batch);
}

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

/* Both write one line, and where in the buffer its time and the end of its size are. */
static void append_combined(struct access_log *log, struct http_exchange *exchange, uint64_t size,
                            size_t *time_at, size_t *size_end)
{
    struct http_request *request = &exchange->request;
    struct buffer *out = &log->noted;
    append_host(out, exchange->client);
    buffer_append_span(out, SPAN(" - - ["));
    *time_at = out->len;
    buffer_printf(out, "%s] ", log->time_text);
    append_quoted(out, http_request_shown_line(request, &request->arena));
    buffer_printf(out, " %u %llu", exchange->response.status, (unsigned long long)size);
    *size_end = out->len;
    buffer_append_span(out, SPAN(" "));
    append_quoted(out, http_request_field(request, HTTP_FIELD_REFERER));
    buffer_append_span(out, SPAN(" "));
    append_quoted(out, http_request_field(request, HTTP_FIELD_USER_AGENT));
    buffer_append_span(out, SPAN("\n"));
}

static void append_json(struct access_log *log, struct http_exchange *exchange, uint64_t size,
                        size_t *time_at, size_t *size_end)
{
    struct http_request *request = &exchange->request;
    char client[CLIENT_TEXT_BYTES];
    client_address_format(exchange->client, client);
    struct json_writer json;
    json_init(&json, &log->noted);
    json_object_begin(&json);
    json_put_string(&json, "time", span_of(log->time_text));
    *time_at = log->noted.len - strlen(log->time_text) - 1; /* the quote */
    json_put_string(&json, "client", span_of(client));
    json_put_string(&json, "request", http_request_shown_line(request, &request->arena));
    json_put_uint(&json, "status", exchange->response.status);
    json_put_uint(&json, "bytes", size);
    *size_end = log->noted.len;
    json_put_string(&json, "referer", http_request_field(request, HTTP_FIELD_REFERER));
    json_put_string(&json, "user_agent", http_request_field(request, HTTP_FIELD_USER_AGENT));
    json_object_end(&json);
    buffer_append_span(&log->noted, SPAN("\n"));
}

void access_log_note(struct access_log *log, struct http_exchange *exchange,
                     const struct access_log_extent *where)
{
    const uint64_t size = where->end - where->body;
    const size_t start = log->noted.len;
    const size_t text = start + sizeof(struct line);
    size_t time_at, size_end;
    render_time(log);
    buffer_reserve(&log->noted, sizeof(struct line));
    log->noted.len = text;
    if (log->format == CONFIG_ACCESS_LOG_JSON) {
        append_json(log, exchange, size, &time_at, &size_end);
    } else {
        append_combined(log, exchange, size, &time_at, &size_end);
    }
    const uint32_t digits = count_digits(size);
    const struct line line = {.where = *where,
                              .bytes = (uint32_t)(log->noted.len - text),
                              .time_at = (uint32_t)(time_at - text),
                              .size_at = (uint32_t)(size_end - text) - digits,
                              .size_digits = digits};
    memcpy(log->noted.data + start, &line, sizeof(line));
}

/* The line at an offset, which moves behind it; its text. */
static struct span take_line(const struct buffer *lines, size_t *at, struct line *line)
{
    memcpy(line, lines->data + *at, sizeof(*line));
    struct span text = {lines->data + *at + sizeof(*line), line->bytes};
    *at += sizeof(*line) + line->bytes;
    return text;
}

static void add(struct access_log *log, struct span text)
{
    buffer_append_span(&log->batch, text);
}

static void flush_if_full(struct access_log *log)
{
    if (log->batch.len >= BATCH_BYTES) {
        access_log_flush(log);
    }
}

void access_log_sent(struct access_log *log)
{
    for (size_t at = 0; at < log->noted.len;) {
        struct line line;
        add(log, take_line(&log->noted, &at, &line));
    }
    buffer_clear(&log->noted);
    flush_if_full(log);
}

void access_log_defer(struct access_log *log, struct buffer *deferred)
{
    buffer_append(deferred, log->noted.data, log->noted.len);
    buffer_clear(&log->noted);
}

/* How a line ends, and how if its response was not sent to the end. */
static struct span end_of_line(const struct access_log *log, bool aborted)
{
    if (log->format == CONFIG_ACCESS_LOG_JSON) {
        return aborted ? SPAN(",\"aborted\":true}\n") : SPAN("}\n");
    }
    return aborted ? SPAN(" aborted\n") : SPAN("\n");
}

/* The line with the time of now and the size that was sent. */
static void add_corrected(struct access_log *log, const struct line *line, struct span text,
                          uint64_t sent_bytes)
{
    const struct access_log_extent *where = &line->where;
    uint64_t sent = sent_bytes < where->end ? sent_bytes : where->end;
    const size_t time_end = line->time_at + strlen(log->time_text);
    const size_t size_end = line->size_at + line->size_digits;
    const size_t end = text.len - end_of_line(log, false).len;
    add(log, (struct span){text.ptr, line->time_at});
    add(log, span_of(log->time_text));
    add(log, (struct span){text.ptr + time_end, line->size_at - time_end});
    buffer_printf(&log->batch, "%llu",
                  (unsigned long long)(sent > where->body ? sent - where->body : 0));
    add(log, (struct span){text.ptr + size_end, end - size_end});
    add(log, end_of_line(log, sent < where->end));
}

void access_log_settle(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes)
{
    size_t done = 0;
    render_time(log);
    for (size_t at = 0; at < deferred->len; done = at) {
        struct line line;
        struct span text = take_line(deferred, &at, &line);
        if (line.where.end > sent_bytes) {
            break;
        }
        add_corrected(log, &line, text, sent_bytes);
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
    render_time(log);
    for (size_t at = 0; at < deferred->len;) {
        struct line line;
        struct span text = take_line(deferred, &at, &line);
        add_corrected(log, &line, text, sent_bytes);
    }
    buffer_free(deferred);
    flush_if_full(log);
}
