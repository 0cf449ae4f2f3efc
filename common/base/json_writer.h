/* Appends JSON text (RFC 8259) to a buffer. The writer puts the commas; the caller's order of calls
 * is checked by assert, since a wrong one is a bug and never a matter of input. No name is one of
 * jansson's: a function of ours would take the place of the library's inside the library. */
#ifndef TWINHTTPD_COMMON_BASE_JSON_WRITER_H
#define TWINHTTPD_COMMON_BASE_JSON_WRITER_H

#include "common/base/buffer.h"
#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 32 };

/* Does not own the buffer, and allocates nothing besides its growth: there is nothing to free. */
struct json_writer {
    struct buffer *out;
    unsigned depth;      /* open objects and arrays */
    uint32_t is_object;  /* one bit for each level, level 0 in bit 0 */
    uint32_t has_member; /* the next member of that level needs a comma */
    bool after_key;      /* the next value belongs to a key */
};

/* Starts one JSON value at the end of out. */
void json_init(struct json_writer *writer, struct buffer *out);

void json_object_begin(struct json_writer *writer);
void json_object_end(struct json_writer *writer);
void json_array_begin(struct json_writer *writer);
void json_array_end(struct json_writer *writer);

/* The key of the next value, inside an object. */
void json_key(struct json_writer *writer, const char *key);

/* A string in quotes. Bytes that are not UTF-8 become U+FFFD each, so that the text stays valid
 * whatever a client has sent. */
void json_write_string(struct json_writer *writer, struct span text);
void json_uint(struct json_writer *writer, uint64_t number);
void json_int(struct json_writer *writer, int64_t number);
void json_bool(struct json_writer *writer, bool value);
void json_write_null(struct json_writer *writer);
/* A value that is JSON already. */
void json_write_raw(struct json_writer *writer, struct span value);
/* A number with three decimals: 1234 thousandths are 1.234. */
void json_thousandths(struct json_writer *writer, uint64_t thousandths);
/* Milliseconds with three decimals: 1234 us is 1.234. */
void json_milliseconds(struct json_writer *writer, uint64_t microseconds);

/* Key and value in one call. */
void json_put_string(struct json_writer *writer, const char *key, struct span text);
/* text may be NULL: null. */
void json_put_text(struct json_writer *writer, const char *key, const char *text);
void json_put_uint(struct json_writer *writer, const char *key, uint64_t number);
void json_put_int(struct json_writer *writer, const char *key, int64_t number);
void json_put_bool(struct json_writer *writer, const char *key, bool value);
void json_put_null(struct json_writer *writer, const char *key);
void json_put_thousandths(struct json_writer *writer, const char *key, uint64_t thousandths);
void json_put_milliseconds(struct json_writer *writer, const char *key, uint64_t microseconds);

#endif
