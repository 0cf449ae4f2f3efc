#include "common/base/escape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/* Byte by byte, as slowly as can be. */
static void expect_escaped(const char *text, size_t bytes, char *out)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)text[i];
        out += sprintf(out, is_plain(byte) ? "%c" : "\\x%02X", byte);
    }
    *out = '\0';
}

static void assert_escaped(const char *text, size_t bytes)
{
    char expected[256];
    char *exact = malloc(bytes + 1); /* so that a sanitizer sees a step too far */
    memcpy(exact + 1, text, bytes);
    struct buffer out = {0};
    buffer_append(&out, ">", 1);
    escape_text(&out, (struct span){exact + 1, bytes});
    expect_escaped(text, bytes, expected);
    assert_int_equal(out.len, 1 + strlen(expected));
    assert_memory_equal(out.data + 1, expected, out.len - 1);
    buffer_free(&out);
    free(exact);
}

static void test_every_byte_anywhere(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        for (size_t bytes = 0; bytes < 20; bytes++) {
            char text[20];
            memset(text, 'a', sizeof(text));
            assert_escaped(text, bytes);
            for (size_t at = 0; at < bytes; at++) {
                text[at] = (char)byte;
                assert_escaped(text, bytes);
                assert_int_equal(escape_plain_bytes((struct span){text, bytes}),
                                 is_plain((unsigned char)byte) ? bytes : at);
                text[at] = 'a';
            }
        }
    }
}

static void test_neighbours(void **state)
{
    (void)state;
    static const char bytes[] = {'a', ' ', '!', '"', '\\', '\x7f', '\x80', '\x1f', '~', '\xff'};
    char text[9];
    for (unsigned seed = 0; seed < 20000; seed++) {
        unsigned number = seed * 2654435761u;
        for (size_t i = 0; i < sizeof(text); i++, number /= 7) {
            text[i] = bytes[number % sizeof(bytes)];
        }
        assert_escaped(text, sizeof(text));
    }
}

static void test_nothing_needs_nothing(void **state)
{
    (void)state;
    struct buffer out = {0};
    escape_text(&out, (struct span){NULL, 0});
    assert_int_equal(out.len, 0);
    buffer_free(&out);
}

/* Those alone: text in other encodings stays what it is. */
static void test_control_bytes(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char text[] = {'a', (char)byte, 'b', '\n'};
        escape_control_bytes(text, 3);
        bool is_control = byte < 0x20 || byte == 0x7f;
        assert_int_equal(text[0], 'a');
        assert_int_equal((unsigned char)text[1], is_control ? '?' : byte);
        assert_int_equal(text[2], 'b');
        assert_int_equal(text[3], '\n'); /* behind the end */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_anywhere),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_nothing_needs_nothing),
        cmocka_unit_test(test_control_bytes),
    };
    return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}
