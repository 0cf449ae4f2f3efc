#include "common/handlers/site/static_range.h"

#include "common/http/range.h"

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

static void answer_several(struct http_response *response, const struct byte_range *ranges,
                           size_t count)
{
    response->parts =
        multipart_create(ranges, count, response->file->size_bytes, response->content_type);
    response->status = 206;
    response->content_type = NULL;
    multipart_append_type(response->parts, &response->headers);
}

void static_range_apply(const struct http_request *request, struct http_response *response)
{
    struct byte_range ranges[STATIC_RANGES_MAX];
    size_t count = 0;
    switch (range_parse(http_request_field(request, HTTP_FIELD_RANGE), response->file->size_bytes,
                        ranges, STATIC_RANGES_MAX, &count)) {
    case RANGE_NONE:
        return;
    case RANGE_UNSATISFIABLE:
        answer_unsatisfiable(response);
        return;
    case RANGE_SATISFIABLE:
        break;
    }
    if (count == 1) {
        answer_single(response, &ranges[0]);
    } else {
        answer_several(response, ranges, count);
    }
}
