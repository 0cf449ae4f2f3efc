#include "common/http/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static void test_method_names(void **state)
{
    (void)state;
    assert_string_equal(http_method_name(METHOD_GET), "GET");
    assert_string_equal(http_method_name(METHOD_HEAD), "HEAD");
    assert_string_equal(http_method_name(METHOD_POST), "POST");
    assert_string_equal(http_method_name(METHOD_PUT), "PUT");
    assert_string_equal(http_method_name(METHOD_DELETE), "DELETE");
    assert_string_equal(http_method_name(METHOD_OPTIONS), "OPTIONS");
    assert_string_equal(http_method_name(METHOD_PATCH), "PATCH");
    assert_string_equal(http_method_name(METHOD_TRACE), "TRACE");
    assert_string_equal(http_method_name(METHOD_CONNECT), "CONNECT");
    assert_string_equal(http_method_name(METHOD_UNKNOWN), "?");
}

static void test_texts(void **state)
{
    (void)state;
    struct http_request request = {.head = "GET / HTTP/1.1"};
    request.fields[HTTP_FIELD_RANGE] = (struct http_part){4, 1};
    assert_null(http_request_field(&request, HTTP_FIELD_RANGE).ptr); /* not sent */
    request.field_occurrences[HTTP_FIELD_RANGE] = 2;
    struct span range = http_request_field(&request, HTTP_FIELD_RANGE);
    assert_true(span_equal(range, SPAN("/")));
    struct span all = http_request_text(&request, (struct http_part){0, 14});
    assert_true(span_equal(all, SPAN("GET / HTTP/1.1")));
    struct span empty = http_request_text(&request, (struct http_part){5, 0});
    assert_int_equal(empty.len, 0);
}

static void test_fields_by_name(void **state)
{
    (void)state;
    static const char head[] = "GET /origin: HTTP/1.1\r\nHost: a\r\nOrigins: no\r\n"
                               "ORIGIN: \t http://a \r\nOrigin: second\r\nempty:\r\n\r\nOrigin: x";
    struct http_request request = {
        .head = head, .head_bytes = sizeof(head) - 1 - 9, .line = {0, 21}};
    assert_true(span_equal(http_request_field_named(&request, SPAN("Origin")), SPAN("http://a")));
    assert_true(span_equal(http_request_field_named(&request, SPAN("host")), SPAN("a")));
    struct span empty = http_request_field_named(&request, SPAN("Empty"));
    assert_non_null(empty.ptr);
    assert_int_equal(empty.len, 0);
    assert_null(http_request_field_named(&request, SPAN("GET /origin")).ptr);
    assert_null(http_request_field_named(&request, SPAN("Orig")).ptr);
    assert_null(http_request_field_named(&request, SPAN("Authorization")).ptr);
}

static void test_shown_line(void **state)
{
    (void)state;
    struct http_request request = {.head = "\r\nGET /\xc3\xa4%C3?\xff\x80 HTTP/1.1\r\n",
                                   .line = {2, 22},
                                   .target_has_8_bit = true};
    struct span shown = http_request_shown_line(&request, &request.arena);
    assert_true(span_equal(shown, SPAN("GET /%C3%A4%C3?%FF%80 HTTP/1.1")));
    http_request_reset(&request);
    request.head = "GET / HTTP/1.1";
    request.line = (struct http_part){0, 14};
    shown = http_request_shown_line(&request, &request.arena);
    assert_ptr_equal(shown.ptr, request.head); /* nothing was copied */
    assert_int_equal(shown.len, 14);
    http_request_free(&request);
}

static void test_reset_keeps_the_memory_alone(void **state)
{
    (void)state;
    struct http_request request = {.head = "x",
                                   .head_bytes = 1,
                                   .method = METHOD_POST,
                                   .minor_version = 1,
                                   .keep_alive = true,
                                   .expects_continue = true,
                                   .target_has_8_bit = true,
                                   .has_body = true,
                                   .body_wanted = true,
                                   .body_bytes = 3,
                                   .field_count = 2,
                                   .path = SPAN("/x"),
                                   .query = SPAN("q")};
    request.field_occurrences[HTTP_FIELD_HOST] = 1;
    buffer_append(&request.body, "abc", 3);
    void *scratch = arena_alloc(&request.arena, 100);
    const char *body = request.body.data;
    http_request_reset(&request);
    struct http_request expected = {.body = request.body, .arena = request.arena};
    assert_memory_equal(&request, &expected, sizeof(request));
    assert_ptr_equal(request.body.data, body);
    assert_int_equal(request.body.len, 0);
    assert_ptr_equal(arena_alloc(&request.arena, 100), scratch);
    http_request_free(&request);
}

static void test_reset_gives_a_large_body_back(void **state)
{
    (void)state;
    struct http_request request = {0};
    buffer_reserve(&request.body, 65536);
    http_request_reset(&request);
    assert_int_equal(request.body.capacity, 65536);
    buffer_reserve(&request.body, 65537);
    http_request_reset(&request);
    assert_int_equal(request.body.capacity, 0);
    assert_null(request.body.data);
    http_request_free(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_method_names),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_fields_by_name),
        cmocka_unit_test(test_shown_line),
        cmocka_unit_test(test_reset_keeps_the_memory_alone),
        cmocka_unit_test(test_reset_gives_a_large_body_back),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
