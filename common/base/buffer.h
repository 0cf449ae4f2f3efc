/* A growable run of bytes: what a socket reads into and writes from. */
#ifndef TWINHTTPD_COMMON_BASE_BUFFER_H
#define TWINHTTPD_COMMON_BASE_BUFFER_H

#include "common/base/span.h"

#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is empty. The bytes data[0..len) are valid; [len..capacity) is room.
 * Whoever holds the struct owns the memory and gives it back with buffer_free. */
struct buffer {
    char *data;
    size_t len;
    size_t capacity;
};

/* Makes room for at least extra_bytes behind the content. Pointers into the data become invalid. */
void buffer_reserve(struct buffer *buffer, size_t extra_bytes);

/* Appends a copy. */
void buffer_append(struct buffer *buffer, const void *data, size_t bytes);

/* Appends formatted text, without the NUL. */
void buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends a number in decimal. */
void buffer_append_uint(struct buffer *buffer, uint64_t number);

/* Drops the first bytes; what follows moves to the front. */
void buffer_consume(struct buffer *buffer, size_t bytes);

/* Gives the memory back and leaves an empty buffer. */
void buffer_free(struct buffer *buffer);

static inline void buffer_append_span(struct buffer *buffer, struct span span)
{
    buffer_append(buffer, span.ptr, span.len);
}

/* Empties the buffer and keeps its memory for the next use. */
static inline void buffer_clear(struct buffer *buffer)
{
    buffer->len = 0;
}

#endif
