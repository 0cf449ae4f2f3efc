#include "server/observe/guard.h"

#include "common/net/endpoint.h"

#include <stdio.h>
#include <string.h>

#define SCHEME     "http://"
#define LOCAL_HOST "localhost"

/* ---- Host ---- */

/* Of "HOST:PORT" or "HOST", of which a Host consists (http_head_is_host). */
static struct span host_of(struct span value)
{
    size_t at = value.len;
    while (at > 0 && value.ptr[at - 1] >= '0' && value.ptr[at - 1] <= '9') {
        at--;
    }
    return at > 0 && value.ptr[at - 1] == ':' ? (struct span){value.ptr, at - 1} : value;
}

static bool is_number(struct span host)
{
    char text[ENDPOINT_TEXT_BYTES];
    struct endpoint endpoint;
    int bytes = snprintf(text, sizeof(text), "%.*s:80", (int)host.len, host.ptr);
    return bytes > 0 && bytes < (int)sizeof(text) && host.len > 0 && host.ptr[0] != '*' &&
           endpoint_parse(&endpoint, text);
}

static bool is_listed(struct span host, const char *names)
{
    while (names != NULL) {
        const size_t bytes = strcspn(names, ",");
        if (span_equal_nocase(host, (struct span){names, bytes})) {
            return true;
        }
        names = names[bytes] == ',' ? names + bytes + 1 : NULL;
    }
    return false;
}

static bool is_no_foreign_name(struct span value, const char *names)
{
    const struct span host = host_of(value);
    return span_equal_nocase(host, SPAN(LOCAL_HOST)) || is_number(host) || is_listed(host, names);
}

/* ---- Origin ---- */

static bool is_own_origin(struct span origin, struct span host)
{
    const size_t bytes = sizeof(SCHEME) - 1;
    return host.ptr != NULL && origin.len > bytes &&
           span_equal_nocase((struct span){origin.ptr, bytes}, SPAN(SCHEME)) &&
           span_equal_nocase((struct span){origin.ptr + bytes, origin.len - bytes}, host);
}

const char *guard_refusal(const struct http_request *request, const char *names)
{
    const struct span host = http_request_field(request, HTTP_FIELD_HOST);
    const struct span origin = http_request_field_named(request, SPAN("Origin"));
    if (host.ptr != NULL && !is_no_foreign_name(host, names)) {
        return "this name is not the observer's: ask by localhost or by its address as a number, "
               "or list the name in observe_names";
    }
    if (origin.ptr != NULL && !is_own_origin(origin, host)) {
        return "a page of another site may not ask: open the address that the server has printed";
    }
    return NULL;
}

void guard_add_headers(struct http_response *response)
{
    http_response_add_header(response, "X-Content-Type-Options", "nosniff");
    http_response_add_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    http_response_add_header(response, "Referrer-Policy", "no-referrer");
}

/* ---- The token ---- */

bool guard_has_token(const struct http_request *request, const char *token)
{
    static const struct span scheme = {"Bearer ", 7};
    const struct span value = http_request_field_named(request, SPAN("Authorization"));
    const size_t bytes = strlen(token);
    if (value.len != scheme.len + bytes || bytes == 0 ||
        !span_equal_nocase((struct span){value.ptr, scheme.len}, scheme)) {
        return false;
    }
    unsigned char difference = 0;
    for (size_t i = 0; i < bytes; i++) {
        difference |= (unsigned char)(value.ptr[scheme.len + i] ^ token[i]);
    }
    return difference == 0;
}
