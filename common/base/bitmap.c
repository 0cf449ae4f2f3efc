#include "common/base/bitmap.h"

enum { WORD_BITS = 64 };

size_t bitmap_words(size_t bits)
{
    return bits / WORD_BITS + (bits % WORD_BITS != 0);
}

/* The bits of the word at hand that lie in [first, end). */
static uint64_t bits_of_word(size_t first, size_t end)
{
    size_t word_end = (first / WORD_BITS + 1) * WORD_BITS;
    uint64_t mask = UINT64_MAX << first % WORD_BITS;
    return end < word_end ? mask & (UINT64_MAX >> (word_end - end)) : mask;
}

static size_t next_word(size_t bit)
{
    return (bit / WORD_BITS + 1) * WORD_BITS;
}

void bitmap_set(uint64_t *words, size_t first, size_t count)
{
    size_t end = first + count;
    for (size_t bit = first; bit < end; bit = next_word(bit)) {
        words[bit / WORD_BITS] |= bits_of_word(bit, end);
    }
}

void bitmap_clear(uint64_t *words, size_t first, size_t count)
{
    size_t end = first + count;
    for (size_t bit = first; bit < end; bit = next_word(bit)) {
        words[bit / WORD_BITS] &= ~bits_of_word(bit, end);
    }
}

/* Flipped is all ones to look for a clear bit, and 0 for a set one. */
static inline size_t next(const uint64_t *words, size_t first, size_t end, uint64_t flipped)
{
    for (size_t bit = first; bit < end; bit = next_word(bit)) {
        uint64_t found = (words[bit / WORD_BITS] ^ flipped) & bits_of_word(bit, end);
        if (found != 0) {
            return bit / WORD_BITS * WORD_BITS + (size_t)__builtin_ctzll(found);
        }
    }
    return end;
}

size_t bitmap_next_set(const uint64_t *words, size_t first, size_t end)
{
    return next(words, first, end, 0);
}

size_t bitmap_next_clear(const uint64_t *words, size_t first, size_t end)
{
    return next(words, first, end, UINT64_MAX);
}
