/* Compression on the fly (RFC 1952, by zlib), for clients that accept it and what is worth it. Off
 * unless the settings say otherwise: it costs time on the loop, and a response that mixes secrets
 * with a client's own text tells about them by its length. */
#ifndef TWINHTTPD_COMMON_HTTP_GZIP_H
#define TWINHTTPD_COMMON_HTTP_GZIP_H

#include "common/base/buffer.h"
#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether a body of this type (NULL: none) and size is worth the effort, and short enough not to
 * hold up the loop for long. */
bool gzip_suits(const char *content_type, uint64_t bytes);

/* Appends the compressed text to out. False, and out as it was: it would not have become smaller.
 */
bool gzip_compress(struct span text, struct buffer *out);

#endif
