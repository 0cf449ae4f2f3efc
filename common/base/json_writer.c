#include "common/base/json_writer.h"

#include "common/base/check.h"
#include "common/base/escape.h"

#include <inttypes.h>
#include <stdio.h>

enum { NUMBER_BYTES = 32 };

void json_init(struct json_writer *writer, struct buffer *out)
{
    *writer = (struct json_writer){.out = out};
}

static void append_text(struct json_writer *writer, const char *text)
{
    buffer_append_span(writer->out, span_of(text));
}

static uint32_t level_bit(const struct json_writer *writer)
{
    return UINT32_C(1) << (writer->depth - 1);
}

/* The comma between members of one object or array. */
static void separate(struct json_writer *writer)
{
    if ((writer->has_member & level_bit(writer)) != 0) {
        append_text(writer, ",");
    }
    writer->has_member |= level_bit(writer);
}

static void before_value(struct json_writer *writer)
{
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    if (writer->depth > 0) {
        CHECK((writer->is_object & level_bit(writer)) == 0 && "a value in an object needs a key");
        separate(writer);
    }
}

static void begin(struct json_writer *writer, bool is_object)
{
    before_value(writer);
    CHECK(writer->depth < JSON_DEPTH_MAX);
    append_text(writer, is_object ? "{" : "[");
    writer->depth++;
    writer->has_member &= ~level_bit(writer);
    if (is_object) {
        writer->is_object |= level_bit(writer);
    } else {
        writer->is_object &= ~level_bit(writer);
    }
}

static void end(struct json_writer *writer, bool is_object)
{
    CHECK(writer->depth > 0 && !writer->after_key);
    CHECK(((writer->is_object & level_bit(writer)) != 0) == is_object);
    append_text(writer, is_object ? "}" : "]");
    writer->depth--;
}

void json_object_begin(struct json_writer *writer)
{
    begin(writer, true);
}

void json_object_end(struct json_writer *writer)
{
    end(writer, true);
}

void json_array_begin(struct json_writer *writer)
{
    begin(writer, false);
}

void json_array_end(struct json_writer *writer)
{
    end(writer, false);
}

static bool is_continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes of the UTF-8 character at the front (RFC 3629: no overlong forms, no surrogates, nothing
 * above U+10FFFF), or 0 when there is none. */
static size_t utf8_bytes(const unsigned char *text, size_t len)
{
    unsigned char first = text[0];
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        return len >= 2 && is_continuation(text[1]) ? 2 : 0;
    }
    if (first >= 0xe0 && first <= 0xef) {
        unsigned char low = first == 0xe0 ? 0xa0 : 0x80;
        unsigned char high = first == 0xed ? 0x9f : 0xbf;
        return len >= 3 && text[1] >= low && text[1] <= high && is_continuation(text[2]) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        unsigned char low = first == 0xf0 ? 0x90 : 0x80;
        unsigned char high = first == 0xf4 ? 0x8f : 0xbf;
        return len >= 4 && text[1] >= low && text[1] <= high && is_continuation(text[2]) &&
                       is_continuation(text[3])
                   ? 4
                   : 0;
    }
    return 0;
}

static void append_escaped(struct json_writer *writer, unsigned char c)
{
    switch (c) {
    case '"':
        append_text(writer, "\\\"");
        break;
    case '\\':
        append_text(writer, "\\\\");
        break;
    case '\n':
        append_text(writer, "\\n");
        break;
    case '\r':
        append_text(writer, "\\r");
        break;
    case '\t':
        append_text(writer, "\\t");
        break;
    default:
        buffer_printf(writer->out, "\\u%04x", c);
        break;
    }
}

/* Appends what begins at the front of text; returns how many bytes that was. */
static size_t append_piece(struct json_writer *writer, const unsigned char *text, size_t len)
{
    size_t plain = escape_plain_bytes((struct span){(const char *)text, len});
    if (plain > 0) {
        buffer_append(writer->out, text, plain);
        return plain;
    }
    size_t bytes = utf8_bytes(text, len);
    if (bytes == 0) {
        append_text(writer, "\\ufffd");
        return 1;
    }
    if (bytes == 1) {
        append_escaped(writer, text[0]);
    } else {
        buffer_append(writer->out, text, bytes);
    }
    return bytes;
}

static void append_quoted(struct json_writer *writer, struct span text)
{
    append_text(writer, "\"");
    size_t done = 0;
    while (done < text.len) {
        done += append_piece(writer, (const unsigned char *)text.ptr + done, text.len - done);
    }
    append_text(writer, "\"");
}

void json_key(struct json_writer *writer, const char *key)
{
    CHECK(writer->depth > 0 && (writer->is_object & level_bit(writer)) != 0);
    CHECK(!writer->after_key);
    separate(writer);
    append_quoted(writer, span_of(key));
    append_text(writer, ":");
    writer->after_key = true;
}

void json_write_string(struct json_writer *writer, struct span text)
{
    before_value(writer);
    append_quoted(writer, text);
}

void json_uint(struct json_writer *writer, uint64_t number)
{
    before_value(writer);
    buffer_append_uint(writer->out, number);
}

void json_int(struct json_writer *writer, int64_t number)
{
    char text[NUMBER_BYTES];
    snprintf(text, sizeof(text), "%" PRId64, number);
    before_value(writer);
    append_text(writer, text);
}

void json_bool(struct json_writer *writer, bool value)
{
    before_value(writer);
    append_text(writer, value ? "true" : "false");
}

void json_write_null(struct json_writer *writer)
{
    before_value(writer);
    append_text(writer, "null");
}

void json_write_raw(struct json_writer *writer, struct span value)
{
    before_value(writer);
    buffer_append_span(writer->out, value);
}

void json_thousandths(struct json_writer *writer, uint64_t thousandths)
{
    char text[NUMBER_BYTES];
    snprintf(text, sizeof(text), "%" PRIu64 ".%03u", thousandths / 1000,
             (unsigned)(thousandths % 1000));
    before_value(writer);
    append_text(writer, text);
}

void json_milliseconds(struct json_writer *writer, uint64_t microseconds)
{
    json_thousandths(writer, microseconds);
}

void json_put_string(struct json_writer *writer, const char *key, struct span text)
{
    json_key(writer, key);
    json_write_string(writer, text);
}

void json_put_text(struct json_writer *writer, const char *key, const char *text)
{
    json_key(writer, key);
    if (text == NULL) {
        json_write_null(writer);
    } else {
        json_write_string(writer, span_of(text));
    }
}

void json_put_uint(struct json_writer *writer, const char *key, uint64_t number)
{
    json_key(writer, key);
    json_uint(writer, number);
}

void json_put_int(struct json_writer *writer, const char *key, int64_t number)
{
    json_key(writer, key);
    json_int(writer, number);
}

void json_put_bool(struct json_writer *writer, const char *key, bool value)
{
    json_key(writer, key);
    json_bool(writer, value);
}

void json_put_null(struct json_writer *writer, const char *key)
{
    json_key(writer, key);
    json_write_null(writer);
}

void json_put_milliseconds(struct json_writer *writer, const char *key, uint64_t microseconds)
{
    json_key(writer, key);
    json_milliseconds(writer, microseconds);
}

void json_put_thousandths(struct json_writer *writer, const char *key, uint64_t thousandths)
{
    json_key(writer, key);
    json_thousandths(writer, thousandths);
}
