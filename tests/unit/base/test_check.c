/* A child fails a check; its parent reads what it wrote to its log. */
#define NDEBUG /* which is to change nothing */
#include "common/base/check.h"

#include "common/base/log.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/failing_check.h"

enum { CHECK_LINE = __LINE__ + 5 };

static void fail_a_check(void)
{
    volatile int left = 0;
    CHECK(left > 0);
}

static void test_it_tells_condition_file_and_line(void **state)
{
    (void)state;
    char expected[64];
    failing_check_run(fail_a_check);
    snprintf(expected, sizeof(expected), "tests/unit/base/test_check.c:%d\n", CHECK_LINE);
    assert_non_null(strstr(failing_check_log, "[error]"));
    assert_non_null(strstr(failing_check_log, ": assertion failed: `left > 0` at "));
    assert_non_null(strstr(failing_check_log, expected));
    assert_ptr_equal(strchr(failing_check_log, '\n'),
                     failing_check_log + strlen(failing_check_log) - 1); /* one line */
}

static int evaluated;

static bool is_true(void)
{
    evaluated++;
    return true;
}

static void test_what_is_true_changes_nothing(void **state)
{
    (void)state;
    CHECK(is_true());
    assert_int_equal(evaluated, 1);
    CHECK(strchr("abc", 'b')); /* a pointer, as in an if */
    assert_null(check_failure());
}

static void fail_percent(void)
{
    volatile int left = 3;
    CHECK(left % 2 == 0);
}

static void test_a_condition_is_no_format(void **state)
{
    (void)state;
    failing_check_run(fail_percent);
    assert_non_null(strstr(failing_check_log, "`left % 2 == 0` at "));
}

/* As a signal handler would. */
static void tell_failure(int number)
{
    (void)number;
    const char *text = check_failure();
    ssize_t ignored = write(log_descriptor(), text, strlen(text));
    (void)ignored;
}

static void fail_with_a_handler(void)
{
    signal(SIGABRT, tell_failure);
    fail_a_check();
}

static void test_a_signal_handler_finds_the_text(void **state)
{
    (void)state;
    failing_check_run(fail_with_a_handler);
    const char *behind = strchr(failing_check_log, '\n') + 1;
    assert_memory_equal(behind, "`left > 0` at ", 14);
}

static void fail_in_the_handler(int number)
{
    tell_failure(number);
    signal(SIGABRT, SIG_DFL);
    check_failed("the second");
}

static void fail_while_failing(void)
{
    signal(SIGABRT, fail_in_the_handler);
    check_failed("the first");
}

static void test_the_first_failure_stays(void **state)
{
    (void)state;
    failing_check_run(fail_while_failing);
    assert_non_null(strstr(failing_check_log, "\nthe first"));
    assert_null(strstr(failing_check_log, "the second"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_tells_condition_file_and_line),
        cmocka_unit_test(test_what_is_true_changes_nothing),
        cmocka_unit_test(test_a_condition_is_no_format),
        cmocka_unit_test(test_a_signal_handler_finds_the_text),
        cmocka_unit_test(test_the_first_failure_stays),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
