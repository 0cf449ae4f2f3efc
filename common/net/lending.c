#include "common/net/lending.h"

enum { SLACK_BYTES = 4096 }; /* so much room behind the content is worth a copy of it */

struct buffer lending_take_buffer(struct lending *lending, size_t bytes)
{
    struct buffer buffer = {0};
    if (lending->buffer_count > 0) {
        buffer = lending->buffers[--lending->buffer_count];
    }
    buffer_reserve(&buffer, bytes);
    return buffer;
}

void lending_give_buffer(struct lending *lending, struct buffer *buffer)
{
    if (buffer->capacity == 0) {
        return;
    }
    if (buffer->capacity > LENDING_BUFFER_BYTES || lending->buffer_count == LENDING_BUFFERS) {
        buffer_free(buffer);
        return;
    }
    buffer_clear(buffer);
    lending->buffers[lending->buffer_count++] = *buffer;
    *buffer = (struct buffer){0};
}

void lending_trim_buffer(struct lending *lending, struct buffer *buffer)
{
    if (buffer->len > 0 && buffer->capacity - buffer->len < SLACK_BYTES) {
        return;
    }
    struct buffer trimmed = {0};
    buffer_append(&trimmed, buffer->data, buffer->len);
    lending_give_buffer(lending, buffer);
    *buffer = trimmed;
}

void lending_free(struct lending *lending)
{
    while (lending->buffer_count > 0) {
        buffer_free(&lending->buffers[--lending->buffer_count]);
    }
}
