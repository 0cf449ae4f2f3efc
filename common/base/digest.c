#include "common/base/digest.h"

#include <string.h>

static uint64_t mix(uint64_t digest, uint64_t word)
{
    __uint128_t product = (__uint128_t)(digest ^ word) * UINT64_C(0xd6e8feb86659fd93);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t digest_add(uint64_t digest, const void *data, size_t bytes)
{
    const char *at = data;
    uint64_t word;
    if (digest == DIGEST_NONE) {
        return DIGEST_NONE;
    }
    digest = mix(digest, bytes + 1);
    for (; bytes >= sizeof(word); at += sizeof(word), bytes -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        digest = mix(digest, word);
    }
    word = 0;
    memcpy(&word, at, bytes);
    digest = mix(digest, word);
    return digest != DIGEST_NONE ? digest : DIGEST_EMPTY;
}
