/* Everything between bytes and a route: the parser, fed whole and in pieces, and on what it finds
 * the readers of targets, conditions, ranges, codings and dates.
 *
 * The bytes of the first line are the sizes of the pieces: '0' is one byte, '1' two, and so on,
 * again from the front when they are used up. */
#include "tests/fuzz/fuzz.h"

#include "common/http/conditional.h"
#include "common/http/content_coding.h"
#include "common/http/exchange.h"
#include "common/http/http_date.h"
#include "common/http/mime.h"
#include "common/http/range.h"
#include "common/http/uri.h"

enum { MAX_RANGES = 8, MAX_LINES = 6, MAX_REQUESTS = 32, NOW = 1700000000 };

static const struct http_limits limits = {
    .request_line_bytes = 200, .header_bytes = 800, .headers = 12, .body_bytes = 600};

/* ---- Pieces of text ---- */

static void check_path(struct span path)
{
    FUZZ_CHECK(path.len > 0 && path.ptr[0] == '/');
    for (size_t i = 0; i < path.len; i++) {
        unsigned char byte = (unsigned char)path.ptr[i];
        FUZZ_CHECK(byte >= 0x20 && byte != 0x7f);
        if (byte != '/') {
            continue;
        }
        struct span rest = {path.ptr + i + 1, path.len - i - 1};
        const char *end = rest.len == 0 ? NULL : memchr(rest.ptr, '/', rest.len);
        struct span segment = {rest.ptr, end == NULL ? rest.len : (size_t)(end - rest.ptr)};
        FUZZ_CHECK(end == NULL || segment.len > 0);
        FUZZ_CHECK(!span_equal(segment, SPAN(".")) && !span_equal(segment, SPAN("..")));
    }
}

/* Encoded and normalised again, a path is the same. */
static void check_encoding(struct span path)
{
    struct buffer encoded = {0};
    struct span again;
    uri_encode_path(&encoded, path);
    for (size_t i = 0; i < encoded.len; i++) {
        FUZZ_CHECK(encoded.data[i] > 0x20 && encoded.data[i] < 0x7f);
        FUZZ_CHECK(strchr("\"'<>&\\?#:", encoded.data[i]) == NULL);
    }
    char *out = malloc(encoded.len + 1);
    FUZZ_CHECK(out != NULL);
    FUZZ_CHECK(uri_normalize_path((struct span){encoded.data, encoded.len}, out, &again) == URI_OK);
    FUZZ_CHECK(span_equal(path, again));
    free(out);
    buffer_free(&encoded);
}

static void try_path(struct span raw)
{
    struct span path = {NULL, 0};
    char *out = malloc(raw.len + 1);
    FUZZ_CHECK(out != NULL);
    bool is_plain = uri_path_is_plain(raw);
    enum uri_result result = uri_normalize_path(raw, out, &path);
    FUZZ_CHECK(!is_plain || (result == URI_OK && span_equal(path, raw)));
    if (result == URI_OK) {
        FUZZ_CHECK(path.ptr >= out && path.ptr + path.len <= out + raw.len);
        FUZZ_CHECK(path.ptr[path.len] == '\0');
        check_path(path);
        check_encoding(path);
        FUZZ_CHECK(!is_plain || !uri_path_is_hidden(path));
        FUZZ_CHECK(strlen(mime_type_of(path)) > 0);
    }
    free(out);
}

/* A query is a URI's once it is encoded, and then stays as it is. */
static void check_query(struct span query)
{
    struct buffer once = {0}, twice = {0};
    uri_encode_query(&once, query);
    for (size_t i = 0; i < once.len; i++) {
        FUZZ_CHECK(once.data[i] > 0x20 && once.data[i] < 0x7f);
    }
    uri_encode_query(&twice, (struct span){once.data, once.len});
    FUZZ_CHECK(
        span_equal((struct span){once.data, once.len}, (struct span){twice.data, twice.len}));
    buffer_free(&once);
    buffer_free(&twice);
}

static bool is_inside(struct span part, struct span whole)
{
    return part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len;
}

