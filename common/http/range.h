/* The Range header field (RFC 9110, 14.2). */
#ifndef TWINHTTPD_COMMON_HTTP_RANGE_H
#define TWINHTTPD_COMMON_HTTP_RANGE_H

#include "common/base/span.h"

#include <stddef.h>
#include <stdint.h>

/* Offsets of the first and the last byte, both included; last is below the size of the file. */
struct byte_range {
    uint64_t first;
    uint64_t last;
};

enum range_result {
    RANGE_NONE,         /* absent or to be ignored: 200 with the whole file */
    RANGE_SATISFIABLE,  /* 206 */
    RANGE_UNSATISFIABLE /* 416, whose Content-Range names the size */
};

/* Reads the value of a Range field (ptr NULL: absent) against a file of size_bytes.
 * RANGE_SATISFIABLE stores 1 to max_ranges ranges in the order of the request; members that lie
 * behind the end are dropped as long as one is left. Otherwise *count is 0 and ranges may have been
 * scribbled on. RANGE_NONE is also the answer to another unit, to a syntax error in any member, and
 * to what would cost more than the whole file: more than max_ranges members, or ranges that
 * together are longer than the file (RFC 9110, 17.15). A number that does not fit counts as the
 * largest that does. */
enum range_result range_parse(struct span header, uint64_t size_bytes, struct byte_range *ranges,
                              size_t max_ranges, size_t *count);

#endif
