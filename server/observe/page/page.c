#include "server/observe/page/page.h"

#include "server/observe/page/page_bytes.h"

#include <stdint.h>
#include <zlib.h>

enum { STORED_BLOCK_BYTES = 65535 };

static struct span before_table(void)
{
    return (struct span){(const char *)page_before, page_before_bytes};
}

static struct span behind_table(void)
{
    return (struct span){(const char *)page_behind, page_behind_bytes};
}

static void append_little_endian(struct buffer *out, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(number >> (8 * i));
        buffer_append(out, &byte, 1);
    }
}

/* As blocks that are not compressed (RFC 1951, 3.2.4): each begins and ends with a whole byte, so
 * that others can follow. */
static void append_stored(struct buffer *out, struct span text)
{
    while (text.len > 0) {
        size_t part = text.len < STORED_BLOCK_BYTES ? text.len : STORED_BLOCK_BYTES;
        append_little_endian(out, 0, 1); /* stored, not the last one */
        append_little_endian(out, part, 2);
        append_little_endian(out, ~(uint64_t)part, 2);
        buffer_append(out, text.ptr, part);
        text = (struct span){text.ptr + part, text.len - part};
    }
}

static unsigned long add_checksum(unsigned long sum, struct span text)
{
    return crc32_z(sum, (const unsigned char *)text.ptr, text.len);
}

static void render_gzip(struct span table, struct buffer *out)
{
    static const unsigned char head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff};
    struct span before = before_table(), behind = behind_table();
    unsigned long sum = add_checksum(crc32_z(0, NULL, 0), before);
    buffer_append(out, head, sizeof(head));
    append_stored(out, before);
    append_stored(out, table);
    buffer_append(out, page_behind_deflated, page_behind_deflated_bytes);
    append_little_endian(out, add_checksum(add_checksum(sum, table), behind), 4);
    append_little_endian(out, before.len + table.len + behind.len, 4);
}

void page_render(struct span table, bool gzip, struct buffer *out)
{
    if (gzip) {
        buffer_reserve(out, page_before_bytes + table.len + page_behind_deflated_bytes + 64);
        render_gzip(table, out);
        return;
    }
    buffer_reserve(out, page_before_bytes + table.len + page_behind_bytes);
    buffer_append_span(out, before_table());
    buffer_append_span(out, table);
    buffer_append_span(out, behind_table());
}

const char *page_content_security_policy(void)
{
    return page_policy;
}
