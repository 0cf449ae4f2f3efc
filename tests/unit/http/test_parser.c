#include "common/http/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { BODY_LIMIT_BYTES = 40, LARGE_BODY_BYTES = 100000, FRAMING_BYTES = 16384 };

static struct http_limits limits;
static struct http_parser *parser;
static struct http_request request;

/* What became of a message: like a connection, with the head kept and the body fed on. */
struct outcome {
    enum http_parse_result result;
    size_t used; /* bytes of the message */
    unsigned status;
    const char *reason;
};

static int make(void **state)
{
    (void)state;
    limits = (struct http_limits){.request_line_bytes = 8192,
                                  .header_bytes = 32768,
                                  .headers = 100,
                                  .body_bytes = BODY_LIMIT_BYTES};
    parser = http_parser_create(&limits);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    http_parser_destroy(parser);
    http_request_free(&request);
    request = (struct http_request){0};
    return 0;
}

static void begin(void)
{
    http_parser_reset(parser);
    http_request_reset(&request);
    request.body_wanted = true;
}

/* In memory of exactly that size. */
static enum http_parse_result feed_head(const char *text, size_t bytes)
{
    char *exact = malloc(bytes + 1);
    memmove(exact + 1, text, bytes);
    enum http_parse_result result = http_parser_feed_head(parser, &request, exact + 1, bytes);
    request.head = text;
    free(exact);
    return result;
}

static enum http_parse_result feed_body(const char *text, size_t bytes, size_t *used)
{
    char *exact = malloc(bytes + 1);
    memcpy(exact + 1, text, bytes);
    enum http_parse_result result = http_parser_feed_body(parser, &request, exact + 1, bytes, used);
    assert_in_range(*used, 0, bytes);
    free(exact);
    return result;
}

/* One more piece, up to the byte at end. True: it wants more. */
static bool go_on(struct outcome *outcome, const char *text, size_t end)
{
    bool in_head = outcome->used == 0;
    if (in_head) {
        outcome->result = feed_head(text, end);
        if (outcome->result == HTTP_PARSE_HEAD) {
            outcome->used = request.head_bytes;
            outcome->result = request.has_body ? HTTP_PARSE_MORE : HTTP_PARSE_DONE;
        }
    }
    if (outcome->result == HTTP_PARSE_MORE && outcome->used > 0 && outcome->used < end) {
        size_t used = 0;
        outcome->result = feed_body(text + outcome->used, end - outcome->used, &used);
        outcome->used += used;
    }
    if (outcome->result == HTTP_PARSE_REFUSED) {
        outcome->status = http_parser_refusal(parser).status;
        outcome->reason = http_parser_refusal(parser).reason;
    }
    return outcome->result == HTTP_PARSE_MORE;
}

/* In pieces that end at first, first + step, ... */
static struct outcome parse_pieces(const char *text, size_t bytes, size_t first, size_t step)
{
    struct outcome outcome = {0};
    size_t end = first < bytes ? first : bytes;
    begin();
    while (go_on(&outcome, text, end) && end < bytes) {
        end = end + step < bytes ? end + step : bytes;
    }
    return outcome;
}

static struct outcome parse(const char *text)
{
    return parse_pieces(text, strlen(text), SIZE_MAX, 1);
}

#define POST    "POST /echo HTTP/1.1\r\nHost: test\r\n"
#define LENGTH  POST "Content-Length: "
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define NEXT    "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"

