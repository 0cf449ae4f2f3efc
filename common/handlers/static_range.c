#include "common/handlers/static_range.h"

#include "common/base/clock.h"
#include "common/http/range.h"

#include <stdio.h>
#include <unistd.h>

enum {
    MOST_RANGES = 16,
    MOST_BYTES = 1 << 20, /* of several parts together */
    BOUNDARY_BYTES = 40
};

static void append_content_range(struct buffer *out, const struct byte_range *range,
                                 uint64_t size_bytes)
{
    buffer_printf(out, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)range->first,
                  (unsigned long long)range->last, (unsigned long long)size_bytes);
}

static uint64_t range_bytes(const struct byte_range *range)
{
    return range->last - range->first + 1;
}

static void answer_single(struct http_response *response, const struct byte_range *range)
{
    response->status = 206;
    response->file_offset = range->first;
    response->file_bytes = range_bytes(range);
    append_content_range(&response->headers, range, response->file->size_bytes);
}

static void answer_unsatisfiable(struct http_response *response)
{
    struct file_entry *file = response->file;
    response->file = NULL;
    buffer_clear(&response->headers); /* nothing of the file is sent, in no coding */
    http_response_error(response, 416);
    buffer_printf(&response->headers, "Content-Range: bytes */%llu\r\n",
                  (unsigned long long)file->size_bytes);
    file_entry_release(file);
}

/* False if the file cannot be read that far. */
static bool append_bytes(struct buffer *out, const struct file_entry *file,
                         const struct byte_range *range)
{
    size_t left = (size_t)range_bytes(range);
    off_t offset = (off_t)range->first;
    if (file->content != NULL) {
        buffer_append(out, file->content + range->first, left);
        return true;
    }
    buffer_reserve(out, left);
    while (left > 0) {
        ssize_t n = pread(file->fd, out->data + out->len, left, offset);
        if (n <= 0) {
            return false;
        }
        out->len += (size_t)n;
        left -= (size_t)n;
        offset += n;
    }
    return true;
}

static bool append_part(struct http_response *response, const char *boundary,
                        const struct byte_range *range)
{
    struct buffer *out = &response->text;
    buffer_printf(out, "\r\n--%s\r\nContent-Type: %s\r\n", boundary, response->content_type);
    append_content_range(out, range, response->file->size_bytes);
    buffer_append_span(out, SPAN("\r\n"));
    return append_bytes(out, response->file, range);
}

static void answer_several(struct http_response *response, const struct byte_range *ranges,
                           size_t count)
{
    char boundary[BOUNDARY_BYTES];
    snprintf(boundary, sizeof(boundary), "twinhttpd-%016llx",
             (unsigned long long)clock_monotonic_ns());
    for (size_t i = 0; i < count; i++) {
        if (!append_part(response, boundary, &ranges[i])) {
            buffer_clear(&response->text); /* the file has shrunk: let the whole of it fail */
            return;
        }
    }
    buffer_printf(&response->text, "\r\n--%s--\r\n", boundary);
    response->status = 206;
    response->content_type = NULL;
    buffer_printf(&response->headers, "Content-Type: multipart/byteranges; boundary=%s\r\n",
                  boundary);
}

void static_range_apply(const struct http_request *request, struct http_response *response)
{
    struct byte_range ranges[MOST_RANGES];
    size_t count = 0;
    uint64_t total_bytes = 0;
    switch (range_parse(http_request_field(request, HTTP_FIELD_RANGE), response->file->size_bytes,
                        ranges, MOST_RANGES, &count)) {
    case RANGE_NONE:
        return;
    case RANGE_UNSATISFIABLE:
        answer_unsatisfiable(response);
        return;
    case RANGE_SATISFIABLE:
        break;
    }
    for (size_t i = 0; i < count; i++) {
        total_bytes += range_bytes(&ranges[i]);
    }
    if (count == 1) {
        answer_single(response, &ranges[0]);
    } else if (total_bytes <= MOST_BYTES) {
        answer_several(response, ranges, count);
    }
}
