/* A response as a handler leaves it, and its rendering. */
#ifndef TWINHTTPD_COMMON_HTTP_RESPONSE_H
#define TWINHTTPD_COMMON_HTTP_RESPONSE_H

#include "common/base/arena.h"
#include "common/base/buffer.h"
#include "common/http/file_cache.h"
#include "common/http/multipart.h"
#include "common/http/request.h"

/* A longer body is not copied behind its head. */
enum { HTTP_RESPONSE_COPIED_BYTES = 4096 };

/* Takes a connection over: see http_response_detach. */
typedef void (*http_detach_fn)(void *data, int fd);

struct http_response {
    unsigned status;
    const char *content_type; /* must outlive the response; NULL: no such line */
    struct buffer text;       /* the body if it is not empty: the handler wrote it */
    struct span body;        /* else, and without a file: borrowed until the response is rendered */
    struct buffer headers;   /* further lines, each with its CRLF */
    struct arena arena;      /* scratch for the handler; lives until the response is rendered */
    struct file_entry *file; /* a reference: its header lines, and a part of it as the body */
    uint64_t file_offset;
    uint64_t file_bytes;
    struct multipart *parts; /* owned: these parts of the file instead; NULL: none */
    http_detach_fn detach;   /* who takes the connection over; NULL: nobody */
    void *detach_data;
    bool no_store; /* no cache may keep it, as none may keep an error of the moment */
    bool close;    /* the connection ends after this response */
};

void http_response_reset(struct http_response *response);
void http_response_free(struct http_response *response);

/* A short plain text that says what the status means. */
void http_response_error(struct http_response *response, unsigned status);

/* As http_response_error, with words of its own; text is copied. */
void http_response_text(struct http_response *response, unsigned status, const char *text);

/* Adds a header line; name and value are trusted to hold no CR or LF. */
void http_response_add_header(struct http_response *response, const char *name, const char *value);

/* Has the connection given away, for a response without an end: the head has no Content-Length and
 * says that the connection ends. When head and body (if there is one) have been given to the
 * kernel, fn gets the descriptor, non-blocking, which is its own from then on; what the client has
 * sent behind its request is dropped. fn is called once in any case, on the thread of the
 * connection's event loop: fd is -1 if nothing is given away, because the client is gone or the
 * request allows no body (HEAD). data must live until then. */
void http_response_detach(struct http_response *response, http_detach_fn fn, void *data);

/* How many bytes Content-Length announces. */
uint64_t http_response_body_bytes(const struct http_response *response);

/* The body if all of it is in memory; empty if it is to be sent from a file's descriptor, or in
 * parts. */
struct span http_response_memory_body(const struct http_response *response);

/* Whether the status and method allow a body at all (RFC 9110, 6.4.1). */
bool http_response_has_body(const struct http_response *response,
                            const struct http_request *request);

/* Appends status line, header fields and a body that is short and in memory. date_line is "Date:
 * ...\r\n". Any other body is left to the caller: true says that it follows. */
bool http_response_render(const struct http_response *response, const struct http_request *request,
                          struct span date_line, struct buffer *out);

#endif
