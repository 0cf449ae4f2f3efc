#include "common/http/response.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#define DATE   "Date: Sat, 21 Nov 2026 01:02:03 GMT\r\n"
#define SERVER "Server: twinhttpd\r\n" DATE

static struct http_request request;
static struct http_response response;
static struct buffer out;

static int make(void **state)
{
    (void)state;
    request = (struct http_request){.method = METHOD_GET, .minor_version = 1};
    http_response_reset(&response);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    http_response_free(&response);
    buffer_free(&out);
    return 0;
}

static void assert_rendered(const char *expected, bool file_follows)
{
    buffer_clear(&out);
    buffer_append_span(&out, SPAN("before "));
    assert_int_equal(http_response_render(&response, &request, SPAN(DATE), &out), file_follows);
    buffer_append(&out, "", 1);
    assert_memory_equal(out.data, "before ", 7); /* appended, not written over */
    assert_string_equal(out.data + 7, expected);
    assert_int_equal(out.len, 7 + strlen(expected) + 1);
}

static void test_200(void **state)
{
    (void)state;
    response.content_type = "text/plain";
    response.body = SPAN("Hello, World!");
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER
                    "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!",
                    false);
}

static void test_empty_body(void **state)
{
    (void)state;
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 0\r\n\r\n", false);
    assert_int_equal(http_response_body_bytes(&response), 0);
}

static void test_text_goes_before_body(void **state)
{
    (void)state;
    response.body = SPAN("borrowed");
    buffer_printf(&response.text, "%s", "own");
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 3\r\n\r\nown", false);
}

static void test_head(void **state)
{
    (void)state;
    request.method = METHOD_HEAD;
    response.body = SPAN("Hello, World!");
    assert_false(http_response_has_body(&response, &request));
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 13\r\n\r\n", false);
}

static void test_204(void **state)
{
    (void)state;
    response.status = 204;
    http_response_add_header(&response, "Allow", "GET, OPTIONS");
    assert_rendered("HTTP/1.1 204 No Content\r\n" SERVER "Allow: GET, OPTIONS\r\n\r\n", false);
    response.body = SPAN("may not be sent");
    assert_rendered("HTTP/1.1 204 No Content\r\n" SERVER "Allow: GET, OPTIONS\r\n\r\n", false);
}

static void test_statuses_without_body(void **state)
{
    (void)state;
    static const unsigned without[] = {100, 101, 199, 204, 304};
    static const unsigned with[] = {200, 206, 301, 404, 416, 500, 503};
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
        response.status = without[i];
        assert_false(http_response_has_body(&response, &request));
    }
    for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++) {
        response.status = with[i];
        assert_true(http_response_has_body(&response, &request));
    }
}

static void test_close(void **state)
{
    (void)state;
    response.close = true;
    response.body = SPAN("x");
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 1\r\nConnection: close\r\n\r\nx",
                    false);
    request.minor_version = 0;
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 1\r\nConnection: close\r\n\r\nx",
                    false);
}

static void test_keep_alive_for_1_0(void **state)
{
    (void)state;
    request.minor_version = 0;
    response.body = SPAN("x");
    assert_rendered(
        "HTTP/1.1 200 OK\r\n" SERVER "Content-Length: 1\r\nConnection: keep-alive\r\n\r\nx", false);
}

static void test_errors(void **state)
{
    (void)state;
    http_response_text(&response, 400, "first");
    http_response_error(&response, 404);
    http_response_add_header(&response, "A", "b");
    http_response_add_header(&response, "C", "d");
    assert_rendered("HTTP/1.1 404 Not Found\r\n" SERVER
                    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n"
                    "A: b\r\nC: d\r\n\r\nNot Found\n",
                    false);
}

/* What one request has caused is not for others. */
static void test_no_store(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        bool no_store, says_so;
    } answers[] = {
        {200, false, false}, {200, true, true},  {206, false, false}, {301, false, false},
        {304, false, false}, {400, false, true}, {403, false, true},  {404, false, false},
        {404, true, true},   {405, false, true}, {408, false, true},  {412, false, true},
        {413, false, true},  {414, false, true}, {416, false, true},  {417, false, true},
        {431, false, true},  {500, false, true}, {501, false, true},  {503, false, true},
    };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        response.status = answers[i].status;
        response.no_store = answers[i].no_store;
        buffer_clear(&out);
        http_response_render(&response, &request, SPAN(DATE), &out);
        buffer_append(&out, "", 1);
        assert_int_equal(strstr(out.data, "\r\nCache-Control: no-store\r\n") != NULL,
                         answers[i].says_so);
    }
    http_response_reset(&response);
    assert_false(response.no_store);
}

