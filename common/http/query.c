#include "common/http/query.h"

#include "common/http/uri.h"

#include <inttypes.h>
#include <stdio.h>

enum { TEXT_BYTES = 128 };

bool query_uint(const struct http_request *request, struct http_response *response,
                const char *name, uint64_t fallback, uint64_t max, uint64_t *value)
{
    char text[TEXT_BYTES];
    if (uri_query_uint(request->query, name, fallback, max, value)) {
        return true;
    }
    snprintf(text, sizeof(text), "%s must be a number from 0 to %" PRIu64, name, max);
    http_response_text(response, 400, text);
    return false;
}

bool query_text(const struct http_request *request, struct http_response *response,
                const char *name, char *out, size_t bytes)
{
    char text[TEXT_BYTES];
    if (uri_query_text(request->query, name, out, bytes) != URI_BAD_REQUEST) {
        return true;
    }
    snprintf(text, sizeof(text), "%s must be percent-encoded text of at most %zu bytes", name,
             bytes - 1);
    http_response_text(response, 400, text);
    return false;
}