/* Only for the bytes that the head lets through. */
static void try_target(struct span target)
{
    struct uri uri;
    for (size_t i = 0; i < target.len; i++) {
        unsigned char byte = (unsigned char)target.ptr[i];
        if (byte <= 0x20 || byte == 0x7f) {
            return;
        }
    }
    if (uri_split(target, &uri) != URI_OK) {
        return;
    }
    FUZZ_CHECK(uri.path.len > 0 && uri.path.ptr[0] == '/');
    FUZZ_CHECK(is_inside(uri.path, target) || span_equal(uri.path, SPAN("/")));
    FUZZ_CHECK(uri.authority.ptr == NULL ||
               (uri.authority.len > 0 && is_inside(uri.authority, target)));
    FUZZ_CHECK(!uri.has_query || is_inside(uri.query, target));
    try_path(uri.path);
    check_query(uri.query);
    struct span value = {NULL, 0};
    uint64_t number = 7;
    if (uri_query_param(uri.query, "a", &value)) {
        FUZZ_CHECK(is_inside(value, uri.query));
    }
    if (uri_query_uint(uri.query, "a", 3, 1000, &number)) {
        FUZZ_CHECK(number <= 1000);
    } else {
        FUZZ_CHECK(number == 7);
    }
}

static void try_range(struct span text, uint64_t size_bytes)
{
    size_t count = 99;
    uint64_t sum = 0;
    struct byte_range *ranges = malloc(MAX_RANGES * sizeof(*ranges));
    FUZZ_CHECK(ranges != NULL);
    enum range_result result = range_parse(text, size_bytes, ranges, MAX_RANGES, &count);
    FUZZ_CHECK((result == RANGE_SATISFIABLE) == (count > 0) && count <= MAX_RANGES);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(ranges[i].first <= ranges[i].last && ranges[i].last < size_bytes);
        sum += ranges[i].last - ranges[i].first + 1;
        FUZZ_CHECK(sum <= size_bytes);
    }
    free(ranges);
}

static void try_date(struct span text)
{
    char rendered[HTTP_DATE_BYTES];
    int64_t date = -7, again = -9;
    if (!http_date_parse(text, NOW, &date)) {
        FUZZ_CHECK(date == -7);
        return;
    }
    http_date_format(date, rendered);
    FUZZ_CHECK(strlen(rendered) == HTTP_DATE_BYTES - 1);
    FUZZ_CHECK(http_date_parse(span_of(rendered), NOW, &again) && again == date);
}

static void try_coding(struct span text)
{
    for (unsigned available = 0; available < 1u << CODINGS; available++) {
        enum content_coding coding = content_coding_choose(text, available);
        FUZZ_CHECK(coding == CODING_IDENTITY || (available & CODING_BIT(coding)) != 0);
    }
}

static void try_conditional(const struct conditional *conditional)
{
    static const char *const tags[] = {NULL, "\"a\"", "W/\"a\"", "\"\""};
    bool has_none = conditional->if_match.ptr == NULL && conditional->if_none_match.ptr == NULL &&
                    conditional->if_modified_since.ptr == NULL &&
                    conditional->if_unmodified_since.ptr == NULL;
    for (unsigned i = 0; i < 16; i++) {
        const char *tag = tags[i % 4];
        struct validators validators = {
            .etag = tag == NULL ? (struct span){NULL, 0} : span_of(tag),
            .last_modified = i & 4 ? 784111777 : CONDITIONAL_NO_DATE,
            .exists = (i & 8) != 0,
        };
        enum conditional_result get = conditional_evaluate(conditional, &validators, true, NOW);
        enum conditional_result other = conditional_evaluate(conditional, &validators, false, NOW);
        FUZZ_CHECK(other != CONDITIONAL_NOT_MODIFIED);
        FUZZ_CHECK(!has_none || (get == CONDITIONAL_PROCEED && other == CONDITIONAL_PROCEED));
        bool holds = conditional_if_range_holds(conditional->if_range, &validators, NOW);
        FUZZ_CHECK(holds || conditional->if_range.ptr != NULL);
        if (holds && conditional->if_range.ptr != NULL) { /* by tag or by date, never by nothing */
            FUZZ_CHECK((tag != NULL && tag[0] == '"') || (i & 4));
        }
    }
}

/* Every reader on any text, whatever the parser would have let through. */
static void try_readers(struct span text)
{
    char *copy = fuzz_copy(text);
    struct span exact = {copy, text.len};
    try_path(exact);
    try_target(exact);
    try_range(exact, 0);
    try_range(exact, 1000);
    try_range(exact, UINT64_MAX);
    try_date(exact);
    try_coding(exact);
    try_conditional(&(struct conditional){.if_match = exact, .if_range = exact});
    try_conditional(&(struct conditional){.if_none_match = exact});
    try_conditional(&(struct conditional){.if_modified_since = exact});
    try_conditional(&(struct conditional){.if_unmodified_since = exact});
    http_head_is_host(exact);
    free(copy);
}

