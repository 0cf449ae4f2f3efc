#include "common/base/json_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct buffer out;
static struct json_writer writer;

static int start(void **state)
{
    (void)state;
    buffer_clear(&out);
    json_init(&writer, &out);
    return 0;
}

static int give_back(void **state)
{
    (void)state;
    buffer_free(&out);
    return 0;
}

static void assert_json(const char *expected)
{
    buffer_append(&out, "", 1); /* a NUL to compare up to */
    assert_int_equal(out.len, strlen(expected) + 1);
    assert_string_equal(out.data, expected);
    assert_int_equal(writer.depth, 0);
}

static void assert_string_becomes(const char *bytes, size_t len, const char *expected)
{
    start(NULL);
    json_write_string(&writer, (struct span){bytes, len});
    assert_json(expected);
}

#define ASSERT_STRING(literal, expected)                                                           \
    assert_string_becomes((literal), sizeof(literal) - 1, (expected))

static void test_plain_values(void **state)
{
    json_write_null(&writer);
    assert_json("null");
    start(state);
    json_bool(&writer, true);
    assert_json("true");
    start(state);
    json_bool(&writer, false);
    assert_json("false");
    start(state);
    json_write_string(&writer, SPAN("x"));
    assert_json("\"x\"");
}

static void test_numbers(void **state)
{
    (void)state;
    json_array_begin(&writer);
    json_uint(&writer, 0);
    json_uint(&writer, UINT64_MAX);
    json_int(&writer, 0);
    json_int(&writer, -1);
    json_int(&writer, INT64_MIN);
    json_int(&writer, INT64_MAX);
    json_array_end(&writer);
    assert_json("[0,18446744073709551615,0,-1,-9223372036854775808,9223372036854775807]");
}

static void test_milliseconds(void **state)
{
    (void)state;
    json_array_begin(&writer);
    json_milliseconds(&writer, 0);
    json_milliseconds(&writer, 1);
    json_milliseconds(&writer, 999);
    json_milliseconds(&writer, 1000);
    json_milliseconds(&writer, 1234);
    json_milliseconds(&writer, 12340050);
    json_milliseconds(&writer, UINT64_MAX);
    json_array_end(&writer);
    assert_json("[0.000,0.001,0.999,1.000,1.234,12340.050,18446744073709551.615]");
}

static void test_empty_object_and_array(void **state)
{
    json_object_begin(&writer);
    json_object_end(&writer);
    assert_json("{}");
    start(state);
    json_array_begin(&writer);
    json_array_end(&writer);
    assert_json("[]");
}

static void test_commas(void **state)
{
    (void)state;
    json_object_begin(&writer);
    json_key(&writer, "a");
    json_array_begin(&writer);
    json_object_begin(&writer);
    json_object_end(&writer);
    json_object_begin(&writer);
    json_key(&writer, "b");
    json_uint(&writer, 1);
    json_key(&writer, "c");
    json_write_null(&writer);
    json_object_end(&writer);
    json_array_begin(&writer);
    json_array_end(&writer);
    json_array_begin(&writer);
    json_uint(&writer, 2);
    json_uint(&writer, 3);
    json_array_end(&writer);
    json_uint(&writer, 4);
    json_array_end(&writer);
    json_key(&writer, "d");
    json_object_begin(&writer);
    json_object_end(&writer);
    json_key(&writer, "e");
    json_bool(&writer, true);
    json_object_end(&writer);
    assert_json("{\"a\":[{},{\"b\":1,\"c\":null},[],[2,3],4],\"d\":{},\"e\":true}");
}

static void test_pairs(void **state)
{
    (void)state;
    json_object_begin(&writer);
    json_put_string(&writer, "span", SPAN("a\"b"));
    json_put_text(&writer, "text", "t");
    json_put_text(&writer, "none", NULL);
    json_put_uint(&writer, "uint", UINT64_MAX);
    json_put_int(&writer, "int", -5);
    json_put_bool(&writer, "yes", true);
    json_put_bool(&writer, "no", false);
    json_put_null(&writer, "null");
    json_put_milliseconds(&writer, "ms", 1234);
    json_object_end(&writer);
    assert_json("{\"span\":\"a\\\"b\",\"text\":\"t\",\"none\":null,\"uint\":18446744073709551615,"
                "\"int\":-5,\"yes\":true,\"no\":false,\"null\":null,\"ms\":1.234}");
}

