#include "common/http/response.h"

#include "common/http/status_line.h"

enum { KEPT_TEXT_BYTES = 16384 };

void http_response_reset(struct http_response *response)
{
    struct buffer text = response->text;
    struct buffer headers = response->headers;
    struct arena arena = response->arena;
    arena_reset(&arena);
    buffer_clear(&text);
    buffer_clear(&headers);
    if (text.capacity > KEPT_TEXT_BYTES) {
        buffer_free(&text);
    }
    if (response->file != NULL) {
        file_entry_release(response->file);
    }
    if (response->parts != NULL) {
        multipart_destroy(response->parts);
    }
    if (response->detach != NULL) {
        response->detach(response->detach_data, -1);
    }
    *response =
        (struct http_response){.status = 200, .text = text, .headers = headers, .arena = arena};
}

void http_response_free(struct http_response *response)
{
    http_response_reset(response);
    buffer_free(&response->text);
    buffer_free(&response->headers);
    arena_free(&response->arena);
}

void http_response_text(struct http_response *response, unsigned status, const char *text)
{
    response->status = status;
    response->content_type = "text/plain; charset=utf-8";
    buffer_clear(&response->text);
    buffer_printf(&response->text, "%s\n", text);
}

void http_response_error(struct http_response *response, unsigned status)
{
    http_response_text(response, status, http_status_reason(status));
}

void http_response_add_header(struct http_response *response, const char *name, const char *value)
{
    struct buffer *headers = &response->headers;
    buffer_append_span(headers, span_of(name));
    buffer_append_span(headers, SPAN(": "));
    buffer_append_span(headers, span_of(value));
    buffer_append_span(headers, SPAN("\r\n"));
}

void http_response_detach(struct http_response *response, http_detach_fn fn, void *data)
{
    response->detach = fn;
    response->detach_data = data;
    response->close = true;
}

uint64_t http_response_body_bytes(const struct http_response *response)
{
    if (response->text.len > 0) {
        return response->text.len;
    }
    if (response->parts != NULL) {
        return multipart_bytes(response->parts);
    }
    return response->file != NULL ? response->file_bytes : response->body.len;
}

static bool status_has_content(unsigned status)
{
    return status >= 200 && status != 204 && status != 304;
}

bool http_response_has_body(const struct http_response *response,
                            const struct http_request *request)
{
    return request->method != METHOD_HEAD && status_has_content(response->status);
}

static void append_literal(struct buffer *out, struct span text)
{
    if (text.len > 0) { /* an empty one may have no pointer */
        memcpy(out->data + out->len, text.ptr, text.len);
        out->len += text.len;
    }
}

static void append_decimal(struct buffer *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    append_literal(out, (struct span){digits + at, sizeof(digits) - at});
}

static struct span connection_line(const struct http_response *response,
                                   const struct http_request *request)
{
    if (response->close) {
        return SPAN("Connection: close\r\n");
    }
    /* HTTP/1.1 persists by itself; a 1.0 client must be told (RFC 9112, 9.3). */
    return request->minor_version == 0 ? SPAN("Connection: keep-alive\r\n") : SPAN("");
}

/* A cache may keep what has no other life time, errors too (RFC 9111, 4.2.2), and some do with any
 * error: then others get what one request alone has caused. That there is no such file is as true
 * for everybody as a file is. */
static bool is_for_this_request_alone(const struct http_response *response)
{
    return response->no_store || (response->status >= 400 && response->status != 404);
}

static void append_head(const struct http_response *response, const struct http_request *request,
                        struct span date_line, struct buffer *out)
{
    append_literal(out, http_status_line(response->status));
    append_literal(out, SPAN("Server: twinhttpd\r\n"));
    append_literal(out, date_line);
    if (response->content_type != NULL) {
        append_literal(out, SPAN("Content-Type: "));
        append_literal(out, span_of(response->content_type));
        append_literal(out, SPAN("\r\n"));
    }
    if (status_has_content(response->status) && response->detach == NULL) {
        append_literal(out, SPAN("Content-Length: "));
        append_decimal(out, http_response_body_bytes(response));
        append_literal(out, SPAN("\r\n"));
    }
    if (response->file != NULL) {
        append_literal(out, response->file->headers);
    }
    if (is_for_this_request_alone(response)) {
        append_literal(out, SPAN("Cache-Control: no-store\r\n"));
    }
    append_literal(out, (struct span){response->headers.data, response->headers.len});
    append_literal(out, connection_line(response, request));
    append_literal(out, SPAN("\r\n"));
}

struct span http_response_memory_body(const struct http_response *response)
{
    if (response->text.len > 0) {
        return (struct span){response->text.data, response->text.len};
    }
    if (response->file == NULL) {
        return response->body;
    }
    if (response->file->content == NULL || response->parts != NULL) {
        return (struct span){NULL, 0};
    }
    return (struct span){response->file->content + response->file_offset, response->file_bytes};
}

/* The body if it is to be copied behind the head. */
static struct span short_body(const struct http_response *response)
{
    struct span body = http_response_memory_body(response);
    return body.len <= HTTP_RESPONSE_COPIED_BYTES ? body : (struct span){NULL, 0};
}

bool http_response_render(const struct http_response *response, const struct http_request *request,
                          struct span date_line, struct buffer *out)
{
    enum { FIXED_HEAD_BYTES = 256 }; /* more than the lines that are not counted below */
    bool has_body = http_response_has_body(response, request);
    struct span body = has_body ? short_body(response) : (struct span){NULL, 0};
    size_t type_bytes = response->content_type == NULL ? 0 : strlen(response->content_type);
    size_t file_bytes = response->file == NULL ? 0 : response->file->headers.len;
    buffer_reserve(out, FIXED_HEAD_BYTES + date_line.len + type_bytes + file_bytes +
                            response->headers.len + body.len);
    append_head(response, request, date_line, out);
    if (body.len > 0) {
        buffer_append_span(out, body);
        return false;
    }
    return has_body && http_response_body_bytes(response) > 0;
}
