#include "common/net/lending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static const struct http_limits limits = {
    .request_line_bytes = 8192, .header_bytes = 32768, .headers = 100, .body_bytes = 1000};
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
    assert_int_equal(spares.exchange_count, 0);
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

/* Of many that come back most keep nothing, whatever they have been through. */
static void test_what_exchanges_keep(void **state)
{
    (void)state;
    enum { MANY = LENDING_FULL_EXCHANGES + 2 };
    static struct http_exchange *exchanges[MANY];
    for (size_t i = 0; i < MANY; i++) {
        exchanges[i] = lending_take_exchange(&spares, &limits);
        buffer_append(&exchanges[i]->response.text, "text", 4);
        buffer_append(&exchanges[i]->response.headers, "line", 4);
        buffer_append(&exchanges[i]->request.body, "body", 4);
        arena_alloc(&exchanges[i]->request.arena, 10);
        arena_alloc(&exchanges[i]->response.arena, 10);
    }
    for (size_t i = 0; i < MANY; i++) {
        bool keeps = i < LENDING_FULL_EXCHANGES;
        struct http_exchange *exchange = exchanges[i];
        lending_give_exchange(&spares, exchange);
        assert_int_equal(exchange->response.text.capacity > 0, keeps);
        assert_int_equal(exchange->response.headers.capacity > 0, keeps);
        assert_int_equal(exchange->request.body.capacity > 0, keeps);
        assert_int_equal(exchange->request.arena.newest != NULL, keeps);
        assert_int_equal(exchange->response.arena.newest != NULL, keeps);
        assert_int_equal(exchange->response.status, 200);
    }
}

static void test_an_exchange_comes_back_reset(void **state)
{
    (void)state;
    struct http_exchange *first = lending_take_exchange(&spares, &limits);
    first->response.status = 404;
    first->request.body_bytes = 5;
    buffer_append(&first->response.text, "secret", 6);
    lending_give_exchange(&spares, first);
    struct http_exchange *second = lending_take_exchange(&spares, &limits);
    assert_ptr_equal(second, first);
    assert_int_equal(second->response.status, 200);
    assert_int_equal(second->request.body_bytes, 0);
    assert_int_equal(second->response.text.len, 0);
    struct http_exchange *third = lending_take_exchange(&spares, &limits);
    assert_ptr_not_equal(third, second);
    lending_give_exchange(&spares, second);
    lending_give_exchange(&spares, third);
}

/* After a rush most of its memory goes back to the system; the leak check sees the rest. */
static void test_how_many_exchanges_are_kept(void **state)
{
    (void)state;
    enum { RUSH = LENDING_EXCHANGES + 3 };
    static struct http_exchange *exchanges[RUSH];
    for (size_t i = 0; i < RUSH; i++) {
        exchanges[i] = lending_take_exchange(&spares, &limits);
    }
    assert_int_equal(spares.exchange_count, 0);
    for (size_t i = 0; i < RUSH; i++) {
        lending_give_exchange(&spares, exchanges[i]);
        assert_int_equal(spares.exchange_count, i < LENDING_EXCHANGES ? i + 1 : LENDING_EXCHANGES);
    }
    for (size_t i = LENDING_EXCHANGES; i > 0; i--) { /* the warmest first */
        struct http_exchange *exchange = lending_take_exchange(&spares, &limits);
        assert_ptr_equal(exchange, exchanges[i - 1]);
        http_exchange_destroy(exchange);
    }
    assert_null(spares.exchanges);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, forget, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_buffer_comes_back_empty),   TEST(test_a_spare_buffer_grows),
        TEST(test_which_buffers_are_kept),      TEST(test_an_exchange_comes_back_reset),
        TEST(test_how_many_exchanges_are_kept), TEST(test_a_buffer_is_trimmed),
        TEST(test_what_exchanges_keep),
    };
    return cmocka_run_group_tests_name("spares", tests, NULL, NULL);
}
