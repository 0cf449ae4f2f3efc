#include "common/net/access_log.h"

#include "common/base/check.h"
#include "common/base/client_address.h"
#include "common/base/clock.h"
#include "common/base/escape.h"
#include "common/base/json_writer.h"
#include "common/net/access_log_internal.h"

#include <limits.h>
#include <sys/stat.h>
#include <time.h>

enum {
    CUT_FIELDS = 4, /* a line that is too long has fields of so manieth a part of what is allowed */
    END_BYTES = 128, /* more than any end of a line */
    PIPE_LINE_BYTES = PIPE_BUF - END_BYTES
};
_Static_assert(ACCESS_LOG_WAITING_BYTES + ACCESS_LOG_LINE_BYTES + 2 * END_BYTES <
                   DURABLE_BATCH_BYTES,
               "a line more than may wait");

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
    strftime(log->time_text, ACCESS_LOG_TIME_BYTES, "%d/%b/%Y:%H:%M:%S +0000", &utc);
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

/* How long a line may be. A pipe takes no more at once, and between two writes others may write. */
static size_t longest_line(const struct access_log *log)
{
    struct stat status;
    if (fstat(log->fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return PIPE_LINE_BYTES;
    }
    return log->kept != NULL ? ACCESS_LOG_LINE_BYTES : SIZE_MAX;
}

/* Renders the line at start again, with shorter fields. Escaped, each byte can become six. */
static void shorten_line(struct access_log *log, struct http_exchange *exchange, uint64_t size,
                         size_t start, struct places *places)
{
    const size_t longest = longest_line(log);
    for (log->field_bytes = (longest + END_BYTES) / CUT_FIELDS; log->noted.len - start > longest;
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
    const size_t text = start + sizeof(struct access_log_line);
    struct places places;
    render_time(log);
    buffer_reserve(&log->noted, sizeof(struct access_log_line));
    log->noted.len = text;
    append_line(log, exchange, size, &places);
    if (log->noted.len - text > PIPE_LINE_BYTES) {
        shorten_line(log, exchange, size, text, &places);
    }
    const uint32_t digits = count_digits(size);
    const struct access_log_line line = {.where = *where,
                                         .began_us = exchange->began_us,
                                         .slot_index = exchange->slot_index,
                                         .format = log->format,
                                         .bytes = (uint32_t)(log->noted.len - text),
                                         .time_at = (uint32_t)(places.time_at - text),
                                         .size_at = (uint32_t)(places.size_end - text) - digits,
                                         .size_digits = digits};
    memcpy(log->noted.data + start, &line, sizeof(line));
}

/* The line at an offset, which moves behind it; its text. */
static struct span take_line(const struct buffer *lines, size_t *at, struct access_log_line *line)
{
    CHECK(sizeof(*line) <= lines->len - *at);
    memcpy(line, lines->data + *at, sizeof(*line));
    CHECK(line->bytes <= lines->len - *at - sizeof(*line)); /* whole lines, one behind the other */
    struct span text = {lines->data + *at + sizeof(*line), line->bytes};
    *at += sizeof(*line) + line->bytes;
    return text;
}

static void add(struct access_log *log, struct span text)
{
    buffer_append_span(&log->batch, text);
}

/* Room for a line with such a text, or the line is lost. */
static bool make_room(struct access_log *log, struct span text)
{
    bool has_room = access_log_has_room(log);
    if (has_room && log->kept != NULL) { /* nothing else makes it: that buffer does not grow */
        durable_lines_make_room(log->kept, &log->batch, text.len + 2 * (size_t)END_BYTES);
    }
    return has_room;
}

static void add_field(struct access_log *log, bool json, struct span name, uint64_t value)
{
    add(log, json ? name : SPAN(" "));
    buffer_append_uint(&log->batch, value);
}

/* What is known when the last byte has gone to the kernel, or none will any more. */
static void add_end(struct access_log *log, const struct access_log_line *line, uint64_t ended_us,
                    bool aborted)
{
    bool json = line->format == CONFIG_ACCESS_LOG_JSON;
    add_field(log, json, SPAN(",\"duration_us\":"), ended_us - line->began_us);
    add_field(log, json, SPAN(",\"process\":"), log->process);
    add_field(log, json, SPAN(",\"slot\":"), line->slot_index);
    if (json) {
        add(log, aborted ? SPAN(",\"aborted\":true}\n") : SPAN("}\n"));
    } else {
        add(log, aborted ? SPAN(" aborted\n") : SPAN("\n"));
    }
}

static void add_lines_before(struct access_log *log, const struct buffer *lines, uint64_t begin)
{
    const uint64_t now_us = lines->len > 0 ? clock_monotonic_us() : 0;
    for (size_t at = 0; at < lines->len;) {
        struct access_log_line line;
        struct span text = take_line(lines, &at, &line);
        if (line.where.begin < begin && make_room(log, text)) {
            add(log, text);
            add_end(log, &line, line.ended_us > 0 ? line.ended_us : now_us, false);
        }
    }
}

void access_log_sent(struct access_log *log)
{
    if (log->noted.len > 0) {
        add_lines_before(log, &log->noted, UINT64_MAX);
        buffer_clear(&log->noted);
        access_log_added(log);
    }
}

void access_log_defer(struct access_log *log, struct buffer *deferred)
{
    if (log->kept != NULL && log->noted.len + deferred->len > 0) { /* else it is another's */
        durable_lines_withdraw(log->kept);
    }
    buffer_append(deferred, log->noted.data, log->noted.len);
    buffer_clear(&log->noted);
}

/* Bytes of the time in a line; 0: it is of another form than this log's. */
static size_t time_bytes(const struct access_log *log, const struct access_log_line *line)
{
    return line->format == (uint32_t)log->format ? strlen(log->time_text) : 0;
}

/* The line with the time of now and the size that was sent. */
static void add_corrected(struct access_log *log, const struct access_log_line *line,
                          struct span text, uint64_t now_us, uint64_t sent_bytes)
{
    if (!make_room(log, text)) {
        return;
    }
    if (line->ended_us > 0) { /* it was corrected before */
        add(log, text);
        add_end(log, line, line->ended_us, false);
        return;
    }
    const struct access_log_extent *where = &line->where;
    uint64_t sent = sent_bytes < where->end ? sent_bytes : where->end;
    const size_t time_end = line->time_at + time_bytes(log, line);
    const size_t size_end = line->size_at + line->size_digits;
    add(log, (struct span){text.ptr, line->time_at});
    add(log, (struct span){log->time_text, time_bytes(log, line)});
    add(log, (struct span){text.ptr + time_end, line->size_at - time_end});
    buffer_append_uint(&log->batch, sent > where->body ? sent - where->body : 0);
    add(log, (struct span){text.ptr + size_end, text.len - size_end});
    add_end(log, line, now_us, sent < where->end);
}

void access_log_stamp(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes)
{
    const uint64_t now_us = clock_monotonic_us();
    render_time(log);
    for (size_t at = 0; at < deferred->len;) {
        struct access_log_line line;
        char *start = deferred->data + at;
        take_line(deferred, &at, &line);
        if (line.where.end > sent_bytes) {
            break;
        }
        if (line.ended_us == 0) {
            line.ended_us = now_us;
            memcpy(start, &line, sizeof(line));
            memcpy(start + sizeof(line) + line.time_at, log->time_text, time_bytes(log, &line));
        }
    }
}

void access_log_settle(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes)
{
    const uint64_t now_us = clock_monotonic_us();
    size_t done = 0;
    render_time(log);
    for (size_t at = 0; at < deferred->len; done = at) {
        struct access_log_line line;
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
    access_log_added(log);
}

void access_log_cut(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes)
{
    if (deferred->len == 0) {
        return;
    }
    const uint64_t now_us = clock_monotonic_us();
    render_time(log);
    for (size_t at = 0; at < deferred->len;) {
        struct access_log_line line;
        struct span text = take_line(deferred, &at, &line);
        add_corrected(log, &line, text, now_us, sent_bytes);
    }
    buffer_free(deferred);
    access_log_added(log);
}

/* ---- Lines of a predecessor ---- */

static bool is_line(const struct access_log *log, const struct access_log_line *line, size_t left)
{
    return line->bytes <= left && line->bytes <= ACCESS_LOG_LINE_BYTES &&
           line->time_at <= line->bytes && line->size_at <= line->bytes &&
           line->time_at + time_bytes(log, line) <= line->size_at &&
           line->size_digits <= line->bytes - line->size_at;
}

bool access_log_are_lines(struct access_log *log, const struct buffer *lines)
{
    render_time(log);
    for (size_t at = 0; at < lines->len;) {
        struct access_log_line line;
        if (sizeof(line) > lines->len - at) {
            return false;
        }
        memcpy(&line, lines->data + at, sizeof(line));
        at += sizeof(line);
        if (!is_line(log, &line, lines->len - at)) {
            return false;
        }
        at += line.bytes;
    }
    return true;
}

void access_log_add_before(struct access_log *log, const struct buffer *lines, uint64_t begin)
{
    add_lines_before(log, lines, begin);
    access_log_added(log);
}