/* Complete messages, each followed by bytes that belong to another one. */
static const struct message {
    const char *text;
    const char *body; /* NULL: no body follows */
} messages[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NULL},
    {"\r\nGET / HTTP/1.0\r\n\r\n", NULL},
    {"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", NULL},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", NULL},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", NULL},
    {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", NULL},
    {POST "\r\n", NULL},
    {LENGTH "0\r\n\r\n", NULL},
    {LENGTH "5\r\n\r\nhello", "hello"},
    {LENGTH "00005\r\n\r\nhello", "hello"},
    {LENGTH "4\r\n\r\n\r\n\r\n", "\r\n\r\n"},
    {LENGTH "4\r\nExpect: 100-continue\r\n\r\nbody", "body"},
    {LENGTH "3\r\nConnection: close\r\n\r\nabc", "abc"},
    {LENGTH "3\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc", "abc"},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", "ab"},
    {"PUT / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", "ab"},
    {CHUNKED "0\r\n\r\n", ""},
    {CHUNKED "5\r\nhello\r\n0\r\n\r\n", "hello"},
    {CHUNKED "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "abcdef"},
    {CHUNKED "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
    {CHUNKED "a\r\n\r\n0\r\n\r\n45\r\r\n0\r\n\r\n", "\r\n0\r\n\r\n45\r"},
    {CHUNKED "0005\r\nhello\r\n000\r\n\r\n", "hello"},
    {CHUNKED "2;name\r\nab\r\n0;last=\"x\"\r\n\r\n", "ab"},
    {CHUNKED "5;a;b=c;d\r\nhello\r\n0;e;f\r\n\r\n", "hello"},
    {CHUNKED "5 \t; a = \"\\\"\\\\;\"\t;b\r\nhello\r\n0\r\n\r\n", "hello"},
    {POST "Transfer-Encoding:\tchunked\t\r\n\r\n0\r\n\r\n", ""},
    {LENGTH "2\t \r\n\r\nab", "ab"},
    {"POST / HTTP/1.3\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", "ab"},
    {"GET /\xc3\xa4?\xff HTTP/1.1\r\nHost: a\r\n\r\n", NULL},
    {"GET http://a/\x80\xfe HTTP/1.0\r\n\r\n", NULL},
    {"POST /\xe2\x82\xac HTTP/1.1\r\nHost: a\r\nContent-Length:\t2\r\n\r\nab", "ab"},
    {CHUNKED "2\r\nab\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n", "ab"},
    {CHUNKED "0\r\nContent-Length: 5\r\nHost: other\r\n\r\n", ""},
};
enum { MESSAGES = sizeof(messages) / sizeof(messages[0]) };

static void assert_complete(const struct message *message, struct outcome outcome, size_t first)
{
    size_t body_bytes = message->body == NULL ? 0 : strlen(message->body);
    if (outcome.result != HTTP_PARSE_DONE || outcome.used != strlen(message->text) ||
        request.has_body != (message->body != NULL) || request.body_bytes != body_bytes ||
        request.body.len != body_bytes ||
        (body_bytes > 0 && memcmp(request.body.data, message->body, body_bytes) != 0)) {
        fail_msg("message %d cut at %zu: result %d, used %zu of %zu, body \"%.*s\", %u %s",
                 (int)(message - messages), first, outcome.result, outcome.used,
                 strlen(message->text), (int)request.body.len, request.body.data, outcome.status,
                 outcome.reason);
    }
}

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < MESSAGES; i++) {
        struct outcome outcome = parse(messages[i].text);
        assert_complete(&messages[i], outcome, 0);
    }
}

/* In every two pieces and byte by byte; what follows the message is left alone. */
static void test_messages_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < MESSAGES; i++) {
        char text[512];
        size_t own = strlen(messages[i].text);
        size_t bytes = (size_t)snprintf(text, sizeof(text), "%s" NEXT, messages[i].text);
        for (size_t first = 1; first <= bytes; first++) {
            assert_complete(&messages[i], parse_pieces(text, bytes, first, bytes), first);
        }
        for (size_t step = 1; step <= 3; step++) {
            assert_complete(&messages[i], parse_pieces(text, bytes, step, step), step);
        }
        for (size_t first = 1; first < own; first++) { /* the start of a message is not its end */
            assert_int_equal(parse_pieces(text, first, first, 1).result, HTTP_PARSE_MORE);
        }
    }
}

static void test_one_after_another(void **state)
{
    (void)state;
    struct buffer all = {0};
    for (size_t i = 0; i < MESSAGES; i++) {
        buffer_append_span(&all, span_of(messages[i].text));
    }
    size_t at = 0;
    for (size_t i = 0; i < MESSAGES; i++) {
        struct outcome outcome = parse_pieces(all.data + at, all.len - at, SIZE_MAX, 1);
        assert_complete(&messages[i], outcome, 0);
        at += outcome.used;
    }
    assert_int_equal(at, all.len);
    buffer_free(&all);
}

