#include "common/http/request.h"

enum { KEPT_BODY_BYTES = 65536 }; /* a larger buffer is given back after its request */

/* The field's value if that is its line; ptr NULL: it is another's. */
static struct span value_in(struct span line, struct span name)
{
    const bool is_its = line.len > name.len && line.ptr[name.len] == ':' &&
                        span_equal_nocase((struct span){line.ptr, name.len}, name);
    return is_its ? span_trim((struct span){line.ptr + name.len + 1, line.len - name.len - 1})
                  : (struct span){NULL, 0};
}

struct span http_request_field_named(const struct http_request *request, struct span name)
{
    const char *end = request->head + request->head_bytes;
    const char *line = request->head + request->line.offset + request->line.len + 2; /* CRLF */
    while (line < end) {
        const char *next = memchr(line, '\r', (size_t)(end - line));
        struct span value = next == NULL
                                ? (struct span){NULL, 0}
                                : value_in((struct span){line, (size_t)(next - line)}, name);
        if (next == NULL || value.ptr != NULL) {
            return value;
        }
        line = next + 2;
    }
    return (struct span){NULL, 0};
}

void http_request_reset(struct http_request *request)
{
    struct arena arena = request->arena;
    struct buffer body = request->body;
    arena_reset(&arena);
    buffer_clear(&body);
    if (body.capacity > KEPT_BODY_BYTES) {
        buffer_free(&body);
    }
    *request = (struct http_request){.arena = arena, .body = body};
}

void http_request_free(struct http_request *request)
{
    arena_free(&request->arena);
    buffer_free(&request->body);
}

static bool is_8_bit(char byte)
{
    return (unsigned char)byte >= 0x80;
}

/* Every such byte lies in the target: the rest of the line has been checked. */
struct span http_request_shown_line(const struct http_request *request, struct arena *arena)
{
    static const char HEX[] = "0123456789ABCDEF";
    struct span line = http_request_text(request, request->line);
    if (!request->target_has_8_bit) {
        return line;
    }
    char *shown = arena_alloc(arena, line.len * 3);
    size_t len = 0;
    for (size_t i = 0; i < line.len; i++) {
        unsigned byte = (unsigned char)line.ptr[i];
        if (is_8_bit(line.ptr[i])) {
            shown[len++] = '%';
            shown[len++] = HEX[byte >> 4];
            shown[len++] = HEX[byte & 15];
        } else {
            shown[len++] = line.ptr[i];
        }
    }
    return (struct span){shown, len};
}

const char *http_method_name(enum http_method method)
{
    static const char *const names[] = {
        [METHOD_GET] = "GET",     [METHOD_HEAD] = "HEAD",     [METHOD_POST] = "POST",
        [METHOD_PUT] = "PUT",     [METHOD_DELETE] = "DELETE", [METHOD_OPTIONS] = "OPTIONS",
        [METHOD_PATCH] = "PATCH", [METHOD_TRACE] = "TRACE",   [METHOD_CONNECT] = "CONNECT",
        [METHOD_UNKNOWN] = "?",
    };
    return names[method];
}
