/* The body of an answer with several parts of one file (multipart/byteranges, RFC 9110, 14.6). What
 * is kept of it are the ranges: the lines between two parts are rendered when it is their turn, so
 * that an answer holds no more memory than the request that asked for it. */
#ifndef TWINHTTPD_COMMON_HTTP_MULTIPART_H
#define TWINHTTPD_COMMON_HTTP_MULTIPART_H

#include "common/base/buffer.h"
#include "common/http/range.h"

#include <stdbool.h>

struct multipart;

/* Parts of a file of size_bytes, in this order; the ranges are copied. content_type is that of the
 * file (NULL: none) and must outlive the result, which the caller gives back with
 * multipart_destroy. */
struct multipart *multipart_create(const struct byte_range *ranges, size_t count,
                                   uint64_t size_bytes, const char *content_type);
void multipart_destroy(struct multipart *multipart);

/* Of the whole body, with all that stands between the parts. */
uint64_t multipart_bytes(const struct multipart *multipart);

/* Appends the response's own Content-Type line, which names the boundary. */
void multipart_append_type(const struct multipart *multipart, struct buffer *headers);

/* Appends the lines before the next part, whose range is stored: its bytes are to follow. False:
 * there is none, and what was appended is the end. Not to be called again then. */
bool multipart_next(struct multipart *multipart, struct buffer *out, struct byte_range *range);

#endif
