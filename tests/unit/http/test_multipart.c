#include "common/http/multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { RANGES = 300, BOUNDARY_BYTES = 64, TEXT_BYTES = 512 };

static struct buffer out;

static int discard(void **state)
{
    (void)state;
    buffer_free(&out);
    return 0;
}

/* The boundary by the line of the response's head. */
static const char *boundary_of(const struct multipart *multipart)
{
    static char boundary[BOUNDARY_BYTES];
    struct buffer headers = {0};
    multipart_append_type(multipart, &headers);
    buffer_append(&headers, "", 1);
    assert_int_equal(
        sscanf(headers.data, "Content-Type: multipart/byteranges; boundary=%63s\r\n", boundary), 1);
    assert_string_equal(headers.data + headers.len - 3, "\r\n");
    buffer_free(&headers);
    return boundary;
}

static void expect_next(struct multipart *multipart, const char *lines)
{
    struct byte_range range;
    buffer_clear(&out);
    buffer_append(&out, "x", 1); /* appended, not written over */
    assert_true(multipart_next(multipart, &out, &range));
    buffer_append(&out, "", 1);
    assert_string_equal(out.data + 1, lines);
}

static void test_lines(void **state)
{
    (void)state;
    static const struct byte_range ranges[] = {{0, 0}, {7, 1234}};
    char expected[TEXT_BYTES];
    struct byte_range range;
    struct multipart *multipart = multipart_create(ranges, 2, 5000, "text/html");
    const char *boundary = boundary_of(multipart);
    snprintf(expected, sizeof(expected),
             "\r\n--%s\r\nContent-Type: text/html\r\nContent-Range: bytes 0-0/5000\r\n\r\n",
             boundary);
    expect_next(multipart, expected);
    snprintf(expected, sizeof(expected),
             "\r\n--%s\r\nContent-Type: text/html\r\nContent-Range: bytes 7-1234/5000\r\n\r\n",
             boundary);
    expect_next(multipart, expected);
    buffer_clear(&out);
    assert_false(multipart_next(multipart, &out, &range));
    buffer_append(&out, "", 1);
    snprintf(expected, sizeof(expected), "\r\n--%s--\r\n", boundary);
    assert_string_equal(out.data, expected);
    multipart_destroy(multipart);
}

static void test_without_a_type(void **state)
{
    (void)state;
    static const struct byte_range ranges[] = {{5, 9}};
    char expected[TEXT_BYTES];
    struct multipart *multipart = multipart_create(ranges, 1, 10, NULL);
    snprintf(expected, sizeof(expected), "\r\n--%s\r\nContent-Range: bytes 5-9/10\r\n\r\n",
             boundary_of(multipart));
    expect_next(multipart, expected);
    multipart_destroy(multipart);
}

/* What is announced is what comes, with numbers of every length. */
static void test_bytes(void **state)
{
    (void)state;
    static struct byte_range ranges[RANGES];
    static const char *const types[] = {NULL, "", "text/plain; charset=utf-8"};
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        uint64_t size_bytes = 1;
        for (size_t count = 0; count < RANGES; count++) {
            size_bytes = count % 20 == 0 ? 1 : size_bytes * 10;
            ranges[count] = (struct byte_range){size_bytes / 7, size_bytes - (count % 2)};
        }
        for (size_t count = 1; count <= RANGES; count += 23) {
            struct multipart *multipart = multipart_create(ranges, count, size_bytes + 1, types[t]);
            struct byte_range range;
            uint64_t body_bytes = 0;
            size_t parts = 0;
            buffer_clear(&out);
            while (multipart_next(multipart, &out, &range)) {
                assert_int_equal(range.first, ranges[parts].first);
                assert_int_equal(range.last, ranges[parts].last);
                body_bytes += range.last - range.first + 1;
                parts++;
            }
            assert_int_equal(parts, count);
            assert_int_equal(multipart_bytes(multipart), body_bytes + out.len);
            multipart_destroy(multipart);
        }
    }
}

/* Who makes the same answer again makes the same bytes. */
static void test_the_boundary_follows_from_what_is_asked_for(void **state)
{
    (void)state;
    static const struct byte_range ranges[] = {{0, 0}, {2, 3}}, others[] = {{0, 0}, {2, 4}};
    struct multipart *same[] = {multipart_create(ranges, 2, 10, NULL),
                                multipart_create(ranges, 2, 10, NULL)};
    struct multipart *different[] = {multipart_create(others, 2, 10, NULL),
                                     multipart_create(ranges, 2, 11, NULL),
                                     multipart_create(ranges, 1, 10, NULL)};
    char first[BOUNDARY_BYTES];
    strcpy(first, boundary_of(same[0]));
    assert_string_equal(first, boundary_of(same[1]));
    for (size_t i = 0; i < 3; i++) {
        assert_string_not_equal(first, boundary_of(different[i]));
        assert_int_equal(strlen(first), strlen(boundary_of(different[i])));
        multipart_destroy(different[i]);
    }
    multipart_destroy(same[0]);
    multipart_destroy(same[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_lines, discard),
        cmocka_unit_test_teardown(test_without_a_type, discard),
        cmocka_unit_test_teardown(test_bytes, discard),
        cmocka_unit_test_teardown(test_the_boundary_follows_from_what_is_asked_for, discard),
    };
    return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}
