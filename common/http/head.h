/* The head of a request: request line and header fields, read and checked line by line as bytes
 * arrive. It finds the pieces and refuses what RFC 9112 forbids but parsers have been lenient about
 * (bare CR or LF, obs-fold, white space before the colon, empty names, control bytes), so that the
 * answer does not depend on the parser library's version. */
#ifndef TWINHTTPD_COMMON_HTTP_HEAD_H
#define TWINHTTPD_COMMON_HTTP_HEAD_H

#include "common/http/request.h"

#include <stddef.h>

struct http_limits {
    size_t request_line_bytes;
    size_t header_bytes; /* the whole head */
    size_t headers;
    uint64_t body_bytes;
};

/* How far the scan has come. Zero-initialised for a new request. */
struct http_head {
    size_t scanned; /* bytes looked at: complete lines and what follows them without a line feed */
    size_t line_start;
    bool has_request_line;
};

/* Why a request is refused: the status to answer with and words for the log. status 0: it is not.
 */
struct http_refusal {
    unsigned status;
    const char *reason;
};

enum http_head_result { HTTP_HEAD_MORE, HTTP_HEAD_DONE, HTTP_HEAD_REFUSED };

/* Goes on with the scan. data holds everything received of this request, from its first byte. On
 * DONE request->head_bytes is set and its parts are filled in; framing is not looked at. */
enum http_head_result http_head_scan(struct http_head *head, const char *data, size_t bytes,
                                     const struct http_limits *limits, struct http_request *request,
                                     struct http_refusal *refusal);

/* Checks what must hold between the fields of a complete head: Host (RFC 9112, 3.2), one way of
 * framing the body (6.1, 6.3), Connection (9.3), Expect (RFC 9110, 10.1.1). Sets keep_alive
 * and expects_continue. */
struct http_refusal http_head_check(struct http_request *request);

/* Whether the text is uri-host [ ":" port ] (RFC 9110, 7.2; RFC 3986, 3.2.2): a name, an IPv4
 * address or an IPv6 address in brackets; the host and the port may be empty.
 */
bool http_head_is_host(struct span host);

/* The value of a list-based field, its lines joined with commas if there are several (RFC
 * 9110, 5.3); a joined one lives in the arena. ptr NULL: absent. */
struct span http_head_field_list(const struct http_request *request, enum http_field_id id,
                                 struct arena *arena);

#endif
