#include "common/http/parser.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/http/chunk.h"

#include <inttypes.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>

/* Chunk sizes and extensions together may weigh this much, and this many times the body:
 * enough for chunks of one byte, too little to keep a worker busy with padding. */
enum { FRAMING_BYTES = 16384, FRAMING_PER_BODY_BYTE = 8 };

enum { CRLF_BYTES = 2 };

struct http_parser {
    llhttp_t llhttp;
    struct http_head head;
    const struct http_limits *limits;
    struct http_request *request; /* set during a feed */
    struct http_refusal refusal;
    bool headers_complete;
    bool message_complete;
    bool chunked;
    bool last_chunk;                   /* what follows is the trailer section */
    struct http_chunk_line chunk_line; /* the line being read, unless data_left says otherwise */
    uint64_t data_left;                /* of the current chunk, with the CRLF behind its data */
    uint64_t framing_bytes;            /* of the complete chunk lines */
    uint32_t trailers;                 /* complete fields of the trailer section */
};

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http_parser *parser = llhttp->data;
    parser->headers_complete = true;
    /* No protocol to upgrade to is offered, so the request is an ordinary one (RFC 9110, 7.8). */
    llhttp->upgrade = 0;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *data, size_t bytes)
{
    struct http_parser *parser = llhttp->data;
    struct http_request *request = parser->request;
    request->body_bytes += bytes;
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
    parser->headers_complete = false;
    parser->message_complete = false;
    parser->chunked = false;
    parser->last_chunk = false;
    parser->chunk_line = (struct http_chunk_line){0};
    parser->data_left = 0;
    parser->framing_bytes = 0;
    parser->trailers = 0;
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
    return error == HPE_OK || (error == HPE_PAUSED && parser->message_complete);
}

static void replace_8_bit(char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)text[i] >= 0x80) {
            text[i] = 'x';
        }
    }
}

/* What is good but not taken by every llhttp: tabs around a value, a version above 1.1, bytes from
 * 0x80 in the target. It gets a copy of the head with spaces, 1.1 and letters instead: it has to
 * find the framing, and no more. */
static const char *plain_head(struct http_request *request, const char *data)
{
    const size_t version_at = request->line.offset + request->line.len - 1;
    if (data[version_at] <= '1' && !request->target_has_8_bit &&
        memchr(data, '\t', request->head_bytes) == NULL) {
        return data;
    }
    char *copy = arena_alloc(&request->arena, request->head_bytes);
    memcpy(copy, data, request->head_bytes);
    for (char *tab = copy; (tab = memchr(tab, '\t', request->head_bytes - (size_t)(tab - copy)));) {
        *tab = ' ';
    }
    if (copy[version_at] > '1') {
        copy[version_at] = '1';
    }
    replace_8_bit(copy + request->target.offset, request->target.len);
    return copy;
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
    if (!execute(parser, plain_head(request, data), request->head_bytes, &used)) {
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
    parser->chunked = request->field_occurrences[HTTP_FIELD_TRANSFER_ENCODING] > 0;
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

/* Data that llhttp decodes. */
static enum http_parse_result feed_llhttp(struct http_parser *parser, const char *data,
                                          size_t bytes, size_t *used)
{
    if (!execute(parser, data, bytes, used)) {
        return refuse(parser, 400, llhttp_get_error_reason(&parser->llhttp));
    }
    return parser->message_complete ? HTTP_PARSE_DONE : HTTP_PARSE_MORE;
}

static bool is_framing_too_large(const struct http_parser *parser)
{
    return parser->framing_bytes + parser->chunk_line.bytes >
           FRAMING_BYTES + FRAMING_PER_BODY_BYTE * parser->request->body_bytes;
}

/* The line of a chunk is complete: its size goes on to llhttp without the extensions. */
static enum http_parse_result begin_chunk(struct http_parser *parser)
{
    const uint64_t size = parser->chunk_line.size;
    parser->framing_bytes += parser->chunk_line.bytes + CRLF_BYTES;
    parser->chunk_line = (struct http_chunk_line){0};
    if (size > parser->limits->body_bytes - parser->request->body_bytes) {
        return refuse(parser, 413, "body too large"); /* at once, not when its data has come */
    }
    if (size == 0) {
        parser->last_chunk = true;
        parser->head = (struct http_head){.has_request_line = true}; /* fields follow */
        return HTTP_PARSE_MORE;
    }
    parser->data_left = size + CRLF_BYTES;
    char line[24];
    int bytes = snprintf(line, sizeof(line), "%" PRIx64 "\r\n", size);
    size_t used = 0;
    return feed_llhttp(parser, line, (size_t)bytes, &used);
}

static enum http_parse_result feed_chunk_line(struct http_parser *parser, const char *data,
                                              size_t bytes, size_t *used)
{
    enum http_chunk_result result = http_chunk_line_scan(&parser->chunk_line, data, bytes, used);
    if (is_framing_too_large(parser)) {
        return refuse(parser, 400, "chunk framing too large");
    }
    if (result == HTTP_CHUNK_REFUSED) {
        return refuse(parser, 400, "malformed chunk line");
    }
    return result == HTTP_CHUNK_DONE ? begin_chunk(parser) : HTTP_PARSE_MORE;
}

static enum http_parse_result feed_chunk_data(struct http_parser *parser, const char *data,
                                              size_t bytes, size_t *used)
{
    size_t given = bytes < parser->data_left ? bytes : (size_t)parser->data_left;
    enum http_parse_result result = feed_llhttp(parser, data, given, used);
    parser->data_left -= *used;
    return result;
}

static enum http_parse_result feed_chunks(struct http_parser *parser, const char *data,
                                          size_t bytes, size_t *used)
{
    enum http_parse_result result = HTTP_PARSE_MORE;
    while (result == HTTP_PARSE_MORE && !parser->last_chunk && *used < bytes) {
        size_t step = 0;
        result = parser->data_left > 0
                     ? feed_chunk_data(parser, data + *used, bytes - *used, &step)
                     : feed_chunk_line(parser, data + *used, bytes - *used, &step);
        *used += step;
    }
    return result;
}

enum http_parse_result http_parser_feed_body(struct http_parser *parser,
                                             struct http_request *request, const char *data,
                                             size_t bytes, size_t *used)
{
    CHECK(parser->headers_complete && !parser->message_complete);
    *used = 0;
    parser->request = request;
    if (!parser->chunked) {
        return feed_llhttp(parser, data, bytes, used);
    }
    enum http_parse_result result = feed_chunks(parser, data, bytes, used);
    if (result != HTTP_PARSE_MORE || !parser->last_chunk) {
        return result;
    }
    size_t trailers_used = 0;
    result = feed_trailers(parser, data + *used, bytes - *used, &trailers_used);
    *used += trailers_used;
    return result;
}
