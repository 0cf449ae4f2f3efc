#include "common/base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static void assert_content(const struct buffer *buffer, const char *expected)
{
    assert_int_equal(buffer->len, strlen(expected));
    assert_in_range(buffer->len, 0, buffer->capacity);
    assert_memory_equal(buffer->data, expected, buffer->len);
}

static void test_zero_initialised_is_empty(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "", 0);
    buffer_append(&buffer, NULL, 0);
    buffer_append_span(&buffer, (struct span){NULL, 0});
    buffer_consume(&buffer, 0);
    buffer_clear(&buffer);
    assert_int_equal(buffer.len, 0);
    assert_null(buffer.data); /* nothing was needed, nothing was allocated */
    buffer_free(&buffer);
}

static void test_append(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "abc", 2);
    buffer_append_span(&buffer, SPAN("-span"));
    buffer_append(&buffer, "", 0);
    assert_content(&buffer, "ab-span");
    buffer_append(&buffer, "\0x", 2);
    assert_int_equal(buffer.len, 9);
    assert_memory_equal(buffer.data, "ab-span\0x", 9);
    buffer_free(&buffer);
}

static void test_appends_keep_their_order_across_growth(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    const uint32_t numbers = 20000;
    for (uint32_t i = 0; i < numbers; i++) {
        buffer_append(&buffer, &i, sizeof(i));
        assert_in_range(buffer.len, 0, buffer.capacity);
    }
    assert_int_equal(buffer.len, numbers * sizeof(numbers));
    for (uint32_t i = 0; i < numbers; i++) {
        assert_memory_equal(buffer.data + i * sizeof(i), &i, sizeof(i));
    }
    buffer_free(&buffer);
}

static void test_append_uint(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    const uint64_t numbers[] = {0, 9, 10, 1234567890, UINT64_MAX};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        buffer_append_uint(&buffer, numbers[i]);
        buffer_append(&buffer, " ", 1);
    }
    assert_content(&buffer, "0 9 10 1234567890 18446744073709551615 ");
    buffer_free(&buffer);
}

static void test_reserve(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "abc", 3);
    buffer_reserve(&buffer, 100000);
    assert_in_range(buffer.capacity, 100003, SIZE_MAX);
    assert_content(&buffer, "abc");
    char *before = buffer.data;
    memset(buffer.data + buffer.len, 'x', 100000);
    buffer_reserve(&buffer, 100000);
    assert_ptr_equal(buffer.data, before); /* the room was there already */
    assert_content(&buffer, "abc");
    buffer_free(&buffer);
}

/* The room asked for is behind the content, not in all. */
static void test_reserve_counts_from_the_content(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "x", 1);
    size_t capacity = buffer.capacity;
    buffer_reserve(&buffer, capacity - 1);
    assert_int_equal(buffer.capacity, capacity);
    buffer_reserve(&buffer, capacity);
    assert_in_range(buffer.capacity, capacity + 1, SIZE_MAX);
    buffer_free(&buffer);
}

static void test_printf(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "<", 1);
    buffer_printf(&buffer, "%d %s", -7, "seven");
    buffer_printf(&buffer, "%s", "");
    buffer_append(&buffer, ">", 1);
    assert_content(&buffer, "<-7 seven>"); /* no NUL between the pieces */
    buffer_free(&buffer);
}

static void test_long_printf(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_printf(&buffer, "%0*d", 5000, 1);
    buffer_printf(&buffer, "%s", "end");
    assert_int_equal(buffer.len, 5003);
    assert_memory_equal(buffer.data + 4998, "01end", 5);
    buffer_free(&buffer);
}

static void test_printf_into_the_last_byte(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "x", 1);
    while (buffer.len + 3 < buffer.capacity) {
        buffer_append(&buffer, "x", 1);
    }
    buffer_printf(&buffer, "%s", "abc"); /* vsnprintf wants room for a NUL as well */
    assert_memory_equal(buffer.data + buffer.len - 4, "xabc", 4);
    buffer_free(&buffer);
}

static void test_consume(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "abcdef", 6);
    buffer_consume(&buffer, 2);
    assert_content(&buffer, "cdef");
    buffer_consume(&buffer, 0);
    assert_content(&buffer, "cdef");
    buffer_append(&buffer, "gh", 2);
    assert_content(&buffer, "cdefgh");
    buffer_consume(&buffer, 6);
    assert_int_equal(buffer.len, 0);
    buffer_free(&buffer);
}

static void test_clear_keeps_the_memory(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "abc", 3);
    const char *data = buffer.data;
    size_t capacity = buffer.capacity;
    buffer_clear(&buffer);
    assert_int_equal(buffer.len, 0);
    assert_int_equal(buffer.capacity, capacity);
    buffer_append(&buffer, "xy", 2);
    assert_ptr_equal(buffer.data, data);
    assert_content(&buffer, "xy");
    buffer_free(&buffer);
}

static void test_free_leaves_an_empty_buffer(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_append(&buffer, "abc", 3);
    buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.len, 0);
    assert_int_equal(buffer.capacity, 0);
    buffer_append(&buffer, "again", 5);
    assert_content(&buffer, "again");
    buffer_free(&buffer);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_initialised_is_empty),
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_append_uint),
        cmocka_unit_test(test_appends_keep_their_order_across_growth),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_reserve_counts_from_the_content),
        cmocka_unit_test(test_printf),
        cmocka_unit_test(test_long_printf),
        cmocka_unit_test(test_printf_into_the_last_byte),
        cmocka_unit_test(test_consume),
        cmocka_unit_test(test_clear_keeps_the_memory),
        cmocka_unit_test(test_free_leaves_an_empty_buffer),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
