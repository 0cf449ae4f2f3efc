#include "common/http/uri.h"

static bool starts_with_nocase(struct span text, struct span prefix)
{
    return text.len >= prefix.len && span_equal_nocase((struct span){text.ptr, prefix.len}, prefix);
}

static struct span skip(struct span text, size_t bytes)
{
    return (struct span){text.ptr + bytes, text.len - bytes};
}

/* Where the byte stands first; the length when it does not. */
static size_t find(struct span text, char byte)
{
    const char *found = text.len > 0 ? memchr(text.ptr, byte, text.len) : NULL;
    return found != NULL ? (size_t)(found - text.ptr) : text.len;
}

static struct span drop_scheme(struct span target)
{
    static const struct span SCHEMES[] = {{"http://", 7}, {"https://", 8}};
    for (size_t i = 0; i < sizeof SCHEMES / sizeof SCHEMES[0]; i++) {
        if (starts_with_nocase(target, SCHEMES[i])) {
            return skip(target, SCHEMES[i].len);
        }
    }
    return (struct span){NULL, 0};
}

/* A host stands before the port, and nobody's name before the host. */
static bool authority_is_acceptable(struct span authority)
{
    return authority.len > 0 && authority.ptr[0] != ':' &&
           memchr(authority.ptr, '@', authority.len) == NULL;
}

/* Removes the authority of an absolute-form target from the front of rest. */
static bool take_authority(struct span *rest, struct span *authority)
{
    struct span after_scheme = drop_scheme(*rest);
    if (after_scheme.ptr == NULL) {
        return false;
    }
    size_t slash = find(after_scheme, '/');
    size_t question_mark = find(after_scheme, '?');
    size_t len = slash < question_mark ? slash : question_mark;
    *authority = (struct span){after_scheme.ptr, len};
    *rest = skip(after_scheme, len);
    return authority_is_acceptable(*authority);
}

static void split_path_and_query(struct span rest, struct uri *uri)
{
    size_t path_len = find(rest, '?');
    uri->path = path_len > 0 ? (struct span){rest.ptr, path_len} : SPAN("/");
    uri->has_query = path_len < rest.len;
    uri->query = skip(rest, uri->has_query ? path_len + 1 : path_len);
}

enum uri_result uri_split(struct span target, struct uri *uri)
{
    struct span rest = target;
    struct span authority = {NULL, 0};
    if (target.len == 0 || memchr(target.ptr, '#', target.len) != NULL) {
        return URI_BAD_REQUEST;
    }
    if (target.ptr[0] != '/' && !take_authority(&rest, &authority)) {
        return URI_BAD_REQUEST;
    }
    uri->authority = authority;
    split_path_and_query(rest, uri);
    return URI_OK;
}

bool uri_path_is_plain(struct span path)
{
    if (path.len == 0 || path.ptr[0] != '/') {
        return false;
    }
    char previous = 'x';
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (c <= 0x20 || c >= 0x7f || c == '%' || (previous == '/' && (c == '/' || c == '.'))) {
            return false;
        }
        previous = c;
    }
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Removes one byte, decoded if need be, from the front of raw. */
static enum uri_result take_byte(struct span *raw, char *byte)
{
    bool encoded = raw->ptr[0] == '%';
    if (encoded) {
        int high = raw->len > 1 ? hex_value(raw->ptr[1]) : -1;
        int low = raw->len > 2 ? hex_value(raw->ptr[2]) : -1;
        if (high < 0 || low < 0) {
            return URI_BAD_REQUEST;
        }
        *byte = (char)(high * 16 + low);
    } else {
        *byte = raw->ptr[0];
    }
    *raw = skip(*raw, encoded ? 3 : 1);
    if ((unsigned char)*byte < 0x20 || *byte == 0x7f) {
        return URI_BAD_REQUEST;
    }
    return encoded && *byte == '/' ? URI_NOT_FOUND : URI_OK;
}

static enum uri_result decode(struct span raw, char *out, size_t *len)
{
    size_t written = 0;
    while (raw.len > 0) {
        enum uri_result result = take_byte(&raw, &out[written]);
        if (result != URI_OK) {
            return result;
        }
        written++;
    }
    *len = written;
    return URI_OK;
}

/* Drops the last segment of a path that ends in "/", and keeps the slash before it. */
static bool drop_segment(const char *path, size_t *len)
{
    if (*len <= 1) {
        return false;
    }
    do {
        (*len)--;
    } while (path[*len - 1] != '/');
    return true;
}

/* Rewrites an absolute path where it stands; what is written never overtakes what is read.
 * Between two segments the written part always ends in "/". */
