/* Compression of a response on the fly, where the settings allow it. */
#ifndef TWINHTTPD_COMMON_HTTP_RESPONSE_GZIP_H
#define TWINHTTPD_COMMON_HTTP_RESPONSE_GZIP_H

#include "common/http/request.h"
#include "common/http/response.h"

/* Compresses the body of a response that is in memory if it suits and the client likes it. A
 * response that has a file is left alone: its validators belong to the bytes as they are. */
void response_gzip(const struct http_request *request, struct http_response *response);

#endif
