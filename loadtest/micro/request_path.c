/* The way of a request without sockets: parse, route, handle, render. Run under callgrind it tells
 * how many instructions a request costs, and where; tests/steps/instructions does that.
 *
 * Usage: request_path CASE COUNT   (cases: see the table below; COUNT requests, one after another)
 */
#include "common/handlers/handlers.h"
#include "common/http/exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

static const struct http_limits limits = {
    .request_line_bytes = 8192, .header_bytes = 32768, .headers = 100, .body_bytes = 65536};

#define HOST "Host: 127.0.0.1:8080\r\n"

static const struct request_case {
    const char *name;
    const char *text;
} cases[] = {
    {"plaintext", "GET /plaintext HTTP/1.1\r\n" HOST "\r\n"},
    {"browser", "GET /plaintext?a=b HTTP/1.1\r\n" HOST
                "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 "
                "Firefox/128.0\r\n"
                "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
                "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
                "Referer: http://127.0.0.1:8080/index.html\r\nConnection: keep-alive\r\n"
                "Cookie: session=0123456789abcdef\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"},
    {"file", "GET /index.html HTTP/1.1\r\n" HOST "\r\n"},
    {"not-modified", "GET /index.html HTTP/1.1\r\n" HOST
                     "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n"},
    {"post", "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 16\r\n\r\n0123456789abcdef"},
    {"chunked", "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                "8\r\n01234567\r\n8;x=y\r\n89abcdef\r\n0\r\n\r\n"},
};

static void die(const char *what)
{
    fprintf(stderr, "request_path: %s\n", what);
    exit(2);
}

static const char *text_of(const char *name)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(cases[i].name, name) == 0) {
            return cases[i].text;
        }
    }
    die("unknown case");
    return NULL;
}

/* valgrind 3.19 does not know openat2; within the sample site openat does the same. */
long __wrap_syscall(long number, int directory, const char *path, void *how, size_t bytes);

long __wrap_syscall(long number, int directory, const char *path, void *how, size_t bytes)
{
    (void)how;
    (void)bytes;
    if (number != SYS_openat2) {
        die("an unexpected system call");
    }
    return openat(directory, path, O_RDONLY | O_CLOEXEC);
}

/* One request from its bytes to those of its answer. The connection does the same (see
 * common/net/connection_requests.c), with what a socket may do in between. */
static void serve(struct http_exchange *exchange, const struct router *router,
                  struct handler_context *context, struct span text, struct buffer *out)
{
    struct http_request *request = &exchange->request;
    if (http_parser_feed_head(exchange->parser, request, text.ptr, text.len) != HTTP_PARSE_HEAD) {
        die("the request is refused");
    }
    http_exchange_route(exchange, router);
    if (request->has_body) {
        size_t used = 0;
        size_t left = text.len - request->head_bytes;
        if (http_parser_feed_body(exchange->parser, request, text.ptr + request->head_bytes, left,
                                  &used) != HTTP_PARSE_DONE) {
            die("the body is refused");
        }
    }
    http_exchange_run(exchange, context);
    http_response_render(&exchange->response, request,
                         SPAN("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), out);
    http_exchange_reset(exchange);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        die("usage: request_path CASE COUNT");
    }
    struct span text = span_of(text_of(argv[1]));
    unsigned long count = strtoul(argv[2], NULL, 10);
    struct error error;
    struct document_root *root = document_root_open(TWINHTTPD_SAMPLE_ROOT, &error);
    if (root == NULL) {
        die(error.text);
    }
    struct scoreboard *scoreboard = scoreboard_create(1);
    struct shared_cell cell;
    shared_cell_init(&cell, SHARED_CELL_THREADS);
    struct handler_environment environment = {
        .scoreboard = scoreboard, .process_cell = &cell, .shared_cell = &cell, .bench = true};
    struct router *router = router_create();
    handlers_register(router, &environment);
    struct handler_context context = {.slot = &scoreboard->slots[0],
                                      .files = file_cache_create(root, 16, FILE_ETAG_PORTABLE),
                                      .turn = 1,
                                      .now_ms = 1000};
    struct client_address client = {{0}};
    struct http_exchange *exchange = http_exchange_create(&limits);
    exchange->client = &client;
    struct buffer out = {0};
    for (unsigned long i = 0; i < count; i++) {
        buffer_clear(&out);
        serve(exchange, router, &context, text, &out);
    }
    fwrite(out.data, 1, out.len, stdout);
    buffer_free(&out);
    http_exchange_destroy(exchange);
    file_cache_destroy(context.files);
    document_root_close(root);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    return 0;
}
