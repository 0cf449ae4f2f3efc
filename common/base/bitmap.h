/* A row of bits, and ranges of them at a time. */
#ifndef TWINHTTPD_COMMON_BASE_BITMAP_H
#define TWINHTTPD_COMMON_BASE_BITMAP_H

#include <stddef.h>
#include <stdint.h>

/* How many words the caller has to provide for so many bits. */
size_t bitmap_words(size_t bits);

/* Sets or clears the bits from first on. A count of 0 changes nothing. */
void bitmap_set(uint64_t *words, size_t first, size_t count);
void bitmap_clear(uint64_t *words, size_t first, size_t count);

/* The first bit of [first, end) that is set, or that is clear; end if there is none. */
size_t bitmap_next_set(const uint64_t *words, size_t first, size_t end);
size_t bitmap_next_clear(const uint64_t *words, size_t first, size_t end);

#endif
