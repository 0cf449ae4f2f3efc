#include "common/base/bitmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Three words, and a part of a fourth one. */
enum { BITS = 200, WORDS = 4 };

static void fill(bool *model, size_t first, size_t count, bool value)
{
    for (size_t i = first; i < first + count; i++) {
        model[i] = value;
    }
}

static size_t next_in(const bool *model, size_t first, size_t end, bool value)
{
    while (first < end && model[first] != value) {
        first++;
    }
    return first;
}

static void expect_equal(const uint64_t *words, const bool *model)
{
    for (size_t i = 0; i < BITS; i++) {
        assert_int_equal(words[i / 64] >> i % 64 & 1, model[i]);
    }
    assert_int_equal(words[WORDS - 1] >> BITS % 64, 0);
}

static void test_words(void **state)
{
    (void)state;
    static const size_t expected[][2] = {{0, 0}, {1, 1}, {63, 1}, {64, 1}, {65, 2}, {BITS, WORDS}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(bitmap_words(expected[i][0]), expected[i][1]);
    }
    assert_int_equal(bitmap_words(SIZE_MAX), SIZE_MAX / 64 + 1);
}

/* Every range there is. */
static void test_set_and_clear(void **state)
{
    (void)state;
    for (size_t first = 0; first <= BITS; first++) {
        for (size_t count = 0; first + count <= BITS; count++) {
            uint64_t words[WORDS] = {0};
            bool model[BITS] = {false};
            bitmap_set(words, first, count);
            fill(model, first, count, true);
            expect_equal(words, model);
            bitmap_set(words, 0, BITS);
            bitmap_clear(words, first, count);
            fill(model, 0, BITS, true);
            fill(model, first, count, false);
            expect_equal(words, model);
        }
    }
}

/* One bit is unlike the others, and looked for in every range. */
static void expect_found(size_t odd, bool value)
{
    uint64_t words[WORDS] = {0};
    bool model[BITS];
    fill(model, 0, BITS, !value);
    model[odd] = value;
    for (size_t i = 0; i < BITS; i++) {
        words[i / 64] |= (uint64_t)model[i] << i % 64;
    }
    for (size_t first = 0; first <= BITS; first += 1 + first % 5) {
        for (size_t end = first; end <= BITS; end++) {
            assert_int_equal(bitmap_next_set(words, first, end), next_in(model, first, end, true));
            assert_int_equal(bitmap_next_clear(words, first, end),
                             next_in(model, first, end, false));
        }
    }
}

static void test_next(void **state)
{
    (void)state;
    for (size_t odd = 0; odd < BITS; odd += 7) {
        expect_found(odd, true);
        expect_found(odd, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_set_and_clear),
        cmocka_unit_test(test_next),
    };
    return cmocka_run_group_tests_name("bitmap", tests, NULL, NULL);
}
