/* Request targets (RFC 9112, 3.2): split, made safe for the file system, and put together again. */
#ifndef TWINHTTPD_COMMON_HTTP_URI_H
#define TWINHTTPD_COMMON_HTTP_URI_H

#include "common/base/buffer.h"
#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum uri_result {
    URI_OK,
    URI_BAD_REQUEST, /* answer 400 */
    URI_NOT_FOUND    /* well-formed, but nothing can have that name: answer 404 */
};

/* The parts of a target as they were sent. The spans point into the target, except for a path that
 * was empty, which points to a static "/". */
struct uri {
    struct span authority; /* absolute-form: replaces Host (RFC 9112, 3.2.2); else ptr is NULL */
    struct span path;      /* starts with "/"; still percent-encoded */
    struct span query;     /* without the "?"; empty when there is none */
    bool has_query;        /* tells "/a?" from "/a" */
};

/* Splits an origin-form or absolute-form target (http or https). The parser has already made sure
 * that it holds neither spaces nor control bytes. URI_BAD_REQUEST for anything else: "*" and the
 * authority-form of CONNECT (which the caller handles before), another scheme, a fragment, user
 * information (RFC 9110, 4.2.4), an empty host (RFC 9110, 4.2.1). The caller still checks the
 * authority as it checks a Host field. *uri is filled with URI_OK only. */
enum uri_result uri_split(struct span target, struct uri *uri);

/* Whether a raw path is its own normal form: starts with "/", has neither "%" nor "//", no segment
 * that starts with ".", and visible ASCII only. The fast way: such a path needs no copy, and it is
 * not hidden either. */
bool uri_path_is_plain(struct span path);

/* Turns a raw path into the name of a file below the document root: decodes the percent-encoding
 * once, merges repeated slashes, then removes "." and ".." segments (RFC 3986, 5.2.4). A final "."
 * or ".." leaves the slash of its directory. Bytes from 0x80 and backslashes are ordinary.
 *   out       room for raw.len + 1 bytes, the caller's, not overlapping raw; NUL-terminated
 *   path      set to the result inside out, with URI_OK only
 * URI_BAD_REQUEST: no leading slash, bad or incomplete percent-encoding, a control byte (NUL and
 * 0x7f among them), a path that leaves the root. URI_NOT_FOUND: an encoded slash, which is part of
 * a name and must not become a separator (RFC 3986, 2.2). The first fault from the left decides;
 * leaving the root is looked at last. */
enum uri_result uri_normalize_path(struct span raw, char *out, struct span *path);

/* Whether a normalized path names something hidden: a segment that starts with ".". Only the first
 * segment may be ".well-known" (RFC 8615). */
bool uri_path_is_hidden(struct span path);

/* Appends a decoded path, percent-encoded so that it can stand in a Location field, and between
 * quotes in HTML: letters, digits and "-._~/!$()*+,;=@" stay. Of the bytes that RFC 3986, 3.3 would
 * let stand, ":" is encoded too, so that a relative link never looks like a scheme, and so are "&"
 * and "'". A path that starts with "//" would name a host: normalize it first. */
void uri_encode_path(struct buffer *out, struct span path);

/* Appends a query as it was sent, percent-encoding the bytes that no URI may hold: those from 0x80
 * and a few of ASCII. What is encoded already stays as it is. */
void uri_encode_query(struct buffer *out, struct span query);

/* Finds the first pair with this name in a query "a=1&b=2". Names are compared byte for byte, and
 * neither names nor values are percent-decoded. A name without "=" has an empty value. *value
 * points into query. False: no such name, and *value is left alone. */
bool uri_query_param(struct span query, const char *name, struct span *value);

/* The same for a decimal number from 0 to max: *value is the number, or fallback when the query
 * does not have the name. False (answer 400, *value left alone): empty, not digits alone, or above
 * max. */
bool uri_query_uint(struct span query, const char *name, uint64_t fallback, uint64_t max,
                    uint64_t *value);

/* The same for text, as browsers send it: percent-encoding is decoded once, and "+" is a blank.
 * Into out, which has room for so many bytes, ended by a NUL. URI_NOT_FOUND: the query does not
 * have the name, and out is left alone. URI_BAD_REQUEST: bad percent-encoding, a control byte, or
 * no room. */
enum uri_result uri_query_text(struct span query, const char *name, char *out, size_t bytes);

#endif
