#include "common/http/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static const struct http_limits generous = {
    .request_line_bytes = 8192, .header_bytes = 32768, .headers = 100, .body_bytes = 1000};

/* What became of a head. */
struct outcome {
    enum http_head_result result;
    struct http_refusal refusal;
    struct http_request request;
};

/* Shows the scan the first bytes, in memory of exactly that size. True: it wants more. */
static bool show(struct http_head *head, const char *text, size_t bytes,
                 const struct http_limits *limits, struct outcome *outcome)
{
    char *exact = malloc(bytes > 0 ? bytes : 1);
    memcpy(exact, text, bytes);
    outcome->result =
        http_head_scan(head, exact, bytes, limits, &outcome->request, &outcome->refusal);
    if (outcome->result == HTTP_HEAD_DONE) {
        outcome->refusal = http_head_check(&outcome->request);
        arena_free(&outcome->request.arena); /* nothing in the outcome lies there */
        outcome->request.head = text;
        outcome->result = outcome->refusal.status != 0 ? HTTP_HEAD_REFUSED : HTTP_HEAD_DONE;
    }
    free(exact);
    return outcome->result == HTTP_HEAD_MORE;
}

/* In two pieces; cut 0: in one. */
static struct outcome scan_cut(const char *text, size_t bytes, size_t cut,
                               const struct http_limits *limits)
{
    struct http_head head = {0};
    struct outcome outcome = {0};
    if (cut == 0 || show(&head, text, cut, limits, &outcome)) {
        show(&head, text, bytes, limits, &outcome);
    }
    return outcome;
}

static struct outcome scan_bytewise(const char *text, size_t bytes,
                                    const struct http_limits *limits)
{
    struct http_head head = {0};
    struct outcome outcome = {0};
    for (size_t i = 1; i <= bytes && show(&head, text, i, limits, &outcome); i++) {
    }
    return outcome;
}

static struct outcome scan(const char *text)
{
    return scan_cut(text, strlen(text), 0, &generous);
}

static void assert_same_part(struct http_part a, struct http_part b)
{
    assert_int_equal(a.offset, b.offset);
    assert_int_equal(a.len, b.len);
}

/* Also of the pieces found. */
static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->result, b->result);
    assert_int_equal(a->refusal.status, b->refusal.status);
    if (a->result == HTTP_HEAD_DONE) {
        assert_int_equal(a->request.head_bytes, b->request.head_bytes);
        assert_int_equal(a->request.method, b->request.method);
        assert_int_equal(a->request.minor_version, b->request.minor_version);
        assert_int_equal(a->request.keep_alive, b->request.keep_alive);
        assert_int_equal(a->request.field_count, b->request.field_count);
        assert_same_part(a->request.line, b->request.line);
        assert_same_part(a->request.target, b->request.target);
        assert_same_part(a->request.method_name, b->request.method_name);
        for (int id = 0; id < HTTP_FIELD_IDS; id++) {
            assert_int_equal(a->request.field_occurrences[id], b->request.field_occurrences[id]);
            assert_same_part(a->request.fields[id], b->request.fields[id]);
        }
    }
}

#define TEXT(literal) literal, sizeof(literal) - 1
#define GET           "GET / HTTP/1.1\r\n"
#define HOST          "Host: test\r\n"
#define FIELD(fields) TEXT(GET HOST fields "\r\n")
#define FRAMED(lines) TEXT("POST / HTTP/1.1\r\n" HOST lines "\r\n")

static const char more[] = "more";
static const char line_malformed[] = "malformed request line";
static const char field_malformed[] = "malformed header field";
static const char control[] = "control byte in a header field";
static const char no_cr[] = "line ends without CR";
static const char version[] = "unsupported HTTP version";
static const char method[] = "unknown method";
static const char hosts[] = "not exactly one Host";
static const char bad_host[] = "invalid Host";
static const char framing[] = "more than one way of framing the body";
static const char length[] = "invalid Content-Length";
static const char coding[] = "unknown transfer coding";
static const char coding_malformed[] = "malformed Transfer-Encoding";
static const char no_end[] = "chunked is not the last transfer coding";
static const char expectation[] = "unknown expectation";

