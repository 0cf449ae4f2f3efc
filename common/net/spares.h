/* Memory that one event loop lends to its connections while they are busy: a connection at rest
 * holds none, and a busy loop allocates nothing. */
#ifndef TWINHTTPD_COMMON_NET_SPARES_H
#define TWINHTTPD_COMMON_NET_SPARES_H

#include "common/base/buffer.h"
#include "common/http/exchange.h"

enum {
    SPARE_BUFFERS = 64,
    SPARE_BUFFER_BYTES = 65536,
    SPARE_EXCHANGES = 1024,
    SPARE_FULL_EXCHANGES = 64 /* of these, those that keep the memory that they have gathered */
};

/* What has been given back, up to the numbers above. Zero-initialised is empty. */
struct spares {
    struct buffer buffers[SPARE_BUFFERS];
    size_t buffer_count;
    struct http_exchange *exchanges;
    size_t exchange_count;
};

/* An empty buffer with room for at least bytes. Given back by spares_give_buffer, which leaves the
 * caller an empty one without memory; one without memory may be given, too. */
struct buffer spares_take_buffer(struct spares *spares, size_t bytes);
void spares_give_buffer(struct spares *spares, struct buffer *buffer);

/* For a buffer that its connection keeps while it waits: if much of it is empty its content moves
 * into memory of its own size; if all of it is, it is given back. */
void spares_trim_buffer(struct spares *spares, struct buffer *buffer);

/* An exchange that is ready for a request; limits matter for one that has to be made. */
struct http_exchange *spares_take_exchange(struct spares *spares, const struct http_limits *limits);
void spares_give_exchange(struct spares *spares, struct http_exchange *exchange);

/* Gives all memory back. */
void spares_free(struct spares *spares);

#endif