static void try_lines(struct span text)
{
    for (unsigned i = 0; i < MAX_LINES && text.len > 0; i++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.ptr);
        try_readers((struct span){text.ptr, len});
        size_t used = end == NULL ? len : len + 1;
        text = (struct span){text.ptr + used, text.len - used};
    }
}

/* ---- Requests ---- */

/* What became of one message. */
struct outcome {
    enum http_parse_result result;
    unsigned status;
    size_t used; /* bytes of the message that need not be given again */
    bool has_head;
    size_t head_bytes;
    bool has_body;
};

/* Feeds what has come up to now, as a connection does. True: it wants more. */
static bool feed(struct http_exchange *exchange, struct outcome *outcome, const char *message,
                 size_t bytes)
{
    struct http_request *request = &exchange->request;
    char *copy = fuzz_copy((struct span){message + outcome->used, bytes - outcome->used});
    size_t left = bytes - outcome->used, skipped = 0;
    if (!outcome->has_head) {
        outcome->result = http_parser_feed_head(exchange->parser, request, copy, left);
        if (outcome->result == HTTP_PARSE_HEAD) {
            outcome->has_head = true;
            outcome->has_body = request->has_body;
            outcome->head_bytes = outcome->used = skipped = request->head_bytes;
            FUZZ_CHECK(request->head_bytes > 0 && request->head_bytes <= left);
            request->head = message;
            request->body_wanted = true;
            outcome->result = request->has_body ? HTTP_PARSE_MORE : HTTP_PARSE_DONE;
        }
    }
    if (outcome->has_head && outcome->result == HTTP_PARSE_MORE && left > skipped) {
        size_t used = SIZE_MAX;
        outcome->result =
            http_parser_feed_body(exchange->parser, request, copy + skipped, left - skipped, &used);
        FUZZ_CHECK(used <= left - skipped);
        outcome->used += used;
    }
    if (outcome->result == HTTP_PARSE_REFUSED) {
        struct http_refusal refusal = http_parser_refusal(exchange->parser);
        FUZZ_CHECK(refusal.status >= 400 && refusal.status <= 505 && refusal.reason != NULL);
        outcome->status = refusal.status;
    }
    free(copy);
    return outcome->result == HTTP_PARSE_MORE;
}

static struct outcome feed_whole(struct http_exchange *exchange, struct span text)
{
    struct outcome outcome = {.result = HTTP_PARSE_MORE};
    feed(exchange, &outcome, text.ptr, text.len);
    return outcome;
}

static struct outcome feed_pieces(struct http_exchange *exchange, struct span text,
                                  struct span sizes)
{
    struct outcome outcome = {.result = HTTP_PARSE_MORE};
    size_t end = 0;
    for (size_t i = 0; end < text.len; i++) {
        size_t piece = 1;
        if (sizes.len > 0) {
            piece += (unsigned char)(sizes.ptr[i % sizes.len] - '0');
        }
        end = piece < text.len - end ? end + piece : text.len;
        if (!feed(exchange, &outcome, text.ptr, end)) {
            break;
        }
    }
    return outcome;
}

static void check_part(const struct http_request *request, struct http_part part)
{
    FUZZ_CHECK((size_t)part.offset + part.len <= request->head_bytes);
}

static void check_same_part(struct http_part a, struct http_part b)
{
    FUZZ_CHECK(a.offset == b.offset && a.len == b.len);
}

static void check_same_head(const struct http_request *a, const struct http_request *b)
{
    FUZZ_CHECK(a->method == b->method && a->minor_version == b->minor_version);
    FUZZ_CHECK(a->keep_alive == b->keep_alive && a->field_count == b->field_count);
    check_same_part(a->line, b->line);
    check_same_part(a->target, b->target);
    check_part(a, a->line);
    check_part(a, a->method_name);
    check_part(a, a->target);
    for (size_t i = 0; i < HTTP_FIELD_IDS; i++) {
        FUZZ_CHECK(a->field_occurrences[i] == b->field_occurrences[i]);
        if (a->field_occurrences[i] > 0) {
            check_same_part(a->fields[i], b->fields[i]);
            check_part(a, a->fields[i]);
        }
    }
}