/* status 0: a good head, or with the reason "more" one that is good so far. */
static const struct head_case {
    const char *text;
    size_t bytes;
    unsigned status;
    const char *reason;
} cases[] = {
    /* Ordinary ones. */
    {FIELD(""), 0, NULL},
    {TEXT("HEAD /a/b?c=d&e HTTP/1.1\r\nHost: a.example:8080\r\n\r\n"), 0, NULL},
    {TEXT("DELETE / HTTP/1.1\r\nHost:\r\n\r\n"), 0, NULL},
    {TEXT("GET / HTTP/1.0\r\n\r\n"), 0, NULL},
    {TEXT("PUT /x HTTP/1.0\r\nContent-Length: 3\r\n\r\n"), 0, NULL},
    {TEXT("PATCH / HTTP/1.1\r\nhOsT: x\r\n\r\n"), 0, NULL},
    {TEXT("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n"), 0, NULL},
    {TEXT("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), 0, NULL},
    {TEXT("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"), 0, NULL},
    {TEXT("GET http://other/ HTTP/1.1\r\nHost: test\r\n\r\n"), 0, NULL},
    {TEXT("GET no-slash HTTP/1.1\r\nHost: test\r\n\r\n"), 0, NULL}, /* the router's to judge */
    {TEXT("\r\n" GET HOST "\r\n"), 0, NULL},
    {TEXT("\r\n\r\n\r\n" GET HOST "\r\n"), 0, NULL},
    {TEXT("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"), 0, NULL},
    {TEXT("GET \xff HTTP/1.1\r\n" HOST "\r\n"), 0, NULL}, /* the router's to judge */
    {TEXT("GET /?\x80\x81\xfe\xff=\xe2\x82\xac HTTP/1.1\r\n" HOST "\r\n"), 0, NULL},
    {TEXT("GET http://test/\xe4\xbd\xa0\xe5\xa5\xbd?\xff HTTP/1.1\r\n" HOST "\r\n"), 0, NULL},
    {FIELD("A:\r\n"), 0, NULL},
    {FIELD("A: \t \r\n"), 0, NULL},
    {FIELD("A:b\r\n"), 0, NULL},
    {FIELD("A: b: c\r\n"), 0, NULL},
    {FIELD("A: b\tc \xff\x80\xe4\r\n"), 0, NULL},
    {FIELD("!#$%&'*+-.^_`|~09azAZ: x\r\n"), 0, NULL},
    {FIELD("Cookie: a\r\nCookie: b\r\n"), 0, NULL},
    {FIELD("Transfer-Encodin: x\r\nContent-Lengt: y\r\nHos: z\r\n"), 0, NULL},
    {FRAMED("Content-Length: 0\r\n"), 0, NULL},
    {FRAMED("Content-Length: 000000000000000000000000000000000012\r\n"), 0, NULL},
    {FRAMED("Content-Length:\t12 \r\n"), 0, NULL},
    {FRAMED("Transfer-Encoding: chunked\r\n"), 0, NULL},
    {FRAMED("Transfer-Encoding: Chunked \r\n"), 0, NULL},
    {FRAMED("Expect: 100-Continue\r\nContent-Length: 1\r\n"), 0, NULL},
    {TEXT("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"), 0, NULL},
    {TEXT("GET / HTTP/1.1\r\nHost: a-b._~%41!$&'()*+,;=:1\r\n\r\n"), 0, NULL},
    {TEXT(GET "Host: %aF%Fa%09\r\n\r\n"), 0, NULL},
    {TEXT(GET HOST "\r\nGET /next HTTP/1.1\r\n\x01"), 0, NULL},
    /* Not complete. */
    {TEXT(""), 0, more},
    {TEXT("G"), 0, more},
    {TEXT("\r"), 0, more},
    {TEXT("\r\n\r\n"), 0, more},
    {TEXT("GET / HTTP/1.1"), 0, more},
    {TEXT("GET / HTTP/1.1\r"), 0, more},
    {TEXT(GET HOST), 0, more},
    {TEXT(GET HOST "\r"), 0, more},
    {TEXT(GET "Host"), 0, more},
    {TEXT(GET " folded?"), 0, more}, /* known when its line ends */
    /* The request line. */
    {TEXT("\0\1\2\r\n\r\n"), 400, line_malformed},
    {TEXT("\x16\x03\x01\x02\x00\x01\x00"), 400, line_malformed},
    {TEXT("\x80"), 400, line_malformed},
    {TEXT(" GET / HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("\tGET / HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("\rGET / HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT(": x\r\n\r\n"), 400, line_malformed},
    {TEXT("\"GET\" / HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET\r\n\r\n"), 400, line_malformed},
    {TEXT("GET \r\n\r\n"), 400, line_malformed},
    {TEXT("GET /\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / \r\n\r\n"), 400, line_malformed},
    {TEXT("GET HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET  / HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /  HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1.1 \r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1.1 now\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /a b HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET\t/ HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /\tHTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /a\0b HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /a\x01 HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /a\x7f HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /\x80\x01 HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /\xff\xff\xff\xff\xff\xff\xff\x7f HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /\xe2\x82\xac\xe2\x82\xac\x1f\xe2\x82\xac\xe2\x82\xac HTTP/1.1\r\n\r\n"), 400,
     line_malformed},
    {TEXT("GET /\xc2\xa0 \xc2\xa0 HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET\xc2\xa0/ HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /\xc2\xa0HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1.\xb9\r\n\r\n"), 400, line_malformed},
    {TEXT("GET /a\rb HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1.1\r\r\n\r\n"), 400, line_malformed},
    {TEXT("G@T / HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1.10\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/11.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1,1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/x.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/1.x\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / http/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTPS/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / ICE/1.0\r\n\r\n"), 400, line_malformed},
    {TEXT("GET / HTTP/2.0\r\n\r\n"), 505, version},
    {TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, version},
    {TEXT("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 0, NULL},
    {TEXT("GET / HTTP/1.9\r\n\r\n"), 400, "not exactly one Host"},
    {TEXT("GET / HTTP/0.9\r\n\r\n"), 505, version},
    {TEXT("GET / HTTP/9.1\r\n"), 505, version},
    {TEXT("get / HTTP/1.1\r\n\r\n"), 501, method},
    {TEXT("GETX / HTTP/1.1\r\n\r\n"), 501, method},
    {TEXT("GE / HTTP/1.1\r\n\r\n"), 501, method},
    {TEXT("? / HTTP/1.1\r\n\r\n"), 400, line_malformed},
    {TEXT("BREW / HTTP/1.1\r\n"), 501, method},
    /* Ends of lines. */
    {TEXT("\nGET / HTTP/1.1\r\n"), 400, no_cr},
    {TEXT("\r\n\nGET / HTTP/1.1\r\n"), 400, no_cr},
    {TEXT("GET / HTTP/1.1\nHost: test\r\n\r\n"), 400, no_cr},
    {TEXT(GET "Host: test\n\r\n"), 400, no_cr},
    {TEXT(GET HOST "\n"), 400, no_cr},
    {TEXT(GET HOST "A: b\nC: d\r\n\r\n"), 400, no_cr},
    {TEXT(GET HOST "A: b\rC: d\r\n\r\n"), 400, control},
    {TEXT(GET HOST "A: b\r\r\n\r\n"), 400, control},
    {TEXT(GET HOST "\rA: b\r\n\r\n"), 400, field_malformed},
    {TEXT(GET HOST "\r\r\n\r\n"), 400, field_malformed},
    {TEXT(GET HOST "\rGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"), 400, field_malformed},
    /* Fields. */
    {FIELD("A : b\r\n"), 400, field_malformed},
    {FIELD("A\t: b\r\n"), 400, field_malformed},
    {TEXT(GET "Host : test\r\n\r\n"), 400, field_malformed},
    {TEXT(GET " Host: test\r\n\r\n"), 400, field_malformed},
    {FIELD("A: b\r\n folded\r\n"), 400, field_malformed},
    {FIELD("A: b\r\n\tfolded\r\n"), 400, field_malformed},
    {FIELD("A: b\r\n \r\n"), 400, field_malformed},
    {FIELD(": b\r\n"), 400, field_malformed},
    {FIELD("A\r\n"), 400, field_malformed},
    {FIELD("A B: c\r\n"), 400, field_malformed},
    {FIELD("A(B): c\r\n"), 400, field_malformed},
    {FIELD("\"A\": c\r\n"), 400, field_malformed},
    {FIELD("A\x01: c\r\n"), 400, field_malformed},
    {FIELD("A\0B: c\r\n"), 400, field_malformed},
    {FIELD("\xe4: c\r\n"), 400, field_malformed},
    {FIELD("A: \0\r\n"), 400, control},
    {FIELD("A: b\x01 c\r\n"), 400, control},
    {FIELD("A: b\x0b\r\n"), 400, control},
    {FIELD("A: b\x1f\r\n"), 400, control},
    {FIELD("A: b\x7f\r\n"), 400, control},
    /* Host. */
    {TEXT(GET "\r\n"), 400, hosts},
    {TEXT(GET HOST HOST "\r\n"), 400, hosts},
    {TEXT("GET / HTTP/1.0\r\n" HOST "Host: other\r\n\r\n"), 400, hosts},
    {TEXT("GET http://a/ HTTP/1.1\r\n\r\n"), 400, hosts},
    {TEXT(GET "Host: a b\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a/b\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a@b\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a?b\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a#b\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a<b>\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a\\b\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: \"a\"\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: \xc3\xa4\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a%\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a%4\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: a%4:80\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: %G0\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: %0G\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: %0@\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: %0g\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: %0`\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: []\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: [::1\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: [::1]80\r\n\r\n"), 400, bad_host},
    {TEXT(GET "Host: [00000:0000:0000:0000:0000:0000:0000:0000:0001]\r\n\r\n"), 400, bad_host},
    {TEXT("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), 400, bad_host},
    /* Where the body ends. */
    {FRAMED("Content-Length: 1\r\nContent-Length: 2\r\n"), 400, framing},
    {FRAMED("Content-Length: 1\r\nContent-Length: 1\r\n"), 400, framing},
    {FRAMED("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400, framing},
    {FRAMED("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), 400, framing},
    {FRAMED("Content-Length:\r\n"), 400, length},
    {FRAMED("Content-Length: a\r\n"), 400, length},
    {FRAMED("Content-Length: -1\r\n"), 400, length},
    {FRAMED("Content-Length: +1\r\n"), 400, length},
    {FRAMED("Content-Length: 0x1\r\n"), 400, length},
    {FRAMED("Content-Length: 1 1\r\n"), 400, length},
    {FRAMED("Content-Length: 1, 1\r\n"), 400, length},
    {FRAMED("Content-Length: 1.0\r\n"), 400, length},
    {FRAMED("Content-Length: \"1\"\r\n"), 400, length},
    {FRAMED("Transfer-Encoding:\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: ,\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: , chunked\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: chunked,\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: chunked ,, chunked\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: chunked chunked\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: \"chunked\"\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: g/zip, chunked\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: chunked\xa0\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"), 400, coding_malformed},
    {FRAMED("Transfer-Encoding: gzip\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: identity\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: xchunked\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked, gzip\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked, identity\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked, chunked\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked, gzip, chunked\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked;q=1\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked ;\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n"), 400, no_end},
    {FRAMED("Transfer-Encoding: gzip, chunked\r\n"), 501, coding},
    {FRAMED("Transfer-Encoding: gzip,CHUNKED\r\n"), 501, coding},
    {FRAMED("Transfer-Encoding: identity, chunked\r\n"), 501, coding},
    {FRAMED("Transfer-Encoding: x;a=b , chunked\r\n"), 501, coding},
    {FRAMED("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), 501, coding},
    {FRAMED("Transfer-Encoding: \x0b"
            "chunked\r\n"),
     400, control},
    {TEXT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400,
     "Transfer-Encoding in HTTP/1.0"},
    /* Expectations. */
    {FRAMED("Expect: 200-ok\r\n"), 417, expectation},
    {FRAMED("Expect: 100-continue, x\r\n"), 417, expectation},
    {FRAMED("Expect: x, 100-continue\r\n"), 417, expectation},
    {FRAMED("Expect: ,,x\r\n"), 417, expectation},
    {FRAMED("Expect: 100-continue;a=b\r\n"), 417, expectation},
    {FRAMED("Expect: 100-continue 100-continue\r\n"), 417, expectation},
    {FRAMED("Expect: 100-continue\r\nExpect: x\r\n"), 417, expectation},
    {FRAMED("Expect: x\r\nExpect: 100-continue\r\n"), 417, expectation},
    {TEXT("POST / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n"), 0, NULL}, /* 1.0 knows none */
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static void assert_outcome(const struct head_case *c, const struct outcome *outcome)
{
    bool refused = outcome->result == HTTP_HEAD_REFUSED;
    const char *reason = refused                             ? outcome->refusal.reason
                         : outcome->result == HTTP_HEAD_MORE ? more
                                                             : NULL;
    bool same_reason =
        c->reason == NULL || reason == NULL ? c->reason == reason : strcmp(c->reason, reason) == 0;
    if (refused != (c->status != 0) || outcome->refusal.status != c->status || !same_reason) {
        fail_msg("case %d, \"%.60s\": got %u \"%s\"", (int)(c - cases), c->text,
                 outcome->refusal.status, reason == NULL ? "" : reason);
    }
}

static void test_cases_in_one_piece(void **state)
{
    (void)state;
    assert_true(CASES >= 80);
    for (size_t i = 0; i < CASES; i++) {
        struct outcome outcome = scan_cut(cases[i].text, cases[i].bytes, 0, &generous);
        assert_outcome(&cases[i], &outcome);
    }
}

static void test_cases_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        const struct head_case *c = &cases[i];
        struct outcome whole = scan_cut(c->text, c->bytes, 0, &generous);
        for (size_t cut = 1; cut < c->bytes; cut++) {
            struct outcome outcome = scan_cut(c->text, c->bytes, cut, &generous);
            assert_outcome(c, &outcome);
            assert_same(&outcome, &whole);
        }
        if (c->bytes > 0) {
            struct outcome bytewise = scan_bytewise(c->text, c->bytes, &generous);
            assert_outcome(c, &bytewise);
            assert_same(&bytewise, &whole);
        }
    }
}

/* Every byte at every place of a value, which is read eight bytes at a time. */
static void test_every_byte_in_a_value(void **state)
{
    (void)state;
    enum { VALUE_BYTES = 21 };
    for (int byte = 0; byte < 256; byte++) {
        bool allowed = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
        for (size_t at = 0; byte != '\n' && at < VALUE_BYTES; at++) {
            char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX: 012345678901234567890\r\n\r\n";
            text[strlen("GET / HTTP/1.1\r\nHost: a\r\nX: ") + at] = (char)byte;
            struct outcome outcome = scan_cut(text, sizeof(text) - 1, 0, &generous);
            assert_int_equal(outcome.refusal.status, allowed ? 0 : 400);
        }
    }
}

/* Whoever sends nonsense learns so at once, not when the line or the time ends. */
static void test_nonsense_is_refused_at_its_first_byte(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        struct outcome outcome = scan_cut(&text, 1, 0, &generous);
        bool token = strchr("!#$%&'*+-.^_`|~\r", byte) != NULL && byte != 0;
        token |= (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                 (byte >= 'a' && byte <= 'z');
        assert_int_equal(outcome.result, token ? HTTP_HEAD_MORE : HTTP_HEAD_REFUSED);
        assert_int_equal(outcome.refusal.status, token ? 0 : 400);
    }
}

static struct span text_of(const struct outcome *outcome, struct http_part part)
{
    return http_request_text(&outcome->request, part);
}

static void assert_span(struct span span, const char *expected)
{
    assert_non_null(span.ptr);
    assert_int_equal(span.len, strlen(expected));
    assert_memory_equal(span.ptr, expected, span.len);
}

static void test_parts(void **state)
{
    (void)state;
    const char *text = "\r\nPUT /a?b HTTP/1.1\r\nHost:  h:1 \t\r\nX: 1\r\nreferer: r\r\n"
                       "IF-RANGE:q\r\nUser-Agent: first\r\nUser-Agent: second\r\n\r\nbody";
    struct outcome outcome = scan(text);
    assert_int_equal(outcome.result, HTTP_HEAD_DONE);
    assert_int_equal(outcome.request.head_bytes, strlen(text) - 4);
    assert_int_equal(outcome.request.method, METHOD_PUT);
    assert_int_equal(outcome.request.minor_version, 1);
    assert_int_equal(outcome.request.field_count, 6);
    assert_span(text_of(&outcome, outcome.request.line), "PUT /a?b HTTP/1.1");
    assert_span(text_of(&outcome, outcome.request.method_name), "PUT");
    assert_span(text_of(&outcome, outcome.request.target), "/a?b");
    assert_span(http_request_field(&outcome.request, HTTP_FIELD_HOST), "h:1");
    assert_span(http_request_field(&outcome.request, HTTP_FIELD_REFERER), "r");
    assert_span(http_request_field(&outcome.request, HTTP_FIELD_IF_RANGE), "q");
    assert_span(http_request_field(&outcome.request, HTTP_FIELD_USER_AGENT), "first");
    assert_int_equal(outcome.request.field_occurrences[HTTP_FIELD_USER_AGENT], 2);
    assert_int_equal(outcome.request.field_occurrences[HTTP_FIELD_OTHER], 1);
    assert_null(http_request_field(&outcome.request, HTTP_FIELD_RANGE).ptr);
}

/* A list of which one member is known, and empty ones mean nothing (RFC 9110, 5.6.1). */
static void test_expects_continue(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        bool expects;
    } lists[] = {
        {"", false},
        {"Expect:\r\n", false},
        {"Expect: , ,\r\n", false},
        {"Expect: 100-continue\r\n", true},
        {"Expect: ,100-Continue\r\n", true},
        {"Expect: 100-continue , \t,\r\n", true},
        {"Expect: 100-continue, 100-CONTINUE\r\n", true},
        {"Expect: 100-continue\r\nExpect: 100-continue\r\n", true},
        {"Expect:\r\nA: b\r\nExpect: ,100-continue\r\n", true},
        {"Expect: ,\r\nexpect:\r\n", false},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "POST / HTTP/1.1\r\n" HOST "%s\r\n", lists[i].fields);
        struct outcome outcome = scan(text);
        assert_int_equal(outcome.result, HTTP_HEAD_DONE);
        assert_int_equal(outcome.request.expects_continue, lists[i].expects);
        snprintf(text, sizeof(text), "POST / HTTP/1.0\r\n%s\r\n", lists[i].fields);
        assert_false(scan(text).request.expects_continue);
    }
}

/* Wherever they stand in the target. */
static void test_8_bit_targets(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 20; len++) {
        for (size_t at = 0; at < len; at++) {
            char target[32] = {0};
            char text[96];
            memset(target, 'a', len);
            for (int byte = 1; byte < 256; byte++) {
                target[at] = (char)byte;
                snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", target);
                bool good = byte > 0x20 && byte != 0x7f;
                struct outcome outcome = scan(text);
                assert_int_equal(outcome.result, good ? HTTP_HEAD_DONE : HTTP_HEAD_REFUSED);
                if (good) {
                    assert_span(text_of(&outcome, outcome.request.target), target);
                    assert_int_equal(outcome.request.target_has_8_bit, byte >= 0x80);
                }
            }
        }
    }
}

static void test_all_known_fields(void **state)
{
    (void)state;
    static const char *const names[HTTP_FIELD_IDS] = {
        [HTTP_FIELD_HOST] = "Host",
        [HTTP_FIELD_CONNECTION] = "Connection",
        [HTTP_FIELD_CONTENT_LENGTH] = "Content-Length",
        [HTTP_FIELD_CONTENT_TYPE] = "Content-Type",
        [HTTP_FIELD_TRANSFER_ENCODING] = "Transfer-Encoding",
        [HTTP_FIELD_EXPECT] = "Expect",
        [HTTP_FIELD_IF_MATCH] = "If-Match",
        [HTTP_FIELD_IF_NONE_MATCH] = "If-None-Match",
        [HTTP_FIELD_IF_MODIFIED_SINCE] = "If-Modified-Since",
        [HTTP_FIELD_IF_UNMODIFIED_SINCE] = "If-Unmodified-Since",
        [HTTP_FIELD_IF_RANGE] = "If-Range",
        [HTTP_FIELD_RANGE] = "Range",
        [HTTP_FIELD_ACCEPT_ENCODING] = "Accept-Encoding",
        [HTTP_FIELD_REFERER] = "Referer",
        [HTTP_FIELD_USER_AGENT] = "User-Agent",
    };
    for (int id = HTTP_FIELD_OTHER + 1; id < HTTP_FIELD_IDS; id++) {
        char text[128];
        snprintf(text, sizeof(text), GET "%s: 7\r\n\r\n", names[id]);
        struct outcome outcome = scan(text);
        for (int other = 0; other < HTTP_FIELD_IDS; other++) {
            assert_int_equal(outcome.request.field_occurrences[other], other == id);
        }
        assert_span(http_request_field(&outcome.request, (enum http_field_id)id), "7");
    }
}

static void test_keep_alive(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        bool in_11, in_10;
    } wishes[] = {
        {"", true, false},
        {"Connection:\r\n", true, false},
        {"Connection: keep-alive\r\n", true, true},
        {"Connection: Keep-Alive\r\n", true, true},
        {"Connection: close\r\n", false, false},
        {"Connection: CLOSE\r\n", false, false},
        {"Connection: upgrade, close\r\n", false, false},
        {"Connection: upgrade ,\tkeep-alive\r\n", true, true},
        {"Connection: keep-alive, close\r\n", false, false},
        {"Connection: ,,close\r\n", false, false},
        {"Connection: closer\r\n", true, false},
        {"Connection: keep-alive2\r\n", true, false},
        {"Connection: keep-alive\r\nConnection: close\r\n", false, false},
        {"Connection: close\r\nConnection: keep-alive\r\n", false, false},
        {"Proxy-Connection: close\r\n", true, false},
    };
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        for (int minor = 0; minor <= 1; minor++) {
            char text[256];
            snprintf(text, sizeof(text), "GET / HTTP/1.%d\r\n" HOST "%s\r\n", minor,
                     wishes[i].fields);
            struct outcome outcome = scan(text);
            assert_int_equal(outcome.result, HTTP_HEAD_DONE);
            assert_int_equal(outcome.request.keep_alive,
                             minor == 1 ? wishes[i].in_11 : wishes[i].in_10);
        }
    }
}

/* What lies behind the host does not count. */
static void test_host_ends_where_it_ends(void **state)
{
    (void)state;
    static const char *const texts[] = {"%41:", "[::1]", "[::1]:a", "a:8a"};
    static const size_t good_bytes[] = {3, 5, 6, 3};
    static const size_t bad_bytes[] = {2, 4, 7, 4};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(http_head_is_host((struct span){texts[i], good_bytes[i]}));
        assert_false(http_head_is_host((struct span){texts[i], bad_bytes[i]}));
    }
}

/* Every cut gives the same answer, and it is this one. */
static void assert_limited(const char *text, const struct http_limits *limits, unsigned status,
                           const char *reason)
{
    size_t bytes = strlen(text);
    for (size_t cut = 0; cut < bytes; cut++) {
        struct outcome outcome = scan_cut(text, bytes, cut, limits);
        assert_int_equal(outcome.refusal.status, status);
        assert_int_equal(outcome.result, status == 0 ? HTTP_HEAD_DONE : HTTP_HEAD_REFUSED);
        if (status != 0) {
            assert_string_equal(outcome.refusal.reason, reason);
        }
    }
    struct outcome bytewise = scan_bytewise(text, bytes, limits);
    assert_int_equal(bytewise.refusal.status, status);
}

static void test_request_line_limit(void **state)
{
    (void)state;
    const char *text = "\r\nGET /12345678 HTTP/1.1\r\nHost: a\r\n\r\n";
    size_t line_bytes = strlen("GET /12345678 HTTP/1.1\r\n");
    struct http_limits limits = generous;
    limits.request_line_bytes = line_bytes;
    assert_limited(text, &limits, 0, NULL);
    limits.request_line_bytes = line_bytes - 1;
    assert_limited(text, &limits, 414, "request line too long");
    limits.request_line_bytes = 8;
    assert_limited(text, &limits, 414, "request line too long");
    /* Without an end in sight. */
    struct outcome outcome = scan_cut("GET /2345", 9, 0, &limits);
    assert_int_equal(outcome.refusal.status, 414);
    outcome = scan_cut("GET /234", 8, 0, &limits);
    assert_int_equal(outcome.result, HTTP_HEAD_MORE);
}

static void test_head_limit(void **state)
{
    (void)state;
    const char *text = GET "Host: a\r\nX: 0123456789\r\n\r\n";
    struct http_limits limits = generous;
    limits.header_bytes = strlen(text);
    assert_limited(text, &limits, 0, NULL);
    for (size_t less = 1; less < 20; less++) {
        limits.header_bytes = strlen(text) - less;
        assert_limited(text, &limits, 431, "header fields too large");
    }
    /* Without an end in sight; and empty lines count as well. */
    limits.header_bytes = 20;
    struct outcome outcome = scan_cut(GET "Host:", 21, 0, &limits);
    assert_int_equal(outcome.refusal.status, 431);
    outcome = scan_cut(GET "Host", 20, 0, &limits);
    assert_int_equal(outcome.result, HTTP_HEAD_MORE);
    assert_limited("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n", &limits, 431,
                   "header fields too large");
}

static void test_field_count_limit(void **state)
{
    (void)state;
    struct http_limits limits = generous;
    const char *text = GET "Host: a\r\nB: c\r\nD: e\r\n\r\n";
    limits.headers = 3;
    assert_limited(text, &limits, 0, NULL);
    limits.headers = 2;
    assert_limited(text, &limits, 431, "too many header fields");
    limits.headers = 1;
    assert_limited(text, &limits, 431, "too many header fields");
    limits.headers = 0;
    assert_limited("GET / HTTP/1.0\r\n\r\n", &limits, 0, NULL);
}

/* Bytes behind the head are the body's, or another request's. */
static void test_limits_end_with_the_head(void **state)
{
    (void)state;
    static const char text[] = GET "Host: a\r\n\r\nmore than enough bytes of something else";
    struct http_limits limits = generous;
    limits.header_bytes = strlen(GET "Host: a\r\n\r\n");
    limits.request_line_bytes = strlen(GET);
    for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
        struct outcome outcome = scan_cut(text, sizeof(text) - 1, cut, &limits);
        assert_int_equal(outcome.result, HTTP_HEAD_DONE);
    }
}

/* With two faults at once the answer still does not depend on how the bytes arrive. */
static void test_two_faults(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "GET /too-long-and-without HTTP/1.1\n\r\n", " GET /too-long-and-indented HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: too long and without\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded and too long and so on\r\n\r\n"};
    struct http_limits limits = generous;
    limits.request_line_bytes = 20;
    limits.header_bytes = 40;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t bytes = strlen(texts[i]);
        struct outcome whole = scan_cut(texts[i], bytes, 0, &limits);
        assert_int_equal(whole.result, HTTP_HEAD_REFUSED);
        for (size_t cut = 1; cut < bytes; cut++) {
            struct outcome outcome = scan_cut(texts[i], bytes, cut, &limits);
            if (outcome.refusal.status != whole.refusal.status) {
                fail_msg("text %zu: %u in one piece, %u when cut at %zu", i, whole.refusal.status,
                         outcome.refusal.status, cut);
            }
        }
    }
}

static void test_field_lists(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct outcome outcome = scan(GET "If-Match: \"a\"\r\nX: y\r\nif-match:\"b\" \r\n"
                                      "Range: bytes=0-\r\nIf-Match:\r\n\r\n");
    const struct http_request *request = &outcome.request;
    assert_span(http_head_field_list(request, HTTP_FIELD_IF_MATCH, &arena), "\"a\", \"b\", ");
    assert_span(http_head_field_list(request, HTTP_FIELD_RANGE, &arena), "bytes=0-");
    assert_null(http_head_field_list(request, HTTP_FIELD_IF_RANGE, &arena).ptr);
    struct outcome empty = scan(GET "If-Match:\r\nIf-Match: \r\n\r\n");
    assert_span(http_head_field_list(&empty.request, HTTP_FIELD_IF_MATCH, &arena), "");
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases_in_one_piece),
        cmocka_unit_test(test_cases_cut_anywhere),
        cmocka_unit_test(test_nonsense_is_refused_at_its_first_byte),
        cmocka_unit_test(test_every_byte_in_a_value),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_expects_continue),
        cmocka_unit_test(test_8_bit_targets),
        cmocka_unit_test(test_all_known_fields),
        cmocka_unit_test(test_field_lists),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_host_ends_where_it_ends),
        cmocka_unit_test(test_request_line_limit),
        cmocka_unit_test(test_head_limit),
        cmocka_unit_test(test_field_count_limit),
        cmocka_unit_test(test_limits_end_with_the_head),
        cmocka_unit_test(test_two_faults),
    };
    return cmocka_run_group_tests_name("head", tests, NULL, NULL);
}
