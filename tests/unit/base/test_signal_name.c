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

static void test_number(void **state)
{
    (void)state;
    assert_int_equal(signal_number("SIGTERM"), SIGTERM);
    assert_int_equal(signal_number("KILL"), SIGKILL);
    assert_int_equal(signal_number("sigusr1"), SIGUSR1);
    assert_int_equal(signal_number("15"), 15);
    assert_int_equal(signal_number("1"), 1);
}

static void test_no_number(void **state)
{
    (void)state;
    static const char *const none[] = {"",   "SIG", "SIGNOTHING", "0",  "-1",
                                       "65", "9x",  "SIGTERM ",   "9 ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(signal_number(none[i]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_without_a_name),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_no_number),
    };
    return cmocka_run_group_tests_name("signal_name", tests, NULL, NULL);
}
