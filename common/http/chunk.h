/* The line that begins a chunk: chunk-size [ chunk-ext ] CRLF (RFC 9112, 7.1). It is read here and
 * not by the parser library, whose versions differ in the extensions they take. */
#ifndef TWINHTTPD_COMMON_HTTP_CHUNK_H
#define TWINHTTPD_COMMON_HTTP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How far the line has been read. Zero-initialised for a new one. */
struct http_chunk_line {
    int state;
    bool has_digits;
    uint64_t size;  /* of the chunk's data, in bytes; final with HTTP_CHUNK_DONE */
    uint64_t bytes; /* of the line, so far */
};

enum http_chunk_result { HTTP_CHUNK_MORE, HTTP_CHUNK_DONE, HTTP_CHUNK_REFUSED };

/* Reads on. *used tells how many of the bytes belong to the line: all of them with MORE. */
enum http_chunk_result http_chunk_line_scan(struct http_chunk_line *line, const char *data,
                                            size_t bytes, size_t *used);

#endif
