/* A piece of text that somebody else owns: pointer and length, not NUL-terminated. */
#ifndef TWINHTTPD_COMMON_BASE_SPAN_H
#define TWINHTTPD_COMMON_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *ptr;
    size_t len;
};

/* A span over a string literal. */
#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static inline struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Equal without regard to ASCII case, as header names and codings are compared (RFC 9110, 5.1). */
static inline bool span_equal_nocase(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

/* Without the optional white space (SP, HTAB) at both ends (RFC 9110, 5.6.3). */
static inline struct span span_trim(struct span s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

#endif