static void check_same(const struct http_exchange *whole, const struct outcome *a,
                       const struct http_exchange *pieces, const struct outcome *b)
{
    FUZZ_CHECK(a->result == b->result && a->status == b->status);
    FUZZ_CHECK(a->has_head == b->has_head);
    if (a->has_head) {
        FUZZ_CHECK(a->head_bytes == b->head_bytes && a->has_body == b->has_body);
        check_same_head(&whole->request, &pieces->request);
    }
    if (a->result == HTTP_PARSE_DONE) {
        const struct buffer *body = &whole->request.body, *other = &pieces->request.body;
        FUZZ_CHECK(a->used == b->used);
        FUZZ_CHECK(whole->request.body_bytes <= limits.body_bytes);
        FUZZ_CHECK(whole->request.body_bytes == body->len);
        FUZZ_CHECK(span_equal((struct span){body->data, body->len},
                              (struct span){other->data, other->len}));
    }
}

/* ---- What is done with a request ---- */

static void stub(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)request;
    (void)response;
    (void)context;
    (void)data;
}

static const struct router *routes(void)
{
    static struct router *router;
    if (router == NULL) {
        unsigned get = METHOD_BIT(METHOD_GET), post = METHOD_BIT(METHOD_POST);
        router = router_create();
        router_add(router, &(struct route){.methods = get, .handler = stub});
        router_add(router, &(struct route){.path = "/a", .methods = get, .handler = stub});
        router_add(
            router,
            &(struct route){.path = "/echo", .methods = post, .wants_body = true, .handler = stub});
    }
    return router;
}

static void check_response(const struct http_exchange *exchange)
{
    struct buffer out = {0};
    FUZZ_CHECK(!http_response_render(&exchange->response, &exchange->request,
                                     SPAN("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), &out));
    FUZZ_CHECK(out.len > 15 && memcmp(out.data, "HTTP/1.1 ", 9) == 0);
    FUZZ_CHECK(memmem(out.data, out.len, "\r\n\r\n", 4) != NULL);
    buffer_free(&out);
}

static void try_route(struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    struct span target = http_request_text(request, request->target);
    http_exchange_route(exchange, routes());
    if (exchange->route == NULL) {
        unsigned status = exchange->response.status;
        FUZZ_CHECK(status == 400 || status == 404 || status == 405 || status == 204 ||
                   status == 501);
        check_response(exchange);
        return;
    }
    FUZZ_CHECK(target.len > 0);
    check_path(request->path);
    FUZZ_CHECK(!uri_path_is_hidden(request->path));
    FUZZ_CHECK(route_allows(exchange->route, request->method));
}

static void try_fields(const struct http_request *request)
{
    struct arena arena = {0};
    struct conditional conditional = {
        .if_match = http_head_field_list(request, HTTP_FIELD_IF_MATCH, &arena),
        .if_none_match = http_head_field_list(request, HTTP_FIELD_IF_NONE_MATCH, &arena),
        .if_modified_since = http_request_field(request, HTTP_FIELD_IF_MODIFIED_SINCE),
        .if_unmodified_since = http_request_field(request, HTTP_FIELD_IF_UNMODIFIED_SINCE),
        .if_range = http_request_field(request, HTTP_FIELD_IF_RANGE),
    };
    try_conditional(&conditional);
    try_range(http_request_field(request, HTTP_FIELD_RANGE), 1000);
    try_coding(http_head_field_list(request, HTTP_FIELD_ACCEPT_ENCODING, &arena));
    arena_free(&arena);
}

/* All requests in the text, one behind the other. */
static void try_requests(struct span text, struct span sizes)
{
    struct http_exchange *whole = http_exchange_create(&limits);
    struct http_exchange *pieces = http_exchange_create(&limits);
    for (unsigned i = 0; i < MAX_REQUESTS && text.len > 0; i++) {
        struct outcome a = feed_whole(whole, text);
        struct outcome b = feed_pieces(pieces, text, sizes);
        check_same(whole, &a, pieces, &b);
        if (a.has_head) {
            try_fields(&whole->request);
            try_route(whole);
        }
        if (a.result != HTTP_PARSE_DONE) {
            break;
        }
        FUZZ_CHECK(a.used > 0);
        text = (struct span){text.ptr + a.used, text.len - a.used};
        http_exchange_reset(whole);
        http_exchange_reset(pieces);
    }
    http_exchange_destroy(whole);
    http_exchange_destroy(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span sizes, text;
    fuzz_split(data, size, &sizes, &text);
    try_requests(text, sizes);
    try_lines(text);
    return 0;
}