static void test_text_is_copied(void **state)
{
    (void)state;
    char text[] = "100% of it";
    http_response_text(&response, 400, text);
    memset(text, 'x', sizeof(text) - 1);
    assert_rendered("HTTP/1.1 400 Bad Request\r\n" SERVER
                    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 11\r\n"
                    "Cache-Control: no-store\r\n\r\n100% of it\n",
                    false);
}

/* An entry as the file cache makes it; content NULL: not in memory. */
static struct file_entry *make_file(const char *content)
{
    static const char lines[] = "ETag: \"e\"\r\n";
    struct file_entry *file = test_calloc(1, sizeof(*file));
    file->references = 2; /* one stays here, so that the last release is this test's */
    file->fd = -1;
    file->size_bytes = 10;
    file->content_type = "text/html";
    file->headers = SPAN(lines);
    file->content = (char *)(uintptr_t)content;
    response.file = file;
    response.file_bytes = 10;
    response.content_type = file->content_type;
    return file;
}

static void end_file(struct file_entry *file)
{
    http_response_reset(&response);
    assert_int_equal(file->references, 1); /* the response held one, and only one */
    test_free(file);
}

static void test_file_in_memory(void **state)
{
    (void)state;
    struct file_entry *file = make_file("0123456789");
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER
                    "Content-Type: text/html\r\nContent-Length: 10\r\nETag: \"e\"\r\n\r\n"
                    "0123456789",
                    false);
    request.method = METHOD_HEAD;
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER
                    "Content-Type: text/html\r\nContent-Length: 10\r\nETag: \"e\"\r\n\r\n",
                    false);
    end_file(file);
}

static void test_part_of_a_file_in_memory(void **state)
{
    (void)state;
    struct file_entry *file = make_file("0123456789");
    response.status = 206;
    response.file_offset = 3;
    response.file_bytes = 4;
    http_response_add_header(&response, "Content-Range", "bytes 3-6/10");
    assert_rendered("HTTP/1.1 206 Partial Content\r\n" SERVER
                    "Content-Type: text/html\r\nContent-Length: 4\r\nETag: \"e\"\r\n"
                    "Content-Range: bytes 3-6/10\r\n\r\n3456",
                    false);
    end_file(file);
}

static void test_file_that_follows(void **state)
{
    (void)state;
    static const char head[] =
        "HTTP/1.1 200 OK\r\n" SERVER "Content-Type: text/html\r\nContent-Length: 10\r\n"
        "ETag: \"e\"\r\n\r\n";
    struct file_entry *file = make_file(NULL);
    assert_rendered(head, true);
    request.method = METHOD_HEAD;
    assert_rendered(head, false);
    end_file(file);
}

static void test_304(void **state)
{
    (void)state;
    struct file_entry *file = make_file(NULL);
    response.status = 304;
    response.content_type = NULL;
    assert_rendered("HTTP/1.1 304 Not Modified\r\n" SERVER "ETag: \"e\"\r\n\r\n", false);
    end_file(file);
    file = make_file("0123456789");
    response.status = 304;
    response.content_type = NULL;
    assert_rendered("HTTP/1.1 304 Not Modified\r\n" SERVER "ETag: \"e\"\r\n\r\n", false);
    end_file(file);
}

static void test_empty_file(void **state)
{
    (void)state;
    struct file_entry *file = make_file(NULL);
    response.file_bytes = 0;
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER
                    "Content-Type: text/html\r\nContent-Length: 0\r\nETag: \"e\"\r\n\r\n",
                    false);
    end_file(file);
}

/* Several parts: their bytes follow, the header lines stay, and all is given back with the reset.
 */
static void test_parts(void **state)
{
    (void)state;
    static const struct byte_range ranges[] = {{0, 1}, {4, 5}};
    static const char *const contents[] = {NULL, "0123456789"};
    for (size_t i = 0; i < 2; i++) {
        char expected[256];
        struct file_entry *file = make_file(contents[i]);
        response.status = 206;
        response.content_type = NULL;
        response.parts = multipart_create(ranges, 2, 10, NULL);
        uint64_t bytes = multipart_bytes(response.parts);
        assert_int_equal(http_response_body_bytes(&response), bytes);
        assert_int_equal(http_response_memory_body(&response).len, 0);
        snprintf(expected, sizeof(expected),
                 "HTTP/1.1 206 Partial Content\r\n" SERVER "Content-Length: %d\r\n"
                 "ETag: \"e\"\r\n\r\n",
                 (int)bytes);
        assert_rendered(expected, true);
        request.method = METHOD_HEAD;
        assert_rendered(expected, false);
        request.method = METHOD_GET;
        end_file(file);
        assert_null(response.parts);
    }
}

