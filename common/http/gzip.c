#include "common/http/gzip.h"

#include <zlib.h>

enum {
    LEAST_BYTES = 256,     /* below, header and trailer eat what is gained */
    MOST_BYTES = 1 << 20,  /* some 20 ms; larger ones are better stored compressed */
    LEVEL = 5,             /* most of what is to be had, at half the time of level 6 */
    GZIP_WINDOW = 15 + 16, /* the largest window, and gzip's header instead of zlib's */
    MEMORY_LEVEL = 8       /* zlib's default */
};

static bool has_suffix(struct span text, struct span suffix)
{
    return text.len >= suffix.len &&
           span_equal_nocase((struct span){text.ptr + text.len - suffix.len, suffix.len}, suffix);
}

static bool has_prefix(struct span text, struct span prefix)
{
    return text.len >= prefix.len && span_equal_nocase((struct span){text.ptr, prefix.len}, prefix);
}

static bool is_compressible(struct span type)
{
    const char *parameter = memchr(type.ptr, ';', type.len);
    if (parameter != NULL) {
        type.len = (size_t)(parameter - type.ptr);
    }
    return has_prefix(type, SPAN("text/")) || has_suffix(type, SPAN("json")) ||
           has_suffix(type, SPAN("xml")) || has_suffix(type, SPAN("javascript")) ||
           span_equal_nocase(type, SPAN("application/wasm"));
}

bool gzip_suits(const char *content_type, uint64_t bytes)
{
    return content_type != NULL && bytes >= LEAST_BYTES && bytes <= MOST_BYTES &&
           is_compressible(span_of(content_type));
}

bool gzip_compress(struct span text, struct buffer *out)
{
    z_stream stream = {0};
    int status =
        deflateInit2(&stream, LEVEL, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY);
    if (status != Z_OK) { /* no memory: the text goes out as it is */
        return false;
    }
    buffer_reserve(out, text.len);
    stream.next_in = (Bytef *)(uintptr_t)text.ptr; /* zlib does not write there */
    stream.avail_in = (uInt)text.len;
    stream.next_out = (Bytef *)out->data + out->len;
    stream.avail_out = (uInt)text.len; /* no more: what does not become smaller is dropped */
    status = deflate(&stream, Z_FINISH);
    if (status == Z_STREAM_END) {
        out->len += stream.total_out;
    }
    deflateEnd(&stream);
    return status == Z_STREAM_END;
}
