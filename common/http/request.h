/* A request as the parser leaves it. Parsed pieces are offsets into the head (request line and
 * header fields as received), since the buffer that holds it may move while more is read. */
#ifndef TWINHTTPD_COMMON_HTTP_REQUEST_H
#define TWINHTTPD_COMMON_HTTP_REQUEST_H

#include "common/base/arena.h"
#include "common/base/buffer.h"
#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* The methods of RFC 9110, 9.3, and PATCH (RFC 5789). Others are unknown (501). */
enum http_method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    METHOD_OPTIONS,
    METHOD_PATCH,
    METHOD_TRACE,
    METHOD_CONNECT,
    METHOD_UNKNOWN
};
#define METHOD_BIT(method) (1u << (method))

/* Fields that the server itself looks at; the others are HTTP_FIELD_OTHER. */
enum http_field_id {
    HTTP_FIELD_OTHER,
    HTTP_FIELD_HOST,
    HTTP_FIELD_CONNECTION,
    HTTP_FIELD_CONTENT_LENGTH,
    HTTP_FIELD_CONTENT_TYPE,
    HTTP_FIELD_TRANSFER_ENCODING,
    HTTP_FIELD_EXPECT,
    HTTP_FIELD_IF_MATCH,
    HTTP_FIELD_IF_NONE_MATCH,
    HTTP_FIELD_IF_MODIFIED_SINCE,
    HTTP_FIELD_IF_UNMODIFIED_SINCE,
    HTTP_FIELD_IF_RANGE,
    HTTP_FIELD_RANGE,
    HTTP_FIELD_ACCEPT_ENCODING,
    HTTP_FIELD_REFERER,
    HTTP_FIELD_USER_AGENT,
    HTTP_FIELD_IDS
};

/* A part of the head. */
struct http_part {
    uint32_t offset;
    uint32_t len;
};

struct http_request {
    const char *head; /* set anew by whoever moves the buffer */
    size_t head_bytes;
    enum http_method method;
    unsigned minor_version; /* 0 or 1 */
    struct http_part line;  /* the request line without its CRLF */
    struct http_part method_name;
    struct http_part target;
    bool target_has_8_bit;                      /* bytes from 0x80, as they are */
    struct http_part fields[HTTP_FIELD_IDS];    /* the first of each known field's values */
    uint32_t field_occurrences[HTTP_FIELD_IDS]; /* 0: absent */
    uint32_t field_count;                       /* all fields, known or not */
    bool keep_alive;                            /* as the client asks (RFC 9112, 9.3) */
    bool expects_continue;                      /* before it sends the body (RFC 9110, 10.1.1) */
    bool has_body;                              /* a body follows the head, even if empty */
    bool body_wanted;                           /* keep it in body; else it is only counted */
    uint64_t body_bytes;                        /* received so far, decoded */
    struct buffer body;
    struct span path;   /* decoded, normalised; lives in the head or in the arena */
    struct span query;  /* raw; ptr NULL: none */
    struct arena arena; /* ends with the exchange */
};

/* The text of a part; ptr NULL if the part is absent. Valid until the handler returns. */
static inline struct span http_request_text(const struct http_request *request,
                                            struct http_part part)
{
    return (struct span){request->head + part.offset, part.len};
}

/* The first value of a known field; ptr NULL when the client did not send it. */
static inline struct span http_request_field(const struct http_request *request,
                                             enum http_field_id id)
{
    if (request->field_occurrences[id] == 0) {
        return (struct span){NULL, 0};
    }
    return http_request_text(request, request->fields[id]);
}

/* The first value of a field by its name, be it known or not; ptr NULL: absent. It looks through
 * the whole head: for what few handlers ask. Valid until the handler returns. */
struct span http_request_field_named(const struct http_request *request, struct span name);

/* The request line for logs and notes: bytes from 0x80 in the target stand as %HH, as they would in
 * a URI. Lives in the head, or in the arena. */
struct span http_request_shown_line(const struct http_request *request, struct arena *arena);

/* Forgets everything but the memory. */
void http_request_reset(struct http_request *request);
void http_request_free(struct http_request *request);

/* "GET", for logs and Allow. */
const char *http_method_name(enum http_method method);

#endif