static void test_appends_behind_what_is_there(void **state)
{
    (void)state;
    buffer_append(&out, "head ", 5);
    json_array_begin(&writer);
    json_array_end(&writer);
    assert_json("head []");
}

static void test_escapes(void **state)
{
    (void)state;
    ASSERT_STRING("", "\"\"");
    ASSERT_STRING("plain / text", "\"plain / text\"");
    ASSERT_STRING("\"", "\"\\\"\"");
    ASSERT_STRING("a\\b", "\"a\\\\b\"");
    ASSERT_STRING("\n\r\t", "\"\\n\\r\\t\"");
    ASSERT_STRING("\x00\x01\x1f", "\"\\u0000\\u0001\\u001f\"");
    ASSERT_STRING("\b\f\x1b[", "\"\\u0008\\u000c\\u001b[\"");
    ASSERT_STRING(" ~\x7f", "\" ~\\u007f\"");
}

static void test_every_control_byte_is_escaped(void **state)
{
    for (int c = 0; c < 0x20; c++) {
        char byte = (char)c;
        start(state);
        json_write_string(&writer, (struct span){&byte, 1});
        assert_in_range(out.len, 4, 8);
        assert_int_equal(out.data[1], '\\');
        for (size_t i = 0; i < out.len; i++) {
            assert_in_range((unsigned char)out.data[i], 0x20, 0x7e);
        }
    }
}

static void test_keys_are_escaped(void **state)
{
    (void)state;
    json_object_begin(&writer);
    json_put_uint(&writer, "a\"\n", 1);
    json_object_end(&writer);
    assert_json("{\"a\\\"\\n\":1}");
}

