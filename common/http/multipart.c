#include "common/http/multipart.h"

#include "common/base/check.h"
#include "common/base/digest.h"
#include "common/base/memory.h"

#include <stdlib.h>

enum { BOUNDARY_BYTES = 26 }; /* as BOUNDARY renders it */

/* It follows from what is asked for, so that whoever makes the answer again makes the same bytes.
 * Who writes the file could put it there, and would confuse the readers of his own file. */
#define BOUNDARY "twinhttpd-%016llx"

struct multipart {
    const char *content_type;
    uint64_t number; /* in the boundary */
    uint64_t size_bytes;
    uint64_t body_bytes;
    uint32_t count;
    uint32_t next; /* of ranges; behind the last: nothing is left but the end */
    struct byte_range ranges[];
};

static uint64_t count_digits(uint64_t number)
{
    uint64_t digits = 1;
    for (; number >= 10; number /= 10) {
        digits++;
    }
    return digits;
}

/* How many bytes the part takes with the lines before it, as multipart_next renders them. */
static uint64_t part_bytes(const struct multipart *multipart, const struct byte_range *range)
{
    uint64_t lines = SPAN("\r\n--\r\nContent-Range: bytes -/\r\n\r\n").len + BOUNDARY_BYTES +
                     count_digits(range->first) + count_digits(range->last) +
                     count_digits(multipart->size_bytes);
    if (multipart->content_type != NULL) {
        lines += SPAN("Content-Type: \r\n").len + strlen(multipart->content_type);
    }
    return lines + range->last - range->first + 1;
}

static uint64_t number_of(const struct byte_range *ranges, size_t count, uint64_t size_bytes)
{
    uint64_t digest = digest_add(DIGEST_EMPTY, &size_bytes, sizeof(size_bytes));
    return digest_add(digest, ranges, count * sizeof(ranges[0]));
}

struct multipart *multipart_create(const struct byte_range *ranges, size_t count,
                                   uint64_t size_bytes, const char *content_type)
{
    struct multipart *multipart =
        memory_alloc(sizeof(*multipart) + count * sizeof(multipart->ranges[0]));
    *multipart = (struct multipart){.content_type = content_type,
                                    .number = number_of(ranges, count, size_bytes),
                                    .size_bytes = size_bytes,
                                    .body_bytes = SPAN("\r\n----\r\n").len + BOUNDARY_BYTES,
                                    .count = (uint32_t)count};
    for (size_t i = 0; i < count; i++) {
        multipart->ranges[i] = ranges[i];
        multipart->body_bytes += part_bytes(multipart, &ranges[i]);
    }
    return multipart;
}

void multipart_destroy(struct multipart *multipart)
{
    free(multipart);
}

uint64_t multipart_bytes(const struct multipart *multipart)
{
    return multipart->body_bytes;
}

void multipart_append_type(const struct multipart *multipart, struct buffer *headers)
{
    buffer_printf(headers, "Content-Type: multipart/byteranges; boundary=" BOUNDARY "\r\n",
                  (unsigned long long)multipart->number);
}

bool multipart_next(struct multipart *multipart, struct buffer *out, struct byte_range *range)
{
    CHECK(multipart->next <= multipart->count);
    buffer_printf(out, "\r\n--" BOUNDARY, (unsigned long long)multipart->number);
    if (multipart->next == multipart->count) {
        multipart->next++;
        buffer_append_span(out, SPAN("--\r\n"));
        return false;
    }
    *range = multipart->ranges[multipart->next++];
    if (multipart->content_type != NULL) {
        buffer_printf(out, "\r\nContent-Type: %s", multipart->content_type);
    }
    buffer_printf(out, "\r\nContent-Range: bytes %llu-%llu/%llu\r\n\r\n",
                  (unsigned long long)range->first, (unsigned long long)range->last,
                  (unsigned long long)multipart->size_bytes);
    return true;
}
