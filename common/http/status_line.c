#include "common/http/status_line.h"

struct status_entry {
    unsigned status;
    struct span line;
    const char *reason;
};

#define ENTRY(code, phrase)                                                                        \
    {code,                                                                                         \
     {"HTTP/1.1 " #code " " phrase "\r\n", sizeof("HTTP/1.1 " #code " " phrase "\r\n") - 1},       \
     phrase}

static const struct status_entry entries[] = {
    ENTRY(200, "OK"), /* first: nearly every answer */
    ENTRY(204, "No Content"),
    ENTRY(206, "Partial Content"),
    ENTRY(301, "Moved Permanently"),
    ENTRY(304, "Not Modified"),
    ENTRY(400, "Bad Request"),
    ENTRY(403, "Forbidden"),
    ENTRY(404, "Not Found"),
    ENTRY(405, "Method Not Allowed"),
    ENTRY(408, "Request Timeout"),
    ENTRY(409, "Conflict"),
    ENTRY(411, "Length Required"),
    ENTRY(412, "Precondition Failed"),
    ENTRY(413, "Content Too Large"),
    ENTRY(414, "URI Too Long"),
    ENTRY(416, "Range Not Satisfiable"),
    ENTRY(417, "Expectation Failed"),
    ENTRY(421, "Misdirected Request"),
    ENTRY(431, "Request Header Fields Too Large"),
    ENTRY(500, "Internal Server Error"),
    ENTRY(501, "Not Implemented"),
    ENTRY(502, "Bad Gateway"),
    ENTRY(503, "Service Unavailable"),
    ENTRY(504, "Gateway Timeout"),
    ENTRY(505, "HTTP Version Not Supported"),
};

static const struct status_entry *find(unsigned status)
{
    const size_t count = sizeof(entries) / sizeof(entries[0]);
    const struct status_entry *server_error = NULL;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].status == status) {
            return &entries[i];
        }
        if (entries[i].status == 500) {
            server_error = &entries[i];
        }
    }
    return server_error;
}

struct span http_status_line(unsigned status)
{
    return find(status)->line;
}

const char *http_status_reason(unsigned status)
{
    return find(status)->reason;
}
