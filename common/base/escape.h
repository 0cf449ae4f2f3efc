/* Text that clients have sent, in the lines of logs. Most of it needs no escape, and such a stretch
 * is copied as a whole. */
#ifndef TWINHTTPD_COMMON_BASE_ESCAPE_H
#define TWINHTTPD_COMMON_BASE_ESCAPE_H

#include "common/base/buffer.h"

#include <stddef.h>

/* How many bytes at the start of the text can stand between quotes as they are: visible ASCII and
 * spaces, but neither a quote nor a backslash. */
size_t escape_plain_bytes(struct span text);

/* Control bytes become '?': they must not forge lines or drive a terminal. Other bytes stay. */
void escape_control_bytes(char *text, size_t bytes);

/* Appends the text as ASCII that ends neither its quotes nor its line: other bytes become \xHH. */
void escape_text(struct buffer *out, struct span text);

#endif