/* What is long is not copied, from wherever it comes. */
static void test_long_body(void **state)
{
    (void)state;
    enum { LONG_BYTES = HTTP_RESPONSE_COPIED_BYTES + 1 };
    static char text[LONG_BYTES + 1];
    char expected[256];
    memset(text, 'x', LONG_BYTES);
    snprintf(expected, sizeof(expected), "HTTP/1.1 200 OK\r\n" SERVER "Content-Length: %d\r\n\r\n",
             LONG_BYTES);
    response.body = (struct span){text, LONG_BYTES};
    assert_rendered(expected, true);
    http_response_reset(&response);
    buffer_append(&response.text, text, LONG_BYTES);
    assert_rendered(expected, true);
    response.text.len--; /* is short enough */
    buffer_clear(&out);
    assert_false(http_response_render(&response, &request, SPAN(DATE), &out));
    assert_non_null(memmem(out.data, out.len, text, LONG_BYTES - 1));
    http_response_reset(&response);
    struct file_entry *file = make_file(text);
    response.file_bytes = LONG_BYTES;
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER
                    "Content-Type: text/html\r\nContent-Length: 4097\r\nETag: \"e\"\r\n\r\n",
                    true);
    end_file(file);
}

static void test_text_instead_of_file(void **state)
{
    (void)state;
    struct file_entry *file = make_file(NULL);
    buffer_printf(&response.text, "%s", "parts");
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER "Content-Type: text/html\r\nContent-Length: 5\r\n"
                    "ETag: \"e\"\r\n\r\nparts",
                    false);
    end_file(file);
}

static void test_long_numbers(void **state)
{
    (void)state;
    struct file_entry *file = make_file(NULL);
    response.file_bytes = UINT64_MAX;
    response.content_type = NULL;
    assert_rendered("HTTP/1.1 200 OK\r\n" SERVER
                    "Content-Length: 18446744073709551615\r\nETag: \"e\"\r\n\r\n",
                    true);
    end_file(file);
}

/* Each part alone, longer than the buffer is at first: room must have been made for it. */
static void test_long_parts(void **state)
{
    (void)state;
    enum { LONG_BYTES = 4000, PARTS = 5 };
    static char text[LONG_BYTES + 1];
    memset(text, 't', LONG_BYTES);
    for (int part = 0; part < PARTS; part++) {
        struct file_entry file = {.references = 2, .fd = -1, .headers = {text, LONG_BYTES}};
        struct span date = part == 0 ? (struct span){text, LONG_BYTES} : SPAN(DATE);
        http_response_reset(&response);
        response.status = 431;
        response.close = true;
        response.content_type = part == 1 ? text : NULL;
        response.body = part == 2 ? (struct span){text, LONG_BYTES} : SPAN("");
        response.file = part == 3 ? &file : NULL;
        buffer_printf(&response.headers, "%s", part == 4 ? text : "");
        http_response_render(&response, &request, date, &out);
        assert_in_range(out.len, LONG_BYTES, out.capacity);
        assert_non_null(memmem(out.data, out.len, text, LONG_BYTES));
        response.file = NULL;
        buffer_free(&out);
    }
}

static void test_reset(void **state)
{
    (void)state;
    struct file_entry *file = make_file(NULL);
    http_response_error(&response, 404);
    http_response_add_header(&response, "A", "b");
    response.close = true;
    response.file_offset = 3;
    const char *text = response.text.data, *headers = response.headers.data;
    void *scratch = arena_alloc(&response.arena, 16);
    http_response_reset(&response);
    assert_int_equal(file->references, 1);
    test_free(file);
    struct http_response expected = {
        .status = 200, .text = response.text, .headers = response.headers, .arena = response.arena};
    assert_memory_equal(&response, &expected, sizeof(response));
    assert_ptr_equal(response.text.data, text);
    assert_ptr_equal(response.headers.data, headers);
    assert_int_equal(response.text.len + response.headers.len, 0);
    assert_ptr_equal(arena_alloc(&response.arena, 16), scratch);
    buffer_reserve(&response.text, 16385);
    http_response_reset(&response);
    assert_int_equal(response.text.capacity, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_200),
        TEST(test_empty_body),
        TEST(test_text_goes_before_body),
        TEST(test_head),
        TEST(test_204),
        TEST(test_statuses_without_body),
        TEST(test_close),
        TEST(test_keep_alive_for_1_0),
        TEST(test_errors),
        TEST(test_no_store),
        TEST(test_text_is_copied),
        TEST(test_file_in_memory),
        TEST(test_part_of_a_file_in_memory),
        TEST(test_file_that_follows),
        TEST(test_304),
        TEST(test_empty_file),
        TEST(test_parts),
        TEST(test_long_body),
        TEST(test_text_instead_of_file),
        TEST(test_long_numbers),
        TEST(test_long_parts),
        TEST(test_reset),
    };
    return cmocka_run_group_tests_name("response", tests, NULL, NULL);
}
