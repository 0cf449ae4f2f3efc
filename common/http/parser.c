#include "common/http/parser.h"

#include "common/base/memory.h"

#include <assert.h>
#include <llhttp.h>
#include <stdlib.h>

/* Chunk sizes and extensions together may weigh this much, and this many times the body:
 * enough for chunks of one byte, too little to keep a worker busy with padding. */
enum { FRAMING_BYTES = 16384, FRAMING_PER_BODY_BYTE = 8 };

struct http_parser {
    llhttp_t llhttp;
    struct http_head head;
    const struct http_limits *limits;
    struct http_request *request; /* set during a feed */
    struct http_refusal refusal;
    uint64_t framing_bytes;
    uint32_t trailers; /* complete fields of the trailer section */
    bool headers_complete;
    bool last_chunk; /* what follows is the trailer section, which we read ourselves */
    bool message_complete;
};

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http_parser *parser = llhttp->data;
    parser->headers_complete = true;
    /* No protocol to upgrade to is offered, so the request is an ordinary one (RFC 9110, 7.8). */
    llhttp->upgrade = 0;
    return 0;
}

/* A chunk's size is known before its data: too much is refused at once. llhttp is stopped behind
 * the last chunk, since its versions differ in what they take for a trailer. */
static int on_chunk_header(llhttp_t *llhttp)
{
    struct http_parser *parser = llhttp->data;
    if (llhttp->content_length > parser->limits->body_bytes - parser->request->body_bytes) {
        parser->refusal = (struct http_refusal){413, "body too large"};
        return HPE_USER;
    }
    parser->last_chunk = llhttp->content_length == 0;
    return parser->last_chunk ? HPE_PAUSED : 0;
}

static int on_body(llhttp_t *llhttp, const char *data, size_t bytes)
{
    struct http_parser *parser = llhttp->data;
    struct http_request *request = parser->request;
    request->body_bytes += bytes;
    if (request->body_bytes > parser->limits->body_bytes) {
        parser->refusal = (struct http_refusal){413, "body too large"};
        return HPE_USER;
    }
    if (request->body_wanted) {
        buffer_append(&request->body, data, bytes);
    }
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http_parser *parser = llhttp->data;
    parser->message_complete = true;
    return HPE_PAUSED; /* one request at a time: what follows is the next one's */
}

static const llhttp_settings_t parser_settings = {
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

struct http_parser *http_parser_create(const struct http_limits *limits)
{
    struct http_parser *parser = memory_alloc_zeroed(1, sizeof(*parser));
    parser->limits = limits;
    http_parser_reset(parser);
    return parser;
}

void http_parser_destroy(struct http_parser *parser)
{
    free(parser);
}

void http_parser_reset(struct http_parser *parser)
{
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &parser_settings);
    parser->llhttp.data = parser;
    parser->head = (struct http_head){0};
    parser->refusal = (struct http_refusal){0, NULL};
    parser->framing_bytes = 0;
    parser->trailers = 0;
    parser->headers_complete = false;
    parser->last_chunk = false;
    parser->message_complete = false;
}

struct http_refusal http_parser_refusal(const struct http_parser *parser)
{
    return parser->refusal;
}

static enum http_parse_result refuse(struct http_parser *parser, unsigned status,
                                     const char *reason)
{
    if (parser->refusal.status == 0) {
        parser->refusal = (struct http_refusal){status, reason};
    }
    return HTTP_PARSE_REFUSED;
}

/* Runs llhttp over the bytes; false if it found an error. */
static bool execute(struct http_parser *parser, const char *data, size_t bytes, size_t *used)
{
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, data, bytes);
    *used = error == HPE_OK ? bytes : (size_t)(llhttp_get_error_pos(&parser->llhttp) - data);
    return error == HPE_OK ||
           (error == HPE_PAUSED && (parser->message_complete || parser->last_chunk));
}

enum http_parse_result http_parser_feed_head(struct http_parser *parser,
                                             struct http_request *request, const char *data,
                                             size_t bytes)
{
    switch (http_head_scan(&parser->head, data, bytes, parser->limits, request, &parser->refusal)) {
    case HTTP_HEAD_MORE:
        return HTTP_PARSE_MORE;
    case HTTP_HEAD_REFUSED:
        return HTTP_PARSE_REFUSED;
    case HTTP_HEAD_DONE:
        break;
    }
    parser->refusal = http_head_check(request);
    if (parser->refusal.status != 0) {
        return HTTP_PARSE_REFUSED;
    }
    if (request->method == METHOD_CONNECT) { /* no tunnels: what follows is not HTTP */
        return refuse(parser, 405, "CONNECT");
    }
    size_t used = 0;
    parser->request = request;
    if (!execute(parser, data, request->head_bytes, &used)) {
        return refuse(parser, 400, llhttp_get_error_reason(&parser->llhttp));
    }
    /* Both readers of the head must agree on where it ends. */
    if (!parser->headers_complete || used != request->head_bytes) {
        return refuse(parser, 400, "head ends in doubt");
    }
    if (parser->llhttp.content_length > parser->limits->body_bytes) {
        return refuse(parser, 413, "body too large");
    }
    request->has_body = !parser->message_complete;
    return HTTP_PARSE_HEAD;
}

/* The trailer section (RFC 9112, 7.1.2): checked and bounded like header fields, and dropped. Its
 * bytes are used only when all of them are there. */
static enum http_parse_result feed_trailers(struct http_parser *parser, const char *data,
                                            size_t bytes, size_t *used)
{
    struct http_request trailers = {.field_count = parser->trailers};
    enum http_head_result result =
        http_head_scan(&parser->head, data, bytes, parser->limits, &trailers, &parser->refusal);
    parser->trailers = trailers.field_count;
    *used = 0;
    if (result == HTTP_HEAD_DONE) {
        *used = trailers.head_bytes;
        parser->message_complete = true;
        return HTTP_PARSE_DONE;
    }
    return result == HTTP_HEAD_MORE ? HTTP_PARSE_MORE : HTTP_PARSE_REFUSED;
}

/* Chunk sizes, data and extensions, or data alone: what llhttp decodes. */
static enum http_parse_result feed_data(struct http_parser *parser, struct http_request *request,
                                        const char *data, size_t bytes, size_t *used)
{
    uint64_t body_before = request->body_bytes;
    parser->request = request;
    if (!execute(parser, data, bytes, used)) {
        return refuse(parser, 400, llhttp_get_error_reason(&parser->llhttp));
    }
    parser->framing_bytes += *used - (request->body_bytes - body_before);
    if (parser->framing_bytes > FRAMING_BYTES + FRAMING_PER_BODY_BYTE * request->body_bytes) {
        return refuse(parser, 400, "chunk framing too large");
    }
    return parser->message_complete ? HTTP_PARSE_DONE : HTTP_PARSE_MORE;
}

enum http_parse_result http_parser_feed_body(struct http_parser *parser,
                                             struct http_request *request, const char *data,
                                             size_t bytes, size_t *used)
{
    assert(parser->headers_complete && !parser->message_complete);
    *used = 0;
    if (!parser->last_chunk) {
        enum http_parse_result result = feed_data(parser, request, data, bytes, used);
        if (result != HTTP_PARSE_MORE || !parser->last_chunk) {
            return result;
        }
        /* The scan goes on as behind a request line: fields, then an empty line. */
        parser->head = (struct http_head){.has_request_line = true};
    }
    size_t trailers_used = 0;
    enum http_parse_result result =
        feed_trailers(parser, data + *used, bytes - *used, &trailers_used);
    *used += trailers_used;
    return result;
}
