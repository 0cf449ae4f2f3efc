#include "common/base/arena.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { PIECES = 300 };

static size_t size_of_piece(size_t i)
{
    return i % 50 == 49 ? 10000 + i : i;
}

/* Pieces of every size, beyond a block too, do not touch each other. */
static void fill(struct arena *arena)
{
    unsigned char *pieces[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = arena_alloc(arena, size_of_piece(i));
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)(i % 251), size_of_piece(i));
    }
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t at = 0; at < size_of_piece(i); at++) {
            assert_int_equal(pieces[i][at], i % 251);
        }
    }
}

static void test_pieces_do_not_overlap(void **state)
{
    (void)state;
    struct arena arena = {0};
    fill(&arena);
    arena_free(&arena);
}

static void test_zero_initialised_is_empty(void **state)
{
    (void)state;
    struct arena arena = {0};
    arena_reset(&arena);
    arena_free(&arena);
    assert_null(arena.newest);
}

static void test_reset_keeps_the_first_block(void **state)
{
    (void)state;
    struct arena arena = {0};
    void *first = arena_alloc(&arena, 16);
    fill(&arena);
    arena_reset(&arena);
    assert_non_null(arena.newest);
    assert_ptr_equal(arena_alloc(&arena, 16), first); /* no malloc for the next request */
    fill(&arena);
    arena_reset(&arena);
    assert_ptr_equal(arena_alloc(&arena, 1), first);
    arena_free(&arena);
}

static void test_a_large_first_block_is_given_back(void **state)
{
    (void)state;
    struct arena arena = {0};
    memset(arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    arena_reset(&arena);
    assert_null(arena.newest);
    fill(&arena);
    arena_free(&arena);
}

/* Exactly a block, and one byte more. */
static void test_a_full_block(void **state)
{
    (void)state;
    struct arena arena = {0};
    char *whole = arena_alloc(&arena, 4096);
    memset(whole, 1, 4096);
    char *next = arena_alloc(&arena, 1);
    *next = 2;
    assert_true(next < whole || next >= whole + 4096);
    assert_int_equal(whole[4095], 1);
    arena_free(&arena);
    assert_null(arena.newest);
}

static void test_use_after_free_starts_anew(void **state)
{
    (void)state;
    struct arena arena = {0};
    fill(&arena);
    arena_free(&arena);
    assert_null(arena.newest);
    fill(&arena);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_do_not_overlap),
        cmocka_unit_test(test_zero_initialised_is_empty),
        cmocka_unit_test(test_reset_keeps_the_first_block),
        cmocka_unit_test(test_a_large_first_block_is_given_back),
        cmocka_unit_test(test_a_full_block),
        cmocka_unit_test(test_use_after_free_starts_anew),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