static void test_head_before_body(void **state)
{
    (void)state;
    const char *text = LENGTH "5\r\n\r\nhello";
    begin();
    assert_int_equal(feed_head(text, strlen(text)), HTTP_PARSE_HEAD);
    assert_int_equal(request.head_bytes, strlen(text) - 5);
    assert_true(request.has_body);
    assert_true(request.keep_alive);
    assert_int_equal(request.method, METHOD_POST);
    assert_int_equal(request.body_bytes, 0);
}

static void test_body_that_is_not_wanted(void **state)
{
    (void)state;
    const char *text = LENGTH "5\r\n\r\nhello";
    size_t used;
    begin();
    assert_int_equal(feed_head(text, strlen(text) - 5), HTTP_PARSE_HEAD);
    request.body_wanted = false;
    assert_int_equal(feed_body("hello", 5, &used), HTTP_PARSE_DONE);
    assert_int_equal(request.body_bytes, 5);
    assert_int_equal(request.body.len, 0);
}

/* Whatever state the last request left. */
static void test_reset(void **state)
{
    (void)state;
    static const char *const left[] = {"GET",
                                       "GET / HT\x01TP\r\n\r\n",
                                       "\x01",
                                       LENGTH "5\r\n\r\nhe",
                                       CHUNKED "zz\r\n",
                                       CHUNKED "2\r\na",
                                       LENGTH "41\r\n\r\n"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        parse(left[i]);
        http_parser_reset(parser);
        assert_int_equal(http_parser_refusal(parser).status, 0);
        struct outcome outcome = parse(messages[8].text);
        assert_complete(&messages[8], outcome, 0);
        assert_int_equal(http_parser_refusal(parser).status, 0);
    }
}

#define FORTY "0123456789012345678901234567890123456789"

/* The status is the same wherever the message is cut; the reason of a chunk error is the library's.
 */
struct refused {
    const char *text;
    unsigned status;
};

