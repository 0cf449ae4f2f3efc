#include "common/http/response_gzip.h"

#include "common/http/content_coding.h"
#include "common/http/gzip.h"
#include "common/http/head.h"

static bool is_wanted(const struct http_request *request, struct arena *arena)
{
    return content_coding_choose(http_head_field_list(request, HTTP_FIELD_ACCEPT_ENCODING, arena),
                                 CODING_BIT(CODING_GZIP)) == CODING_GZIP;
}

void response_gzip(const struct http_request *request, struct http_response *response)
{
    if (response->file != NULL ||
        !gzip_suits(response->content_type, http_response_body_bytes(response))) {
        return;
    }
    http_response_add_header(response, "Vary", "Accept-Encoding");
    struct buffer compressed = {0};
    if (is_wanted(request, &response->arena) &&
        gzip_compress(http_response_memory_body(response), &compressed)) {
        http_response_add_header(response, "Content-Encoding", "gzip");
        buffer_free(&response->text);
        response->text = compressed;
    } else {
        buffer_free(&compressed);
    }
}