static bool remove_dots_and_empty_segments(char *path, size_t *len)
{
    size_t written = 1;
    size_t read = 1;
    while (read < *len) {
        struct span rest = {path + read, *len - read};
        struct span segment = {rest.ptr, find(rest, '/')};
        bool slash = segment.len < rest.len;
        read += segment.len + slash;
        if (segment.len == 0 || span_equal(segment, SPAN("."))) {
            continue;
        }
        if (span_equal(segment, SPAN(".."))) {
            if (!drop_segment(path, &written)) {
                return false;
            }
            continue;
        }
        memmove(path + written, segment.ptr, segment.len + slash);
        written += segment.len + slash;
    }
    *len = written;
    return true;
}

enum uri_result uri_normalize_path(struct span raw, char *out, struct span *path)
{
    if (raw.len == 0 || raw.ptr[0] != '/') {
        return URI_BAD_REQUEST;
    }
    size_t len;
    enum uri_result result = decode(raw, out, &len);
    if (result != URI_OK) {
        return result;
    }
    if (!remove_dots_and_empty_segments(out, &len)) {
        return URI_BAD_REQUEST;
    }
    out[len] = '\0';
    *path = (struct span){out, len};
    return URI_OK;
}

static struct span drop_well_known(struct span path)
{
    const struct span prefix = SPAN("/.well-known");
    bool present = path.len >= prefix.len && memcmp(path.ptr, prefix.ptr, prefix.len) == 0 &&
                   (path.len == prefix.len || path.ptr[prefix.len] == '/');
    return present ? skip(path, prefix.len) : path;
}

bool uri_path_is_hidden(struct span path)
{
    struct span rest = drop_well_known(path);
    for (size_t i = 1; i < rest.len; i++) {
        if (rest.ptr[i] == '.' && rest.ptr[i - 1] == '/') {
            return true;
        }
    }
    return false;
}

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool stays_in_path(char c)
{
    return is_alphanumeric(c) || (c != '\0' && strchr("-._~/!$()*+,;=@", c) != NULL);
}

static void append_encoded(struct buffer *out, char c)
{
    static const char HEX[] = "0123456789ABCDEF";
    unsigned byte = (unsigned char)c;
    char encoded[] = {'%', HEX[byte >> 4], HEX[byte & 15]};
    buffer_append(out, encoded, sizeof encoded);
}

void uri_encode_path(struct buffer *out, struct span path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if (stays_in_path(c)) {
            buffer_append(out, &c, 1);
        } else {
            append_encoded(out, c);
        }
    }
}

/* Whether a URI may hold the byte at all (RFC 3986, 2). */
static bool is_uri_byte(char c)
{
    return is_alphanumeric(c) || (c != '\0' && strchr("-._~:/?#[]@!$&'()*+,;=%", c) != NULL);
}

void uri_encode_query(struct buffer *out, struct span query)
{
    for (size_t i = 0; i < query.len; i++) {
        char c = query.ptr[i];
        if (is_uri_byte(c)) {
            buffer_append(out, &c, 1);
        } else {
            append_encoded(out, c);
        }
    }
}

bool uri_query_param(struct span query, const char *name, struct span *value)
{
    struct span wanted = span_of(name);
    while (query.len > 0) {
        struct span pair = {query.ptr, find(query, '&')};
        size_t name_len = find(pair, '=');
        if (span_equal((struct span){pair.ptr, name_len}, wanted)) {
            *value = skip(pair, name_len < pair.len ? name_len + 1 : name_len);
            return true;
        }
        query = skip(query, pair.len < query.len ? pair.len + 1 : pair.len);
    }
    return false;
}

enum uri_result uri_query_text(struct span query, const char *name, char *out, size_t bytes)
{
    struct span raw;
    size_t written = 0;
    if (!uri_query_param(query, name, &raw)) {
        return URI_NOT_FOUND;
    }
    for (; raw.len > 0 && written + 1 < bytes; written++) {
        bool is_blank = raw.ptr[0] == '+';
        if (take_byte(&raw, &out[written]) == URI_BAD_REQUEST) {
            return URI_BAD_REQUEST;
        }
        out[written] = is_blank ? ' ' : out[written];
    }
    out[written] = '\0';
    return raw.len == 0 ? URI_OK : URI_BAD_REQUEST;
}

static bool parse_uint(struct span text, uint64_t max, uint64_t *value)
{
    if (text.len == 0) {
        return false;
    }
    uint64_t result = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(text.ptr[i] - '0');
        if (digit > max || result > (max - digit) / 10) {
            return false;
        }
        result = result * 10 + digit;
    }
    *value = result;
    return true;
}

bool uri_query_uint(struct span query, const char *name, uint64_t fallback, uint64_t max,
                    uint64_t *value)
{
    struct span text;
    if (!uri_query_param(query, name, &text)) {
        *value = fallback;
        return true;
    }
    return parse_uint(text, max, value);
}
