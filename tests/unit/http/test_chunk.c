#include "common/http/chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { MORE = HTTP_CHUNK_MORE, DONE = HTTP_CHUNK_DONE, REFUSED = HTTP_CHUNK_REFUSED };

/* RFC 9112, 7.1 and 7.1.1. */
static const struct line_case {
    const char *text;
    int result;
    uint64_t size;
} lines[] = {
    {"0\r\n", DONE, 0},
    {"5\r\n", DONE, 5},
    {"fF\r\n", DONE, 255},
    {"00000000000000000000000A\r\n", DONE, 10},
    {"ffffffffffffffff\r\n", DONE, UINT64_MAX},
    {"5;a\r\n", DONE, 5},
    {"5;a=b\r\n", DONE, 5},
    {"5;a=\"b c;d\"\r\n", DONE, 5},
    {"5;a=\"\"\r\n", DONE, 5},
    {"5;a=\"\\\"\\\\\"\r\n", DONE, 5},
    {"5;a=\"\t\xff\"\r\n", DONE, 5},
    {"5;a;b=c;d=\"e\";f\r\n", DONE, 5},
    {"5 \t; \ta \t= \tb \t; c\r\n", DONE, 5},
    {"5;a = \"b\" ;c\r\n", DONE, 5},
    {"", MORE, 0},
    {"5", MORE, 0},
    {"5\r", MORE, 0},
    {"5;a=\"b", MORE, 0},
    {"\r\n", REFUSED, 0},
    {" 5\r\n", REFUSED, 0},
    {";a\r\n", REFUSED, 0},
    {"g\r\n", REFUSED, 0},
    {"5g\r\n", REFUSED, 0},
    {"+5\r\n", REFUSED, 0},
    {"0x5\r\n", REFUSED, 0},
    {"10000000000000000\r\n", REFUSED, 0},
    {"5 \r\n", REFUSED, 0},
    {"5 5\r\n", REFUSED, 0},
    {"5\n", REFUSED, 0},
    {"5\rx", REFUSED, 0},
    {"5;\r\n", REFUSED, 0},
    {"5;;a\r\n", REFUSED, 0},
    {"5;=a\r\n", REFUSED, 0},
    {"5;a=\r\n", REFUSED, 0},
    {"5;a=;b\r\n", REFUSED, 0},
    {"5;a \r\n", REFUSED, 0},
    {"5;a b\r\n", REFUSED, 0},
    {"5;a=b c\r\n", REFUSED, 0},
    {"5;a=b \r\n", REFUSED, 0},
    {"5;a=\"b\"c\r\n", REFUSED, 0},
    {"5;a=\"b\x7f\"\r\n", REFUSED, 0},
    {"5;a=\"b\r\n\"\r\n", REFUSED, 0},
    {"5;a=\"\\\r\n\"\r\n", REFUSED, 0},
    {"5;\"a\"=b\r\n", REFUSED, 0},
    {"5;a=(\r\n", REFUSED, 0},
};

/* Feeds the text in pieces of step bytes; *used in all. */
static int scan(const char *text, size_t step, struct http_chunk_line *line, size_t *used)
{
    int result = HTTP_CHUNK_MORE;
    size_t bytes = strlen(text);
    *line = (struct http_chunk_line){0};
    *used = 0;
    while (result == HTTP_CHUNK_MORE && *used < bytes) {
        size_t piece = bytes - *used < step ? bytes - *used : step;
        size_t taken = 0;
        result = (int)http_chunk_line_scan(line, text + *used, piece, &taken);
        *used += taken;
    }
    return result;
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        for (size_t step = 1; step <= 64; step *= 4) {
            struct http_chunk_line line;
            size_t used;
            int result = scan(lines[i].text, step, &line, &used);
            if (result != lines[i].result ||
                (result == DONE && (line.size != lines[i].size || line.bytes != used))) {
                fail_msg("\"%s\" by %zu bytes: result %d, size %llu", lines[i].text, step, result,
                         (unsigned long long)line.size);
            }
        }
    }
}

static void test_what_follows_is_left_alone(void **state)
{
    (void)state;
    struct http_chunk_line line;
    size_t used;
    assert_int_equal(scan("5;a\r\nhello\r\n", SIZE_MAX, &line, &used), DONE);
    assert_int_equal(used, strlen("5;a\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_what_follows_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