static void assert_refused(const struct refused *refused, size_t count)
{
    unsigned wrong = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = strlen(refused[i].text);
        for (size_t first = 1; first <= bytes; first++) {
            struct outcome outcome = parse_pieces(refused[i].text, bytes, first, bytes);
            if (outcome.result != HTTP_PARSE_REFUSED || outcome.status != refused[i].status ||
                outcome.reason == NULL) {
                print_error("message %zu cut at %zu: result %d, %u\n", i, first, outcome.result,
                            outcome.status);
                wrong++;
                break;
            }
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct refused refused[] = {
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405},
        {POST "Transfer-Encoding: gzip\r\n\r\n", 400},
        {POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {POST "Expect: x\r\n\r\n", 417},
        {LENGTH "41\r\n\r\n", 413},
        {LENGTH "18446744073709551615\r\n\r\n", 413},
        {LENGTH "18446744073709551616\r\n\r\n", 400},
        {LENGTH "18446744073709551617\r\n\r\na", 400},
        {LENGTH "99999999999999999999\r\n\r\n", 400},
        {CHUNKED "29\r\n" FORTY "0\r\n0\r\n\r\n", 413},
        {CHUNKED "28\r\n" FORTY "\r\n1\r\n0\r\n0\r\n\r\n", 413},
        {CHUNKED "g\r\n", 400},
        {CHUNKED "-1\r\n", 400},
        {CHUNKED "+1\r\n", 400},
        {CHUNKED "0x1\r\nx\r\n0\r\n\r\n", 400},
        {CHUNKED "\r\nx\r\n0\r\n\r\n", 400},
        {CHUNKED " 1\r\nx\r\n0\r\n\r\n", 400},
        {CHUNKED "1 \r\nx\r\n0\r\n\r\n", 400},
        {CHUNKED "1\t\r\nx\r\n0\r\n\r\n", 400},
        {CHUNKED "1\nx\r\n0\r\n\r\n", 400},
        {CHUNKED "1\rx\r\n0\r\n\r\n", 400},
        {CHUNKED "1;a\nb\r\nx\r\n0\r\n\r\n", 400},
        {CHUNKED "1;a\rb\r\nx\r\n0\r\n\r\n", 400},
        {CHUNKED "1\r\nxx\r\n0\r\n\r\n", 400},
        {CHUNKED "1\r\nx\n0\r\n\r\n", 400},
        {CHUNKED "1\r\nx\r0\r\n\r\n", 400},
        {CHUNKED "1\r\nx0\r\n\r\n", 400},
        {CHUNKED "fffffffffffffffff\r\nx", 400},
        {CHUNKED "10000000000000000\r\nx", 400},
        {CHUNKED "10000000000000001\r\nx\r\n0\r\n\r\n", 400},
    };
    assert_refused(refused, sizeof(refused) / sizeof(refused[0]));
}

/* Where the message ends may not depend on how lenient a version of the library is: a line that
 * two parties read differently is what request smuggling needs. */
static void test_malformed_trailers(void **state)
{
    (void)state;
    static const struct refused refused[] = {
        {CHUNKED "0\r\nno colon\r\n\r\n", 400},
        {CHUNKED "0\r\nA: b\nC: d\r\n\r\n", 400},
        {CHUNKED "0\r\nA: b\r\n\n", 400},
        {CHUNKED "0\r\n\rX\r\n\r\n", 400},
        {CHUNKED "0\r\n: x\r\n\r\n", 400},
        {CHUNKED "0\r\nA : x\r\n\r\n", 400},
        {CHUNKED "0\r\nA: b\rC: d\r\n\r\n", 400},
        {CHUNKED "0\r\n\n", 400},
        {CHUNKED "0\r\n\rXGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {CHUNKED "0\r\nA: b\r\n\rXGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {CHUNKED "0\r\nA: b\r\n folded\r\n\r\n", 400},
        {CHUNKED "0\r\nA: \x01\r\n\r\n", 400},
    };
    assert_refused(refused, sizeof(refused) / sizeof(refused[0]));
}

static void test_body_at_the_limit(void **state)
{
    (void)state;
    assert_int_equal(parse(LENGTH "40\r\n\r\n" FORTY).result, HTTP_PARSE_DONE);
    assert_int_equal(request.body.len, 40);
    assert_int_equal(parse(CHUNKED "28\r\n" FORTY "\r\n0\r\n\r\n").result, HTTP_PARSE_DONE);
    assert_int_equal(request.body.len, 40);
    limits.body_bytes = 0;
    assert_int_equal(parse(LENGTH "0\r\n\r\n").result, HTTP_PARSE_DONE);
    assert_int_equal(parse(CHUNKED "0\r\n\r\n").result, HTTP_PARSE_DONE);
    assert_int_equal(parse(LENGTH "1\r\n\r\n").status, 413);
    assert_int_equal(parse(CHUNKED "1\r\na").status, 413);
}

/* A body too large is refused by its announcement, before a byte of it has come. */
static void test_too_large_is_known_early(void **state)
{
    (void)state;
    struct outcome outcome = parse(LENGTH "41\r\n\r\n");
    assert_int_equal(outcome.status, 413);
    assert_string_equal(outcome.reason, "body too large");
    outcome = parse(CHUNKED "28\r\n" FORTY "\r\n100\r\nx");
    assert_int_equal(outcome.status, 413);
    assert_string_equal(outcome.reason, "body too large");
}

/* However the bytes arrive: what comes behind the line does not make up for it. */
static void test_framing_limit_does_not_depend_on_cuts(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_append_span(&text, SPAN(CHUNKED "28;"));
    for (size_t i = 0; i < FRAMING_BYTES; i++) {
        buffer_append(&text, "x", 1);
    }
    buffer_append_span(&text, SPAN("\r\n" FORTY "\r\n"));
    for (size_t step = 1; step <= text.len; step = step * 3) {
        struct outcome outcome = parse_pieces(text.data, text.len, step, step);
        assert_int_equal(outcome.status, 400);
        assert_string_equal(outcome.reason, "chunk framing too large");
    }
    buffer_free(&text);
}

/* Feeds filler into an open chunk size or extension; returns how many bytes were taken. */
static size_t feed_filler(const char *opening, const char *filler)
{
    size_t taken = 0, used;
    parse(opening);
    while (taken < 4 * FRAMING_BYTES) {
        if (feed_body(filler, strlen(filler), &used) != HTTP_PARSE_MORE) {
            assert_int_equal(http_parser_refusal(parser).status, 400);
            assert_string_equal(http_parser_refusal(parser).reason, "chunk framing too large");
            return taken;
        }
        taken += used;
    }
    return taken;
}

static void test_framing_is_limited(void **state)
{
    (void)state;
    const size_t few = 64;
    size_t taken = feed_filler(CHUNKED "1;", "extension-extension-");
    assert_in_range(taken, FRAMING_BYTES - few, FRAMING_BYTES);
    taken = feed_filler(CHUNKED "000", "000000");
    assert_in_range(taken, FRAMING_BYTES - few, FRAMING_BYTES);
}

/* The trailer section is bounded like header fields, however it arrives. */
static void assert_trailers(const char *text, unsigned status)
{
    size_t bytes = strlen(text);
    for (size_t step = 1; step <= bytes; step++) {
        struct outcome outcome = parse_pieces(text, bytes, step, step);
        if (outcome.status != status ||
            outcome.result != (status == 0 ? HTTP_PARSE_DONE : HTTP_PARSE_REFUSED)) {
            fail_msg("in pieces of %zu bytes: %u, not %u", step, outcome.status, status);
        }
    }
}

static void test_trailers_are_limited(void **state)
{
    (void)state;
    limits.headers = 3;
    assert_trailers(CHUNKED "0\r\nA: b\r\nC: d\r\nE: f\r\n\r\n", 0);
    assert_trailers(CHUNKED "0\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\n\r\n", 431);
    limits.header_bytes = strlen(CHUNKED);
    char trailer[256], text[512];
    memset(trailer, 't', sizeof(trailer));
    size_t most = limits.header_bytes - strlen("A: \r\n\r\n");
    snprintf(text, sizeof(text), CHUNKED "0\r\nA: %.*s\r\n\r\n", (int)most, trailer);
    assert_trailers(text, 0);
    snprintf(text, sizeof(text), CHUNKED "0\r\nA: %.*s\r\n\r\n", (int)most + 1, trailer);
    assert_trailers(text, 431);
}

/* Chunks of one byte cost five bytes of framing each: that is allowed for any number of them. */
static void test_small_chunks_are_allowed(void **state)
{
    (void)state;
    static const char chunk[] = "1\r\nx\r\n";
    limits.body_bytes = LARGE_BODY_BYTES;
    parse(CHUNKED);
    for (int i = 0; i < LARGE_BODY_BYTES; i++) {
        size_t used;
        assert_int_equal(feed_body(chunk, sizeof(chunk) - 1, &used), HTTP_PARSE_MORE);
    }
    assert_int_equal(request.body.len, LARGE_BODY_BYTES);
    size_t used;
    assert_int_equal(feed_body("0\r\n\r\n", 5, &used), HTTP_PARSE_DONE);
}

/* ... and padding in each of them is not. */
static void test_padded_chunks_are_refused(void **state)
{
    (void)state;
    static const char chunk[] = "1;01234567890123456789\r\nx\r\n";
    size_t used;
    limits.body_bytes = LARGE_BODY_BYTES;
    parse(CHUNKED);
    int chunks = 0;
    while (chunks < LARGE_BODY_BYTES &&
           feed_body(chunk, sizeof(chunk) - 1, &used) == HTTP_PARSE_MORE) {
        chunks++;
    }
    assert_in_range(chunks, 500, 2000);
    assert_string_equal(http_parser_refusal(parser).reason, "chunk framing too large");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_messages),
        TEST(test_messages_cut_anywhere),
        TEST(test_one_after_another),
        TEST(test_head_before_body),
        TEST(test_body_that_is_not_wanted),
        TEST(test_reset),
        TEST(test_refused),
        TEST(test_malformed_trailers),
        TEST(test_body_at_the_limit),
        TEST(test_too_large_is_known_early),
        TEST(test_framing_is_limited),
        TEST(test_framing_limit_does_not_depend_on_cuts),
        TEST(test_trailers_are_limited),
        TEST(test_small_chunks_are_allowed),
        TEST(test_padded_chunks_are_refused),
    };
    return cmocka_run_group_tests_name("parser", tests, NULL, NULL);
}
