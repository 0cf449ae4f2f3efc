#include "common/http/chunk.h"

#include "common/http/token.h"

/* Where in the grammar the next byte stands (RFC 9112, 7.1.1; BWS is white space). */
enum state {
    SIZE,
    BEFORE_EXTENSION, /* behind the size or a value, and white space: a semicolon must follow */
    BEFORE_NAME,
    NAME,
    AFTER_NAME,
    BEFORE_VALUE,
    VALUE,
    QUOTED,
    ESCAPED,
    AFTER_QUOTED,
    LINE_FEED,
    DONE,
    MALFORMED
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* What may stand between quotes or behind a backslash (RFC 9110, 5.6.4). */
static bool is_quotable(char c)
{
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

/* Behind a complete size, name or value. */
static enum state next_part(char c, enum state after_space)
{
    if (c == ';') {
        return BEFORE_NAME;
    }
    if (c == '\r') {
        return LINE_FEED;
    }
    return is_space(c) ? after_space : MALFORMED;
}

static enum state read_size(struct http_chunk_line *line, char c)
{
    int digit = hex_digit(c);
    if (digit < 0) {
        return line->has_digits ? next_part(c, BEFORE_EXTENSION) : MALFORMED;
    }
    if (line->size > UINT64_MAX >> 4) {
        return MALFORMED;
    }
    line->size = line->size << 4 | (unsigned)digit;
    line->has_digits = true;
    return SIZE;
}

static enum state begin_value(char c)
{
    if (c == '"') {
        return QUOTED;
    }
    if (is_space(c)) {
        return BEFORE_VALUE;
    }
    return http_is_token_byte(c) ? VALUE : MALFORMED;
}

static enum state read_quoted(char c)
{
    if (c == '"') {
        return AFTER_QUOTED;
    }
    if (c == '\\') {
        return ESCAPED;
    }
    return is_quotable(c) ? QUOTED : MALFORMED;
}

static enum state step(struct http_chunk_line *line, char c)
{
    switch ((enum state)line->state) {
    case SIZE:
        return read_size(line, c);
    case BEFORE_EXTENSION:
        return c == '\r' ? MALFORMED : next_part(c, BEFORE_EXTENSION);
    case BEFORE_NAME:
        if (is_space(c)) {
            return BEFORE_NAME;
        }
        return http_is_token_byte(c) ? NAME : MALFORMED;
    case NAME:
        if (http_is_token_byte(c)) {
            return NAME;
        }
        return c == '=' ? BEFORE_VALUE : next_part(c, AFTER_NAME);
    case AFTER_NAME:
        if (c == '=') {
            return BEFORE_VALUE;
        }
        return c == '\r' ? MALFORMED : next_part(c, AFTER_NAME);
    case BEFORE_VALUE:
        return begin_value(c);
    case VALUE:
        return http_is_token_byte(c) ? VALUE : next_part(c, BEFORE_EXTENSION);
    case QUOTED:
        return read_quoted(c);
    case ESCAPED:
        return is_quotable(c) ? QUOTED : MALFORMED;
    case AFTER_QUOTED:
        return next_part(c, BEFORE_EXTENSION);
    case LINE_FEED:
        return c == '\n' ? DONE : MALFORMED;
    case DONE:
    case MALFORMED:
        break;
    }
    return MALFORMED;
}

enum http_chunk_result http_chunk_line_scan(struct http_chunk_line *line, const char *data,
                                            size_t bytes, size_t *used)
{
    for (*used = 0; *used < bytes;) {
        line->state = (int)step(line, data[(*used)++]);
        line->bytes++;
        if (line->state == DONE) {
            return HTTP_CHUNK_DONE;
        }
        if (line->state == MALFORMED) {
            return HTTP_CHUNK_REFUSED;
        }
    }
    return HTTP_CHUNK_MORE;
}
