/* What handlers read from the query of a request. */
#ifndef TWINHTTPD_COMMON_HTTP_QUERY_H
#define TWINHTTPD_COMMON_HTTP_QUERY_H

#include "common/http/request.h"
#include "common/http/response.h"

#include <stdbool.h>
#include <stdint.h>

/* The number that the parameter name gives, from 0 to max; fallback without it. False: the response
 * is 400, and says what it must be. */
bool query_uint(const struct http_request *request, struct http_response *response,
                const char *name, uint64_t fallback, uint64_t max, uint64_t *value);

/* The text that the parameter name gives, decoded, into out, which has room for so many bytes with
 * the NUL at its end; without the parameter out stays as it is. False: the response is 400, and
 * says what it must be. */
bool query_text(const struct http_request *request, struct http_response *response,
                const char *name, char *out, size_t bytes);

#endif
