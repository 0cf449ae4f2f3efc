#include "common/base/escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK_BYTES = 16, ESCAPED_BYTES = 4 };

/* So many bytes are looked at together, in a register of the machine where it has such a wide one.
 */
typedef signed char block __attribute__((vector_size(BLOCK_BYTES)));

void escape_control_bytes(char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) {
            text[i] = '?';
        }
    }
}

static bool is_plain(unsigned char byte)
{
    return (byte >= 0x20) & (byte < 0x7f) & (byte != '"') & (byte != '\\');
}

static bool is_plain_block(const char *text)
{
    block bytes;
    uint64_t halves[2];
    memcpy(&bytes, text, sizeof(bytes));
    /* Bytes from 0x80 are below zero. */
    block others = (bytes < 0x20) | (bytes == 0x7f) | (bytes == '"') | (bytes == '\\');
    memcpy(halves, &others, sizeof(halves));
    return (halves[0] | halves[1]) == 0;
}

/* Bytes at the start of the text, in whole blocks. */
static size_t plain_block_bytes(struct span text)
{
    size_t bytes = 0;
    while (text.len - bytes >= BLOCK_BYTES && is_plain_block(text.ptr + bytes)) {
        bytes += BLOCK_BYTES;
    }
    return bytes;
}

size_t escape_plain_bytes(struct span text)
{
    size_t bytes = plain_block_bytes(text);
    while (bytes < text.len && is_plain((unsigned char)text.ptr[bytes])) {
        bytes++;
    }
    return bytes;
}

/* Without a jump that could be foretold wrongly: always writes ESCAPED_BYTES, of which so many
 * count. */
static size_t put_byte(char *out, unsigned char byte)
{
    static const char HEX[] = "0123456789ABCDEF";
    bool plain = is_plain(byte);
    out[0] = plain ? (char)byte : '\\';
    out[1] = 'x';
    out[2] = HEX[byte >> 4];
    out[3] = HEX[byte & 15];
    return plain ? 1 : ESCAPED_BYTES;
}

void escape_text(struct buffer *out, struct span text)
{
    size_t done = 0;
    while (done < text.len) {
        struct span rest = {text.ptr + done, text.len - done};
        size_t plain = plain_block_bytes(rest);
        size_t mixed = rest.len - plain < BLOCK_BYTES ? rest.len - plain : BLOCK_BYTES;
        buffer_append(out, rest.ptr, plain);
        buffer_reserve(out, mixed * ESCAPED_BYTES);
        char *end = out->data + out->len;
        for (size_t i = 0; i < mixed; i++) {
            end += put_byte(end, (unsigned char)rest.ptr[plain + i]);
        }
        out->len = (size_t)(end - out->data);
        done += plain + mixed;
    }
}
