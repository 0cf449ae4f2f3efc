/* Memory that one event loop lends to its connections while they are busy: a connection at rest
 * holds none, and a busy loop allocates nothing. */
#ifndef TWINHTTPD_COMMON_NET_LENDING_H
#define TWINHTTPD_COMMON_NET_LENDING_H

#include "common/base/buffer.h"

#include <stddef.h>

enum { LENDING_BUFFERS = 64, LENDING_BUFFER_BYTES = 65536 };

/* What has been given back, up to that number. Zero-initialised is empty. */
struct lending {
    struct buffer buffers[LENDING_BUFFERS];
    size_t buffer_count;
};

/* An empty buffer with room for at least bytes. Given back by lending_give_buffer, which leaves the
 * caller an empty one without memory; one without memory may be given, too. */
struct buffer lending_take_buffer(struct lending *lending, size_t bytes);
void lending_give_buffer(struct lending *lending, struct buffer *buffer);

/* For a buffer that its connection keeps while it waits: if much of it is empty its content moves
 * into memory of its own size; if all of it is, it is given back. */
void lending_trim_buffer(struct lending *lending, struct buffer *buffer);

/* Gives all memory back. */
void lending_free(struct lending *lending);

#endif
