/* What the fuzz targets share. An input is a first line that steers the target, and behind its line
 * feed the bytes that are fed. */
#ifndef TWINHTTPD_TESTS_FUZZ_FUZZ_H
#define TWINHTTPD_TESTS_FUZZ_FUZZ_H

#include "common/base/span.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An invariant: without it the input is a finding. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { FUZZ_STEERING_BYTES = 200 };

/* The input's two parts. Without an early line feed everything is text. */
static inline void fuzz_split(const uint8_t *data, size_t size, struct span *steering,
                              struct span *text)
{
    const char *bytes = (const char *)data;
    size_t searched = size < FUZZ_STEERING_BYTES ? size : FUZZ_STEERING_BYTES;
    const char *end = searched == 0 ? NULL : memchr(bytes, '\n', searched);
    *steering = (struct span){bytes, end == NULL ? 0 : (size_t)(end - bytes)};
    size_t used = end == NULL ? 0 : steering->len + 1;
    *text = (struct span){bytes + used, size - used};
}

/* A copy in memory of exactly its size, so that a sanitizer sees a step too far; to be freed. */
static inline char *fuzz_copy(struct span text)
{
    char *copy = calloc(1, text.len + (text.len == 0)); /* never uninitialized, as gcc 14 sees it */
    FUZZ_CHECK(copy != NULL);
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return copy;
}

#endif
