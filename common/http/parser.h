/* The request parser: the head is scanned by http_head, and llhttp decides the framing and decodes
 * the body. The only file that knows llhttp is parser.c. */
#ifndef TWINHTTPD_COMMON_HTTP_PARSER_H
#define TWINHTTPD_COMMON_HTTP_PARSER_H

#include "common/http/head.h"
#include "common/http/request.h"

struct http_parser;

enum http_parse_result {
    HTTP_PARSE_MORE,   /* everything given has been used; the request goes on */
    HTTP_PARSE_HEAD,   /* feed_head: the head is complete and good */
    HTTP_PARSE_DONE,   /* feed_body: the request is complete */
    HTTP_PARSE_REFUSED /* answer with http_parser_refusal and close: the end is in doubt */
};

/* limits must outlive the parser. Freed with http_parser_destroy. */
struct http_parser *http_parser_create(const struct http_limits *limits);
void http_parser_destroy(struct http_parser *parser);

/* Begins a new request, whatever state the last one left. */
void http_parser_reset(struct http_parser *parser);

/* Reads the head. data holds everything received of this request from its first byte (the scan
 * remembers how far it came). With HTTP_PARSE_HEAD, request->head_bytes tells where the body
 * begins and request->has_body whether there is one; if not, the request is complete. */
enum http_parse_result http_parser_feed_head(struct http_parser *parser,
                                             struct http_request *request, const char *data,
                                             size_t bytes);

/* Reads the body, decoding chunks: appends to request->body if body_wanted, counts in any case.
 * *used tells how many bytes have been used and need not be given again; what is left of data
 * belongs to an incomplete trailer section (give it again with more behind it) or to the next
 * request. */
enum http_parse_result http_parser_feed_body(struct http_parser *parser,
                                             struct http_request *request, const char *data,
                                             size_t bytes, size_t *used);

/* Why the last feed refused. */
struct http_refusal http_parser_refusal(const struct http_parser *parser);

#endif
