#include "common/base/signal_name.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static void assert_name(int number, const char *expected)
{
    char name[SIGNAL_NAME_BYTES];
    memset(name, 'x', sizeof(name));
    signal_name(number, name);
    assert_string_equal(name, expected);
}

static void test_known(void **state)
{
    (void)state;
    assert_name(SIGSEGV, "SIGSEGV");
    assert_name(SIGKILL, "SIGKILL");
    assert_name(SIGABRT, "SIGABRT");
    assert_name(SIGFPE, "SIGFPE");
    assert_name(SIGVTALRM, "SIGVTALRM");
}

static void test_without_a_name(void **state)
{
    (void)state;
    assert_name(0, "signal 0");
    assert_name(42, "signal 42");
    assert_name(-1, "signal -1");
    assert_name(123456789, "signal 12345678"); /* cut, and ended with a NUL */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_without_a_name),
    };
    return cmocka_run_group_tests_name("signal_name", tests, NULL, NULL);
}
