/* Parts of files: what Range asks for (RFC 9110, 14). */
#ifndef TWINHTTPD_COMMON_HANDLERS_SITE_STATIC_RANGE_H
#define TWINHTTPD_COMMON_HANDLERS_SITE_STATIC_RANGE_H

#include "common/http/response.h"

enum { STATIC_RANGES_MAX = 256 }; /* of one answer */

/* Changes a response with the whole of a file into one with the parts that the request's Range
 * field names: one part as it is, several as multipart/byteranges, none that exist as 416. Left
 * whole (which RFC 9110, 14.2 allows) are malformed fields, more ranges than STATIC_RANGES_MAX, and
 * ranges that are longer together than the file. */
void static_range_apply(const struct http_request *request, struct http_response *response);

#endif
