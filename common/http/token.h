/* tokens: what methods, field names and parameters are made of (RFC 9110, 5.6.2). */
#ifndef TWINHTTPD_COMMON_HTTP_TOKEN_H
#define TWINHTTPD_COMMON_HTTP_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

extern const bool http_token_table[256];

static inline bool http_is_token_byte(char c)
{
    return http_token_table[(unsigned char)c];
}

/* How many bytes at the start of the text belong to a token. */
static inline size_t http_token_bytes(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && http_is_token_byte(text[n])) {
        n++;
    }
    return n;
}

#endif
