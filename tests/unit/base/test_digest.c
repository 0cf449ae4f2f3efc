/* What is the same has the same digest, and what differs in a bit has another. */
#include "common/base/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { BYTES = 40 };

static void test_each_bit_counts(void **state)
{
    (void)state;
    char text[BYTES] = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n";
    for (size_t length = 1; length <= BYTES; length++) {
        uint64_t digest = digest_add(DIGEST_EMPTY, text, length);
        assert_int_equal(digest, digest_add(DIGEST_EMPTY, text, length));
        for (size_t bit = 0; bit < length * 8; bit++) {
            text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
            assert_int_not_equal(digest, digest_add(DIGEST_EMPTY, text, length));
            text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
        }
    }
}

static void test_lengths_and_order_count(void **state)
{
    (void)state;
    static const char zeros[BYTES];
    uint64_t one = digest_add(DIGEST_EMPTY, "a", 1);
    assert_int_not_equal(digest_add(DIGEST_EMPTY, zeros, 1), digest_add(DIGEST_EMPTY, zeros, 2));
    assert_int_not_equal(digest_add(DIGEST_EMPTY, zeros, 8), digest_add(DIGEST_EMPTY, zeros, 16));
    assert_int_not_equal(digest_add(one, "b", 1),
                         digest_add(digest_add(DIGEST_EMPTY, "b", 1), "a", 1));
    assert_int_not_equal(digest_add(one, "", 0), one);
}

static void test_none_stays_none(void **state)
{
    (void)state;
    assert_int_equal(digest_add(DIGEST_NONE, "a", 1), DIGEST_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_bit_counts),
        cmocka_unit_test(test_lengths_and_order_count),
        cmocka_unit_test(test_none_stays_none),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
