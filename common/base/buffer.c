#include "common/base/buffer.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFER_FIRST_BYTES = 512 };

void buffer_reserve(struct buffer *buffer, size_t extra_bytes)
{
    size_t needed = buffer->len + extra_bytes;
    if (needed <= buffer->capacity) {
        return;
    }
    size_t capacity = buffer->capacity == 0 ? BUFFER_FIRST_BYTES : buffer->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    buffer->data = memory_resize(buffer->data, capacity);
    buffer->capacity = capacity;
}

void buffer_append(struct buffer *buffer, const void *data, size_t bytes)
{
    if (bytes == 0) {
        return;
    }
    buffer_reserve(buffer, bytes);
    memcpy(buffer->data + buffer->len, data, bytes);
    buffer->len += bytes;
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(bytes >= 0);
    buffer_reserve(buffer, (size_t)bytes + 1);
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->len, (size_t)bytes + 1, format, arguments);
    va_end(arguments);
    buffer->len += (size_t)bytes;
}

void buffer_append_uint(struct buffer *buffer, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    buffer_append(buffer, digits + at, sizeof(digits) - at);
}

void buffer_consume(struct buffer *buffer, size_t bytes)
{
    CHECK(bytes <= buffer->len);
    buffer->len -= bytes;
    if (buffer->len > 0) {
        memmove(buffer->data, buffer->data + bytes, buffer->len);
    }
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
