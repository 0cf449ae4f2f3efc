#include "common/http/head.h"

#include "common/http/token.h"

#include <arpa/inet.h>

static enum http_method method_of(struct span name)
{
    if (span_equal(name, SPAN("GET"))) { /* nearly always */
        return METHOD_GET;
    }
    for (int method = 0; method < METHOD_UNKNOWN; method++) {
        if (span_equal(name, span_of(http_method_name((enum http_method)method)))) {
            return (enum http_method)method;
        }
    }
    return METHOD_UNKNOWN;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HTTP-version (RFC 9112, 2.3). */
static struct http_refusal scan_version(struct span text, struct http_request *request)
{
    if (text.len != 8 || memcmp(text.ptr, "HTTP/", 5) != 0 || !is_digit(text.ptr[5]) ||
        text.ptr[6] != '.' || !is_digit(text.ptr[7])) {
        return (struct http_refusal){400, "malformed request line"};
    }
    if (text.ptr[5] != '1') {
        return (struct http_refusal){505, "unsupported HTTP version"};
    }
    /* A later 1.x is answered as the one we know (RFC 9110, 2.5). */
    request->minor_version = text.ptr[7] == '0' ? 0 : 1;
    return (struct http_refusal){0, NULL};
}

static bool is_visible(char c)
{
    return (unsigned char)c > 0x20 && (unsigned char)c < 0x7f;
}

static bool is_8_bit(char c)
{
    return (unsigned char)c >= 0x80;
}

/* A URI is visible ASCII, but clients send bytes from 0x80, those of names in UTF-8, as they are:
 * where a target ends in which there are some. */
static size_t end_of_8_bit_target(const char *text, size_t at, size_t len)
{
    while (at < len && (is_visible(text[at]) || is_8_bit(text[at]))) {
        at++;
    }
    return at;
}

/* method SP request-target SP HTTP-version (RFC 9112, 3). */
static struct http_refusal scan_request_line(const char *data, struct http_part line,
                                             struct http_request *request)
{
    const struct http_refusal malformed = {400, "malformed request line"};
    const char *text = data + line.offset;
    size_t method_bytes = http_token_bytes(text, line.len);
    if (method_bytes == 0 || method_bytes == line.len || text[method_bytes] != ' ') {
        return malformed;
    }
    size_t target_at = method_bytes + 1;
    size_t at = target_at;
    while (at < line.len && is_visible(text[at])) {
        at++;
    }
    if (at < line.len && is_8_bit(text[at])) {
        request->target_has_8_bit = true;
        at = end_of_8_bit_target(text, at, line.len);
    }
    if (at == target_at || at == line.len || text[at] != ' ') {
        return malformed;
    }
    request->method = method_of((struct span){text, method_bytes}); /* HEAD gets no body, ever */
    request->line = line;
    request->method_name = (struct http_part){line.offset, (uint32_t)method_bytes};
    request->target =
        (struct http_part){line.offset + (uint32_t)target_at, (uint32_t)(at - target_at)};
    struct http_refusal refusal =
        scan_version((struct span){text + at + 1, line.len - at - 1}, request);
    if (refusal.status != 0) {
        return refusal;
    }
    if (request->method == METHOD_UNKNOWN) {
        return (struct http_refusal){501, "unknown method"};
    }
    return (struct http_refusal){0, NULL};
}

/* The only known field whose name is so long, or one of two: the length tells most apart. */
static enum http_field_id field_id_of(struct span name)
{
    static const struct known {
        struct span name;
        enum http_field_id id;
    } known[][3] = {
        [4] = {{{"Host", 4}, HTTP_FIELD_HOST}},
        [5] = {{{"Range", 5}, HTTP_FIELD_RANGE}},
        [6] = {{{"Expect", 6}, HTTP_FIELD_EXPECT}},
        [7] = {{{"Referer", 7}, HTTP_FIELD_REFERER}},
        [8] = {{{"If-Match", 8}, HTTP_FIELD_IF_MATCH}, {{"If-Range", 8}, HTTP_FIELD_IF_RANGE}},
        [10] = {{{"Connection", 10}, HTTP_FIELD_CONNECTION},
                {{"User-Agent", 10}, HTTP_FIELD_USER_AGENT}},
        [12] = {{{"Content-Type", 12}, HTTP_FIELD_CONTENT_TYPE}},
        [13] = {{{"If-None-Match", 13}, HTTP_FIELD_IF_NONE_MATCH}},
        [14] = {{{"Content-Length", 14}, HTTP_FIELD_CONTENT_LENGTH}},
        [15] = {{{"Accept-Encoding", 15}, HTTP_FIELD_ACCEPT_ENCODING}},
        [17] = {{{"Transfer-Encoding", 17}, HTTP_FIELD_TRANSFER_ENCODING},
                {{"If-Modified-Since", 17}, HTTP_FIELD_IF_MODIFIED_SINCE}},
        [19] = {{{"If-Unmodified-Since", 19}, HTTP_FIELD_IF_UNMODIFIED_SINCE}},
    };
    if (name.len < sizeof(known) / sizeof(known[0])) {
        for (const struct known *one = known[name.len]; one->name.ptr != NULL; one++) {
            if (span_equal_nocase(one->name, name)) {
                return one->id;
            }
        }
    }
    return HTTP_FIELD_OTHER;
}

/* Whether none of eight bytes is below 0x20 or 0x7f, as nearly always: values are long. Each test
 * sets the upper bit of a byte for which it may hold, and of others only above such a one. */
static bool eight_are_plain(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t upper = 0x8080808080808080u;
    uint64_t eight;
    memcpy(&eight, bytes, sizeof(eight));
    uint64_t below_space = (eight - ones * 0x20) & ~eight;
    uint64_t not_delete = eight ^ ones * 0x7f;
    uint64_t is_delete = (not_delete - ones) & ~not_delete;
    return ((below_space | is_delete) & upper) == 0;
}

/* field-value may hold visible bytes, SP, HTAB and obs-text (RFC 9110, 5.5). */
static bool is_field_value(struct span value)
{
    size_t i = 0;
    while (value.len - i >= sizeof(uint64_t) && eight_are_plain(value.ptr + i)) {
        i += sizeof(uint64_t);
    }
    for (; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static struct http_refusal scan_field(const char *data, struct http_part line,
                                      const struct http_limits *limits,
                                      struct http_request *request)
{
    const char *text = data + line.offset;
    size_t name_bytes = http_token_bytes(text, line.len);
    if (name_bytes == 0 || name_bytes == line.len || text[name_bytes] != ':') {
        return (struct http_refusal){400, "malformed header field"};
    }
    struct span value = span_trim((struct span){text + name_bytes + 1, line.len - name_bytes - 1});
    if (!is_field_value(value)) {
        return (struct http_refusal){400, "control byte in a header field"};
    }
    if (++request->field_count > limits->headers) {
        return (struct http_refusal){431, "too many header fields"};
    }
    enum http_field_id id = field_id_of((struct span){text, name_bytes});
    if (request->field_occurrences[id]++ == 0) {
        request->fields[id] = (struct http_part){(uint32_t)(value.ptr - data), (uint32_t)value.len};
    }
    return (struct http_refusal){0, NULL};
}

/* What is too long already, whether or not its line is complete. */
static struct http_refusal check_limits(const struct http_head *head, size_t bytes,
                                        const struct http_limits *limits)
{
    if (!head->has_request_line && bytes - head->line_start > limits->request_line_bytes) {
        return (struct http_refusal){414, "request line too long"};
    }
    if (bytes > limits->header_bytes) {
        return (struct http_refusal){431, "header fields too large"};
    }
    return (struct http_refusal){0, NULL};
}

/* What cannot become a request is refused at once, not when its line or its time ends. */
static struct http_refusal check_first_byte(const struct http_head *head, const char *data,
                                            size_t bytes)
{
    size_t start = head->line_start;
    if (!head->has_request_line && start < bytes && data[start] != '\r' && data[start] != '\n' &&
        !http_is_token_byte(data[start])) {
        return (struct http_refusal){400, "malformed request line"};
    }
    return (struct http_refusal){0, NULL};
}

/* One complete line. *done is set by the empty line that ends the head. */
static struct http_refusal scan_line(struct http_head *head, const char *data, size_t line_end,
                                     const struct http_limits *limits, struct http_request *request,
                                     bool *done)
{
    size_t start = head->line_start;
    /* In this order it does not matter how much of the line arrives at once. */
    struct http_refusal refusal = check_first_byte(head, data, line_end + 1);
    if (refusal.status == 0) {
        refusal = check_limits(head, line_end + 1, limits);
    }
    if (refusal.status != 0) {
        return refusal;
    }
    if (line_end == start || data[line_end - 1] != '\r') {
        return (struct http_refusal){400, "line ends without CR"};
    }
    struct http_part line = {(uint32_t)start, (uint32_t)(line_end - 1 - start)};
    if (head->has_request_line) {
        *done = line.len == 0;
        return *done ? refusal : scan_field(data, line, limits, request);
    }
    if (line.len == 0) { /* empty lines before a request are skipped (RFC 9112, 2.2) */
        return refusal;
    }
    head->has_request_line = true;
    return scan_request_line(data, line, request);
}

enum http_head_result http_head_scan(struct http_head *head, const char *data, size_t bytes,
                                     const struct http_limits *limits, struct http_request *request,
                                     struct http_refusal *refusal)
{
    request->head = data; /* a refused request is logged, too */
    while (head->scanned < bytes) {
        const char *end = memchr(data + head->scanned, '\n', bytes - head->scanned);
        if (end == NULL) {
            head->scanned = bytes;
            break;
        }
        size_t line_end = (size_t)(end - data);
        bool done = false;
        *refusal = scan_line(head, data, line_end, limits, request, &done);
        if (refusal->status != 0) {
            return HTTP_HEAD_REFUSED;
        }
        head->line_start = head->scanned = line_end + 1;
        if (done) {
            request->head_bytes = head->scanned;
            return HTTP_HEAD_DONE;
        }
    }
    *refusal = check_first_byte(head, data, bytes);
    if (refusal->status == 0) {
        *refusal = check_limits(head, bytes, limits);
    }
    return refusal->status != 0 ? HTTP_HEAD_REFUSED : HTTP_HEAD_MORE;
}

/* Appends the value to a list if the line is one of the field's. */
static void join_line(struct buffer *list, struct span line, enum http_field_id id)
{
    size_t name_bytes = http_token_bytes(line.ptr, line.len);
    if (name_bytes == line.len || line.ptr[name_bytes] != ':' ||
        field_id_of((struct span){line.ptr, name_bytes}) != id) {
        return;
    }
    buffer_append_span(list, list->len > 0 ? SPAN(", ") : SPAN(""));
    buffer_append_span(
        list, span_trim((struct span){line.ptr + name_bytes + 1, line.len - name_bytes - 1}));
}

struct span http_head_field_list(const struct http_request *request, enum http_field_id id,
                                 struct arena *arena)
{
    if (request->field_occurrences[id] <= 1) {
        return http_request_field(request, id);
    }
    struct buffer list = {0};
    size_t at = 0;
    while (at < request->head_bytes) {
        const char *line = request->head + at;
        const char *end = memchr(line, '\n', request->head_bytes - at);
        size_t bytes = end == NULL ? request->head_bytes - at : (size_t)(end - line);
        join_line(&list, (struct span){line, bytes > 0 ? bytes - 1 : 0}, id);
        at += bytes + 1;
    }
    char *copy = arena_alloc(arena, list.len + 1);
    if (list.len > 0) { /* else there is no data to copy from */
        memcpy(copy, list.data, list.len);
    }
    struct span joined = {copy, list.len};
    buffer_free(&list);
    return joined;
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* unreserved and sub-delims (RFC 3986, 2.2 and 2.3). */
static const bool host_bytes[256] = {
    ['!'] = 1, ['$'] = 1, ['&'] = 1, ['\''] = 1, ['('] = 1, [')'] = 1, ['*'] = 1, ['+'] = 1,
    [','] = 1, ['-'] = 1, ['.'] = 1, ['0'] = 1,  ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1,
    ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1,  ['9'] = 1, [';'] = 1, ['='] = 1, ['A'] = 1,
    ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1,  ['F'] = 1, ['G'] = 1, ['H'] = 1, ['I'] = 1,
    ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1,  ['N'] = 1, ['O'] = 1, ['P'] = 1, ['Q'] = 1,
    ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1,  ['V'] = 1, ['W'] = 1, ['X'] = 1, ['Y'] = 1,
    ['Z'] = 1, ['_'] = 1, ['a'] = 1, ['b'] = 1,  ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1,
    ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1,  ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1,
    ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1,  ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1,
    ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,  ['~'] = 1,
};

/* How many bytes of the text are reg-name (RFC 3986, 3.2.2). */
static size_t reg_name_bytes(struct span text)
{
    size_t n = 0;
    for (;;) {
        while (n < text.len && host_bytes[(unsigned char)text.ptr[n]]) {
            n++;
        }
        if (text.len - n < 3 || text.ptr[n] != '%' || !is_hex(text.ptr[n + 1]) ||
            !is_hex(text.ptr[n + 2])) {
            return n;
        }
        n += 3;
    }
}

/* How many bytes are "[", an IPv6 address, "]"; 0: they are not. */
static size_t ip_literal_bytes(struct span text)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    const char *end = memchr(text.ptr, ']', text.len);
    size_t bytes = end == NULL ? 0 : (size_t)(end - text.ptr) - 1;
    if (bytes == 0 || bytes >= sizeof(address)) {
        return 0;
    }
    memcpy(address, text.ptr + 1, bytes);
    address[bytes] = '\0';
    return inet_pton(AF_INET6, address, &parsed) == 1 ? bytes + 2 : 0;
}

bool http_head_is_host(struct span host)
{
    bool is_literal = host.len > 0 && host.ptr[0] == '[';
    size_t at = is_literal ? ip_literal_bytes(host) : reg_name_bytes(host);
    if (at == host.len) {
        return true;
    }
    if ((is_literal && at == 0) || host.ptr[at] != ':') {
        return false;
    }
    for (at++; at < host.len; at++) { /* the port, which may be empty */
        if (!is_digit(host.ptr[at])) {
            return false;
        }
    }
    return true;
}

static struct http_refusal check_host(const struct http_request *request)
{
    uint32_t count = request->field_occurrences[HTTP_FIELD_HOST];
    if (count > 1 || (count == 0 && request->minor_version == 1)) {
        return (struct http_refusal){400, "not exactly one Host"};
    }
    if (count == 1 && !http_head_is_host(http_request_field(request, HTTP_FIELD_HOST))) {
        return (struct http_refusal){400, "invalid Host"};
    }
    return (struct http_refusal){0, NULL};
}

/* Takes a member off the front of a comma-separated list, without the white space around it; empty
 * ones are members, too (RFC 9110, 5.6.1). False: it was the last. */
static bool take_member(struct span *list, struct span *member)
{
    const char *comma = list->len > 0 ? memchr(list->ptr, ',', list->len) : NULL;
    size_t len = comma == NULL ? list->len : (size_t)(comma - list->ptr);
    size_t used = comma == NULL ? len : len + 1;
    *member = span_trim((struct span){list->ptr, len});
    *list = (struct span){list->ptr + used, list->len - used};
    return comma != NULL;
}

static bool is_decimal(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0;
}

/* A name, and maybe parameters (RFC 9112, 7). */
static bool is_coding(struct span text)
{
    size_t name_bytes = http_token_bytes(text.ptr, text.len);
    struct span rest = span_trim((struct span){text.ptr + name_bytes, text.len - name_bytes});
    return name_bytes > 0 && (rest.len == 0 || rest.ptr[0] == ';');
}

/* A request whose last coding is not chunked has no end (RFC 9112, 6.3); what ends, but in a coding
 * that we do not know, is not implemented (6.1). */
static struct http_refusal check_codings(struct http_request *request)
{
    struct span list = http_head_field_list(request, HTTP_FIELD_TRANSFER_ENCODING, &request->arena);
    if (span_equal_nocase(list, SPAN("chunked"))) { /* nearly always */
        return (struct http_refusal){0, NULL};
    }
    bool chunked = false;
    bool unknown = false;
    bool more = true;
    while (more) {
        struct span coding;
        more = take_member(&list, &coding);
        if (!is_coding(coding)) {
            return (struct http_refusal){400, "malformed Transfer-Encoding"};
        }
        if (chunked) { /* what has been chunked cannot be chunked again, or otherwise coded */
            return (struct http_refusal){400, "chunked is not the last transfer coding"};
        }
        chunked = span_equal_nocase(coding, SPAN("chunked"));
        unknown |= !chunked;
    }
    if (!chunked) {
        return (struct http_refusal){400, "chunked is not the last transfer coding"};
    }
    return unknown ? (struct http_refusal){501, "unknown transfer coding"}
                   : (struct http_refusal){0, NULL};
}

/* Stricter than RFC 9112, 6.3 allows a server to be: any doubt about where a message ends is an
 * error, since two parties that see different ends are what request smuggling needs. */
static struct http_refusal check_framing(struct http_request *request)
{
    uint32_t lengths = request->field_occurrences[HTTP_FIELD_CONTENT_LENGTH];
    uint32_t codings = request->field_occurrences[HTTP_FIELD_TRANSFER_ENCODING];
    if (lengths > 1 || (lengths > 0 && codings > 0)) {
        return (struct http_refusal){400, "more than one way of framing the body"};
    }
    if (lengths == 1 && !is_decimal(http_request_field(request, HTTP_FIELD_CONTENT_LENGTH))) {
        return (struct http_refusal){400, "invalid Content-Length"};
    }
    if (codings == 0) {
        return (struct http_refusal){0, NULL};
    }
    if (request->minor_version == 0) {
        return (struct http_refusal){400, "Transfer-Encoding in HTTP/1.0"};
    }
    return check_codings(request);
}

/* Expect is a list, too (RFC 9110, 10.1.1), of which one member is known. */
static struct http_refusal check_expectations(struct http_request *request)
{
    if (request->minor_version == 0 || request->field_occurrences[HTTP_FIELD_EXPECT] == 0) {
        return (struct http_refusal){0, NULL};
    }
    struct span list = http_head_field_list(request, HTTP_FIELD_EXPECT, &request->arena);
    bool more = true;
    while (more) {
        struct span expectation;
        more = take_member(&list, &expectation);
        if (expectation.len == 0) {
            continue;
        }
        if (!span_equal_nocase(expectation, SPAN("100-continue"))) {
            return (struct http_refusal){417, "unknown expectation"};
        }
        request->expects_continue = true;
    }
    return (struct http_refusal){0, NULL};
}

/* Whether a comma-separated list holds the token. */
static bool list_has_token(struct span list, struct span token)
{
    bool more = true;
    while (more) {
        struct span member;
        more = take_member(&list, &member);
        if (span_equal_nocase(member, token)) {
            return true;
        }
    }
    return false;
}

static bool wants_keep_alive(struct http_request *request)
{
    struct span connection = http_head_field_list(request, HTTP_FIELD_CONNECTION, &request->arena);
    if (connection.len == 0) {
        return request->minor_version == 1;
    }
    if (list_has_token(connection, SPAN("close"))) {
        return false;
    }
    return request->minor_version == 1 || list_has_token(connection, SPAN("keep-alive"));
}

struct http_refusal http_head_check(struct http_request *request)
{
    struct http_refusal refusal = check_host(request);
    if (refusal.status == 0) {
        refusal = check_framing(request);
    }
    if (refusal.status == 0) {
        refusal = check_expectations(request);
    }
    request->keep_alive = wants_keep_alive(request);
    return refusal;
}
