/* Status codes that the server itself answers with, and their reason phrases. */
#ifndef TWINHTTPD_COMMON_HTTP_STATUS_LINE_H
#define TWINHTTPD_COMMON_HTTP_STATUS_LINE_H

#include "common/base/span.h"

/* "HTTP/1.1 200 OK\r\n" for a known status; an unknown one is rendered as 500. */
struct span http_status_line(unsigned status);

/* "Not Found". */
const char *http_status_reason(unsigned status);

#endif
