/* What a connection still has to send: bytes, and behind them possibly a part of a file. */
#ifndef TWINHTTPD_COMMON_NET_OUTPUT_H
#define TWINHTTPD_COMMON_NET_OUTPUT_H

#include "common/base/buffer.h"
#include "common/http/file_cache.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised is empty. */
struct output {
    struct buffer bytes;
    size_t sent; /* of bytes */
    struct file_entry *file;
    uint64_t file_offset;
    uint64_t file_bytes; /* left */
};

enum output_result {
    OUTPUT_DONE,
    OUTPUT_BLOCKED, /* the socket takes no more for now */
    OUTPUT_FAILED   /* the client is gone, or the file is shorter than announced */
};

/* Puts a part of a file behind the bytes; takes over the caller's reference. Nothing may be
 * appended until the output is done. */
void output_set_file(struct output *output, struct file_entry *file, uint64_t offset,
                     uint64_t bytes);

bool output_is_empty(const struct output *output);

/* Whether it should be sent before more is added. */
bool output_is_full(const struct output *output);

/* Sends until all is taken or the socket blocks; *sent grows by what the kernel took. One call
 * sends a bounded part of a large file, so that other connections get their turn. */
enum output_result output_flush(struct output *output, int socket_fd, uint64_t *sent);

/* Drops what is left, except the buffer's memory. */
void output_clear(struct output *output);

#endif
