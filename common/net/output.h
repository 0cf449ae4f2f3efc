/* What a connection still has to send: bytes, behind them one piece of a body that is not copied,
 * and behind that possibly more pieces of the same file. A piece lies in a file, in what the file
 * cache holds of one, or in a text that a handler wrote. However long a body is, an output holds a
 * few kilobytes for it: only a text is its own. */
#ifndef TWINHTTPD_COMMON_NET_OUTPUT_H
#define TWINHTTPD_COMMON_NET_OUTPUT_H

#include "common/base/buffer.h"
#include "common/http/file_cache.h"
#include "common/http/multipart.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised is empty. */
struct output {
    struct buffer bytes;     /* heads, short bodies, the lines between parts */
    size_t sent;             /* of bytes */
    struct file_entry *file; /* where the piece lies; a reference */
    char *text;              /* or else here; owned */
    uint64_t offset;         /* where what is left of the piece begins */
    uint64_t left;           /* of the piece; 0: none */
    struct multipart *parts; /* tells the further pieces of the file; NULL: there are none */
    uint64_t body_bytes;     /* of the body that the piece belongs to, all together */
    int error;               /* after OUTPUT_CUT_SHORT: why the file cannot be read, 0: it shrank */
    bool counted;            /* its owner counts the text, and takes this back */
};

enum output_result {
    OUTPUT_DONE,
    OUTPUT_BLOCKED,   /* the socket takes no more for now */
    OUTPUT_CUT_SHORT, /* the file ends before what was announced, or cannot be read */
    OUTPUT_FAILED     /* the client is gone */
};

/* Each puts a body that is not empty behind the bytes, after which nothing may be appended until
 * the output is done. */

/* A part of a file. Takes over the caller's reference. */
void output_set_file(struct output *output, struct file_entry *file, uint64_t offset,
                     uint64_t bytes);

/* Several parts of a file. Takes over the reference and parts, none of which has been rendered. */
void output_set_parts(struct output *output, struct file_entry *file, struct multipart *parts);

/* A text. Takes over its memory and leaves an empty buffer. */
void output_set_text(struct output *output, struct buffer *text);

bool output_is_empty(const struct output *output);

/* Whether one call will probably take all of it: nothing has to be read from a file. */
bool output_is_in_memory(const struct output *output);

/* Whether it should be sent before more is added. */
bool output_is_full(const struct output *output);

/* Sends until all is taken or the socket blocks; *sent grows by what the kernel took. One call
 * sends a bounded part of a large body, so that other connections get their turn. Whatever did not
 * succeed can be tried again. */
enum output_result output_flush(struct output *output, int socket_fd, uint64_t *sent);

/* As if so many bytes had been sent. False: there are fewer. */
bool output_skip(struct output *output, uint64_t bytes);

/* Drops of the bytes those that have been sent, so that the buffer holds nothing but the rest. */
void output_drop_sent(struct output *output);

/* Drops what is left, except the buffer's memory. */
void output_clear(struct output *output);

#endif
