#include "common/net/access_log.h"

#include "common/base/clock.h"
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
    int64_t rendered_second;
    char time_text[TIME_BYTES]; /* of the rendered second */
    bool failed;                /* reported once until a write succeeds */
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

static void append_escaped(struct buffer *out, struct span text)
{
    if (text.len == 0) {
        buffer_append_span(out, SPAN("-"));
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
            buffer_printf(out, "\\x%02X", c);
        } else {
            buffer_append(out, &text.ptr[i], 1);
        }
    }
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

static uint64_t sent_body_bytes(const struct http_exchange *exchange)
{
    return http_response_has_body(&exchange->response, &exchange->request)
               ? http_response_body_bytes(&exchange->response)
               : 0;
}

static void append_combined(struct access_log *log, const struct http_exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    struct buffer *out = &log->batch;
    append_host(out, exchange->client);
    buffer_printf(out, " - - [%s] \"", log->time_text);
    append_escaped(out, http_request_text(request, request->line));
    buffer_printf(out, "\" %u %llu \"", exchange->response.status,
                  (unsigned long long)sent_body_bytes(exchange));
    append_escaped(out, http_request_field(request, HTTP_FIELD_REFERER));
    buffer_append_span(out, SPAN("\" \""));
    append_escaped(out, http_request_field(request, HTTP_FIELD_USER_AGENT));
    buffer_append_span(out, SPAN("\"\n"));
}

static void append_json(struct access_log *log, const struct http_exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    char client[CLIENT_TEXT_BYTES];
    client_address_format(exchange->client, client);
    struct json_writer json;
    json_init(&json, &log->batch);
    json_object_begin(&json);
    json_put_string(&json, "time", span_of(log->time_text));
    json_put_string(&json, "client", span_of(client));
    json_put_string(&json, "request", http_request_text(request, request->line));
    json_put_uint(&json, "status", exchange->response.status);
    json_put_uint(&json, "bytes", sent_body_bytes(exchange));
    json_put_string(&json, "referer", http_request_field(request, HTTP_FIELD_REFERER));
    json_put_string(&json, "user_agent", http_request_field(request, HTTP_FIELD_USER_AGENT));
    json_object_end(&json);
    buffer_append_span(&log->batch, SPAN("\n"));
}

void access_log_write(struct access_log *log, const struct http_exchange *exchange)
{
    render_time(log);
    if (log->format == CONFIG_ACCESS_LOG_JSON) {
        append_json(log, exchange);
    } else {
        append_combined(log, exchange);
    }
    if (log->batch.len >= BATCH_BYTES) {
        access_log_flush(log);
    }
}
