#include "common/http/gzip.h"
#include "common/http/response_gzip.h"

#include "tests/unit/failing_call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { TEXT_BYTES = 5000 };

static char text[TEXT_BYTES + 1];

static struct failing_call failing_deflate_init;

WRAPPED(int, deflateInit2_, z_streamp stream, int level, int method, int window, int memory,
        int strategy, const char *version, int stream_bytes)
{
    return fails_now(&failing_deflate_init)
               ? Z_MEM_ERROR
               : __real_deflateInit2_(stream, level, method, window, memory, strategy, version,
                                      stream_bytes);
}

static int make_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        text[i] = "All work and no play makes Jack a dull boy.\n"[i % 44];
    }
    return 0;
}

/* The compressed bytes must be one whole gzip stream that holds the text. */
static void assert_holds(struct span compressed, const char *expected, size_t bytes)
{
    char *out = calloc(1, bytes + 1);
    assert_non_null(out);
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)compressed.ptr,
                       .avail_in = (uInt)compressed.len,
                       .next_out = (Bytef *)out,
                       .avail_out = (uInt)bytes + 1};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, bytes);
    assert_memory_equal(out, expected, bytes);
    inflateEnd(&stream);
    free(out);
}

static void test_what_suits(void **state)
{
    (void)state;
    static const char *const good[] = {
        "text/plain; charset=utf-8", "TEXT/HTML",       "application/json",
        "application/ld+json",       "image/svg+xml",   "application/javascript",
        "text/javascript",           "application/wasm"};
    static const char *const bad[] = {
        "image/png",    "application/octet-stream", "video/mp4", "application/gzip", "x", "",
        "textual/plain"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(gzip_suits(good[i], TEXT_BYTES));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(gzip_suits(bad[i], TEXT_BYTES));
    }
    assert_false(gzip_suits(NULL, TEXT_BYTES));
    assert_false(gzip_suits("text/plain", 255));
    assert_true(gzip_suits("text/plain", 256));
    assert_true(gzip_suits("text/plain", 1 << 20));
    assert_false(gzip_suits("text/plain", (1 << 20) + 1));
}

static void test_compress(void **state)
{
    (void)state;
    struct buffer out = {0};
    buffer_append(&out, "before", 6);
    assert_true(gzip_compress((struct span){text, TEXT_BYTES}, &out));
    assert_in_range(out.len, 6 + 20, 6 + TEXT_BYTES / 10);
    assert_memory_equal(out.data, "before", 6);
    assert_holds((struct span){out.data + 6, out.len - 6}, text, TEXT_BYTES);
    buffer_free(&out);
}

static void fill_with_noise(char *out, size_t bytes)
{
    uint32_t random = 1;
    for (size_t i = 0; i < bytes; i++) {
        random = random * 1664525 + 1013904223;
        out[i] = (char)(random >> 24);
    }
}

static void test_what_does_not_become_smaller(void **state)
{
    (void)state;
    char noise[1000];
    fill_with_noise(noise, sizeof(noise));
    struct buffer out = {0};
    assert_false(gzip_compress((struct span){noise, sizeof(noise)}, &out));
    assert_int_equal(out.len, 0);
    assert_false(gzip_compress((struct span){"", 0}, &out));
    buffer_free(&out);
}

/* A response to a client that sent this Accept-Encoding (NULL: none). */
static struct http_response respond(const char *type, struct span body, const char *accept)
{
    struct http_request request = {.method = METHOD_GET};
    struct http_response response = {.status = 200, .content_type = type, .body = body};
    if (accept != NULL) {
        request.head = accept;
        request.fields[HTTP_FIELD_ACCEPT_ENCODING].len = (uint32_t)strlen(accept);
        request.field_occurrences[HTTP_FIELD_ACCEPT_ENCODING] = 1;
    }
    response_gzip(&request, &response);
    return response;
}

static const char *headers_of(struct http_response *response)
{
    buffer_append(&response->headers, "", 1);
    return response->headers.data;
}

static void test_response(void **state)
{
    (void)state;
    struct http_response response =
        respond("text/plain", (struct span){text, TEXT_BYTES}, "gzip, br");
    assert_string_equal(headers_of(&response),
                        "Vary: Accept-Encoding\r\nContent-Encoding: gzip\r\n");
    assert_holds((struct span){response.text.data, response.text.len}, text, TEXT_BYTES);
    assert_int_equal(http_response_body_bytes(&response), response.text.len);
    http_response_free(&response);
}

static void test_response_to_who_does_not_accept(void **state)
{
    (void)state;
    static const char *const accepted[] = {NULL, "", "br", "gzip;q=0", "identity, gzip;q=0.5"};
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        struct http_response response =
            respond("text/plain", (struct span){text, TEXT_BYTES}, accepted[i]);
        assert_string_equal(headers_of(&response), "Vary: Accept-Encoding\r\n");
        assert_int_equal(http_response_body_bytes(&response), TEXT_BYTES);
        http_response_free(&response);
    }
}

static void test_response_that_does_not_suit(void **state)
{
    (void)state;
    struct http_response response = respond("image/png", (struct span){text, TEXT_BYTES}, "gzip");
    assert_int_equal(response.headers.len, 0);
    http_response_free(&response);
    response = respond("text/plain", (struct span){text, 255}, "gzip");
    assert_int_equal(response.headers.len, 0);
    http_response_free(&response);
    struct file_entry file = {.size_bytes = TEXT_BYTES};
    struct http_request request = {.method = METHOD_GET};
    response = (struct http_response){
        .content_type = "text/plain", .file = &file, .file_bytes = TEXT_BYTES};
    response_gzip(&request, &response); /* the cache compresses files */
    assert_ptr_equal(response.file, &file);
    assert_int_equal(response.headers.len, 0);
}

/* Content that has been compressed already, under a type that suits. */
static void test_response_that_does_not_become_smaller(void **state)
{
    (void)state;
    char noise[1000];
    fill_with_noise(noise, sizeof(noise));
    struct http_response response =
        respond("text/plain", (struct span){noise, sizeof(noise)}, "gzip");
    assert_string_equal(headers_of(&response), "Vary: Accept-Encoding\r\n");
    assert_int_equal(http_response_body_bytes(&response), sizeof(noise));
    http_response_free(&response);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct buffer out = {0};
    failing_deflate_init = fail_next(2, 0);
    assert_false(gzip_compress((struct span){text, TEXT_BYTES}, &out));
    assert_int_equal(out.len, 0);
    struct http_response response = respond("text/plain", (struct span){text, TEXT_BYTES}, "gzip");
    assert_int_equal(failing_deflate_init.failures, 0);
    assert_string_equal(headers_of(&response), "Vary: Accept-Encoding\r\n");
    assert_true(span_equal(http_response_memory_body(&response),
                           (struct span){text, TEXT_BYTES})); /* as it is */
    http_response_free(&response);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_suits),
        cmocka_unit_test(test_compress),
        cmocka_unit_test(test_what_does_not_become_smaller),
        cmocka_unit_test(test_response),
        cmocka_unit_test(test_response_to_who_does_not_accept),
        cmocka_unit_test(test_response_that_does_not_suit),
        cmocka_unit_test(test_response_that_does_not_become_smaller),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_text, NULL);
}