static void test_good_utf8_stays(void **state)
{
    (void)state;
    ASSERT_STRING("caf\xc3\xa9", "\"caf\xc3\xa9\"");
    ASSERT_STRING("\xc2\x80\xdf\xbf", "\"\xc2\x80\xdf\xbf\"");                 /* U+0080, U+07FF */
    ASSERT_STRING("\xe0\xa0\x80\xef\xbf\xbf", "\"\xe0\xa0\x80\xef\xbf\xbf\""); /* U+0800, U+FFFF */
    ASSERT_STRING("\xed\x9f\xbf\xee\x80\x80",
                  "\"\xed\x9f\xbf\xee\x80\x80\"");             /* at the surrogates */
    ASSERT_STRING("\xf0\x90\x80\x80", "\"\xf0\x90\x80\x80\""); /* U+10000 */
    ASSERT_STRING("\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""); /* U+10FFFF */
}

#define BAD "\\ufffd"

static void test_bad_utf8_is_replaced(void **state)
{
    (void)state;
    ASSERT_STRING("a\x80z", "\"a" BAD "z\"");                     /* a continuation alone */
    ASSERT_STRING("\xff\xfe", "\"" BAD BAD "\"");                 /* never in UTF-8 */
    ASSERT_STRING("\xc0\xaf", "\"" BAD BAD "\"");                 /* overlong '/' */
    ASSERT_STRING("\xc1\xbf", "\"" BAD BAD "\"");                 /* overlong */
    ASSERT_STRING("\xe0\x9f\xbf", "\"" BAD BAD BAD "\"");         /* overlong U+07FF */
    ASSERT_STRING("\xf0\x8f\xbf\xbf", "\"" BAD BAD BAD BAD "\""); /* overlong U+FFFF */
    ASSERT_STRING("\xed\xa0\x80", "\"" BAD BAD BAD "\"");         /* a surrogate */
    ASSERT_STRING("\xed\xbf\xbf", "\"" BAD BAD BAD "\"");         /* a surrogate */
    ASSERT_STRING("\xf4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""); /* above U+10FFFF */
    ASSERT_STRING("\xf5\x80\x80\x80", "\"" BAD BAD BAD BAD "\""); /* above U+10FFFF */
}

static void test_broken_sequences(void **state)
{
    (void)state;
    ASSERT_STRING("\xc3", "\"" BAD "\"");
    ASSERT_STRING("\xc3z", "\"" BAD "z\"");
    ASSERT_STRING("\xc3\xc3\xa9", "\"" BAD "\xc3\xa9\"");
    ASSERT_STRING("\xe2\x82", "\"" BAD BAD "\"");
    ASSERT_STRING("\xe2\x82z", "\"" BAD BAD "z\"");
    ASSERT_STRING("\xe2z\x82", "\"" BAD "z" BAD "\"");
    ASSERT_STRING("\xf0\x9f\x98", "\"" BAD BAD BAD "\"");
    ASSERT_STRING("\xf0\x9f\x98\"", "\"" BAD BAD BAD "\\\"\"");
    ASSERT_STRING("\xf0\x9f\n\x80", "\"" BAD BAD "\\n" BAD "\"");
    ASSERT_STRING("\xf0z\x98\x80", "\"" BAD "z" BAD BAD "\"");
}

/* The bytes behind the span must not be looked at, not even to finish a character. */
static void test_span_ends_within_a_character(void **state)
{
    (void)state;
    static const char text[] = "\xf0\x9f\x98\x80";
    assert_string_becomes(text, 1, "\"" BAD "\"");
    assert_string_becomes(text, 2, "\"" BAD BAD "\"");
    assert_string_becomes(text, 3, "\"" BAD BAD BAD "\"");
    assert_string_becomes(text, 4, "\"\xf0\x9f\x98\x80\"");
    static const char euro[] = "\xe2\x82\xac";
    assert_string_becomes(euro, 2, "\"" BAD BAD "\"");
    static const char accent[] = "\xc3\xa9";
    assert_string_becomes(accent, 1, "\"" BAD "\"");
}

static void test_deepest_nesting(void **state)
{
    (void)state;
    for (int i = 0; i < JSON_DEPTH_MAX / 2; i++) {
        json_array_begin(&writer);
        json_uint(&writer, 1);
        json_object_begin(&writer);
        json_key(&writer, "k");
    }
    json_uint(&writer, 2);
    for (int i = 0; i < JSON_DEPTH_MAX / 2; i++) {
        json_put_uint(&writer, "m", 3);
        json_object_end(&writer);
        json_uint(&writer, 4);
        json_array_end(&writer);
    }
    assert_int_equal(writer.depth, 0);
    assert_memory_equal(out.data, "[1,{\"k\":[1,{\"k\":", 16);
    assert_memory_equal(out.data + out.len - 23, ",4],\"m\":3},4],\"m\":3},4]", 23);
}

/* A level that is opened again starts without the memory of the one before. */
static void test_levels_are_independent(void **state)
{
    (void)state;
    json_array_begin(&writer);
    for (int i = 0; i < 2; i++) {
        json_object_begin(&writer);
        json_put_uint(&writer, "a", 1);
        json_object_end(&writer);
        json_array_begin(&writer);
        json_uint(&writer, 1);
        json_array_end(&writer);
    }
    json_array_end(&writer);
    assert_json("[{\"a\":1},[1],{\"a\":1},[1]]");
}

#define JSON_TEST(function) cmocka_unit_test_setup(function, start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JSON_TEST(test_plain_values),
        JSON_TEST(test_numbers),
        JSON_TEST(test_milliseconds),
        JSON_TEST(test_empty_object_and_array),
        JSON_TEST(test_commas),
        JSON_TEST(test_pairs),
        JSON_TEST(test_appends_behind_what_is_there),
        JSON_TEST(test_escapes),
        JSON_TEST(test_every_control_byte_is_escaped),
        JSON_TEST(test_keys_are_escaped),
        JSON_TEST(test_good_utf8_stays),
        JSON_TEST(test_bad_utf8_is_replaced),
        JSON_TEST(test_broken_sequences),
        JSON_TEST(test_span_ends_within_a_character),
        JSON_TEST(test_deepest_nesting),
        JSON_TEST(test_levels_are_independent),
    };
    return cmocka_run_group_tests_name("json_writer", tests, NULL, give_back);
}
