#include "common/http/request.h"

enum { KEPT_BODY_BYTES = 65536 }; /* a larger buffer is given back after its request */

void http_request_reset(struct http_request *request)
{
    struct arena arena = request->arena;
    struct buffer body = request->body;
    arena_reset(&arena);
    buffer_clear(&body);
    if (body.capacity > KEPT_BODY_BYTES) {
        buffer_free(&body);
    }
    *request = (struct http_request){.arena = arena, .body = body};
}

void http_request_free(struct http_request *request)
{
    arena_free(&request->arena);
    buffer_free(&request->body);
}

const char *http_method_name(enum http_method method)
{
    static const char *const names[] = {
        [METHOD_GET] = "GET",     [METHOD_HEAD] = "HEAD",     [METHOD_POST] = "POST",
        [METHOD_PUT] = "PUT",     [METHOD_DELETE] = "DELETE", [METHOD_OPTIONS] = "OPTIONS",
        [METHOD_PATCH] = "PATCH", [METHOD_TRACE] = "TRACE",   [METHOD_CONNECT] = "CONNECT",
        [METHOD_UNKNOWN] = "?",
    };
    return names[method];
}
