/* Media types of files, by their extension. */
#ifndef TWINHTTPD_COMMON_HTTP_MIME_H
#define TWINHTTPD_COMMON_HTTP_MIME_H

#include "common/base/span.h"

#include <stddef.h>

/* The Content-Type (RFC 9110, 8.3) for a path's last extension, without regard to case; the text
 * types carry "; charset=utf-8". An unknown extension, none at all, and a name that only starts
 * with a dot give "application/octet-stream". A static string, never NULL. */
const char *mime_type_of(struct span path);

/* The known extensions by index, without the dot, in the order of strcmp; NULL behind the last one.
 * For the test that the table is sorted, on which the binary search relies. */
const char *mime_extension(size_t index);

#endif
