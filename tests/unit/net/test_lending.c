#include "common/net/lending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct lending spares;

static int forget(void **state)
{
    (void)state;
    spares = (struct lending){0};
    return 0;
}

static int discard(void **state)
{
    (void)state;
    lending_free(&spares);
    assert_int_equal(spares.buffer_count, 0);
    lending_free(&spares); /* of nothing is nothing */
    return 0;
}

static void test_a_buffer_comes_back_empty(void **state)
{
    (void)state;
    struct buffer first = lending_take_buffer(&spares, 1000);
    assert_in_range(first.capacity, 1000, LENDING_BUFFER_BYTES);
    assert_int_equal(first.len, 0);
    buffer_append(&first, "secret", 6);
    const char *memory = first.data;
    lending_give_buffer(&spares, &first);
    assert_int_equal(first.capacity, 0); /* the caller has none any more */
    struct buffer second = lending_take_buffer(&spares, 10);
    assert_ptr_equal(second.data, memory);
    assert_int_equal(second.len, 0);
    struct buffer third = lending_take_buffer(&spares, 10);
    assert_ptr_not_equal(third.data, second.data);
    lending_give_buffer(&spares, &second);
    lending_give_buffer(&spares, &third);
}

static void test_a_spare_buffer_grows(void **state)
{
    (void)state;
    struct buffer buffer = lending_take_buffer(&spares, 10);
    lending_give_buffer(&spares, &buffer);
    buffer = lending_take_buffer(&spares, 20000);
    assert_in_range(buffer.capacity, 20000, LENDING_BUFFER_BYTES);
    lending_give_buffer(&spares, &buffer);
}

static void test_which_buffers_are_kept(void **state)
{
    (void)state;
    struct buffer none = {0}, buffers[LENDING_BUFFERS + 2];
    lending_give_buffer(&spares, &none);
    assert_int_equal(spares.buffer_count, 0);
    struct buffer large = lending_take_buffer(&spares, LENDING_BUFFER_BYTES + 1);
    lending_give_buffer(&spares, &large);
    assert_int_equal(spares.buffer_count, 0);
    assert_int_equal(large.capacity, 0);
    for (size_t i = 0; i < LENDING_BUFFERS + 2; i++) {
        buffers[i] = lending_take_buffer(&spares, 10);
    }
    for (size_t i = 0; i < LENDING_BUFFERS + 2; i++) {
        lending_give_buffer(&spares, &buffers[i]);
        assert_int_equal(buffers[i].capacity, 0);
        assert_int_equal(spares.buffer_count, i < LENDING_BUFFERS ? i + 1 : LENDING_BUFFERS);
    }
}

/* A waiting connection keeps what it needs, in memory of that size. */
static void test_a_buffer_is_trimmed(void **state)
{
    (void)state;
    struct buffer buffer = lending_take_buffer(&spares, 16384);
    const char *memory = buffer.data;
    buffer_append(&buffer, "rest", 4);
    lending_trim_buffer(&spares, &buffer);
    assert_int_equal(buffer.len, 4);
    assert_memory_equal(buffer.data, "rest", 4);
    assert_in_range(buffer.capacity, 4, 1024);
    struct buffer other = lending_take_buffer(&spares, 10); /* the large one can be used again */
    assert_ptr_equal(other.data, memory);
    const char *small = buffer.data;
    lending_trim_buffer(&spares, &buffer); /* nothing to gain */
    assert_ptr_equal(buffer.data, small);
    buffer_clear(&buffer);
    lending_trim_buffer(&spares, &buffer); /* nothing to keep */
    assert_null(buffer.data);
    lending_trim_buffer(&spares, &buffer);
    assert_null(buffer.data);
    other.len = other.capacity;
    lending_trim_buffer(&spares, &other); /* full */
    assert_ptr_equal(other.data, memory);
    lending_give_buffer(&spares, &other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, forget, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_buffer_comes_back_empty),
        TEST(test_a_spare_buffer_grows),
        TEST(test_which_buffers_are_kept),
        TEST(test_a_buffer_is_trimmed),
    };
    return cmocka_run_group_tests_name("lending", tests, NULL, NULL);
}
