#include "common/http/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

/* Every byte, against the list of RFC 9110, 5.6.2. */
static void test_bytes(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        bool expected =
            byte > 0 && byte < 128 && (isalnum(byte) || strchr("!#$%&'*+-.^_`|~", byte) != NULL);
        assert_int_equal(http_is_token_byte((char)byte), expected);
    }
}

static void test_length(void **state)
{
    (void)state;
    assert_int_equal(http_token_bytes("Host: a", 7), 4);
    assert_int_equal(http_token_bytes("Host", 3), 3);
    assert_int_equal(http_token_bytes(":", 1), 0);
    assert_int_equal(http_token_bytes("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
