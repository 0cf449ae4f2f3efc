/* A response that is one JSON object. */
#ifndef TWINHTTPD_COMMON_HTTP_RESPONSE_JSON_H
#define TWINHTTPD_COMMON_HTTP_RESPONSE_JSON_H

#include "common/base/json_writer.h"
#include "common/http/response.h"

/* Begins the object; the handler puts its members, and ends it. */
static inline void response_json_begin(struct http_response *response, struct json_writer *json)
{
    response->content_type = "application/json";
    json_init(json, &response->text);
    json_object_begin(json);
}

static inline void response_json_end(struct json_writer *json)
{
    json_object_end(json);
}

#endif
