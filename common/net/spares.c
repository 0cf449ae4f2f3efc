#include "common/net/spares.h"

enum { SLACK_BYTES = 4096 }; /* so much room behind the content is worth a copy of it */

struct buffer spares_take_buffer(struct spares *spares, size_t bytes)
{
    struct buffer buffer = {0};
    if (spares->buffer_count > 0) {
        buffer = spares->buffers[--spares->buffer_count];
    }
    buffer_reserve(&buffer, bytes);
    return buffer;
}

void spares_give_buffer(struct spares *spares, struct buffer *buffer)
{
    if (buffer->capacity == 0) {
        return;
    }
    if (buffer->capacity > SPARE_BUFFER_BYTES || spares->buffer_count == SPARE_BUFFERS) {
        buffer_free(buffer);
        return;
    }
    buffer_clear(buffer);
    spares->buffers[spares->buffer_count++] = *buffer;
    *buffer = (struct buffer){0};
}

void spares_trim_buffer(struct spares *spares, struct buffer *buffer)
{
    if (buffer->len > 0 && buffer->capacity - buffer->len < SLACK_BYTES) {
        return;
    }
    struct buffer trimmed = {0};
    buffer_append(&trimmed, buffer->data, buffer->len);
    spares_give_buffer(spares, buffer);
    *buffer = trimmed;
}

struct http_exchange *spares_take_exchange(struct spares *spares, const struct http_limits *limits)
{
    struct http_exchange *exchange = spares->exchanges;
    if (exchange == NULL) {
        return http_exchange_create(limits);
    }
    spares->exchanges = exchange->next;
    spares->exchange_count--;
    return exchange;
}

void spares_give_exchange(struct spares *spares, struct http_exchange *exchange)
{
    if (spares->exchange_count == SPARE_EXCHANGES) {
        http_exchange_destroy(exchange);
        return;
    }
    http_exchange_reset(exchange);
    if (spares->exchange_count >= SPARE_FULL_EXCHANGES) {
        http_exchange_strip(exchange);
    }
    exchange->next = spares->exchanges;
    spares->exchanges = exchange;
    spares->exchange_count++;
}

void spares_free(struct spares *spares)
{
    while (spares->buffer_count > 0) {
        buffer_free(&spares->buffers[--spares->buffer_count]);
    }
    while (spares->exchanges != NULL) {
        struct http_exchange *exchange = spares->exchanges;
        spares->exchanges = exchange->next;
        http_exchange_destroy(exchange);
    }
    spares->exchange_count = 0;
}
