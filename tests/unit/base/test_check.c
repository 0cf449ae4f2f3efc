/* A child fails a check; its parent reads what it wrote to standard error. */
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
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static char logged[4096];

/* Runs fatal in a child, which has to end by SIGABRT; its log is read. */
static void die(void (*fatal)(void))
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        log_use(ends[1]);
        fatal();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t bytes;
    while ((bytes = read(ends[0], logged + used, sizeof(logged) - 1 - used)) > 0) {
        used += (size_t)bytes;
    }
    logged[used] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

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
    die(fail_a_check);
    snprintf(expected, sizeof(expected), "tests/unit/base/test_check.c:%d\n", CHECK_LINE);
    assert_non_null(strstr(logged, "[error]"));
    assert_non_null(strstr(logged, ": assertion failed: `left > 0` at "));
    assert_non_null(strstr(logged, expected));
    assert_ptr_equal(strchr(logged, '\n'), logged + strlen(logged) - 1); /* one line */
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
    die(fail_percent);
    assert_non_null(strstr(logged, "`left % 2 == 0` at "));
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
    die(fail_with_a_handler);
    const char *behind = strchr(logged, '\n') + 1;
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
    die(fail_while_failing);
    assert_non_null(strstr(logged, "\nthe first"));
    assert_null(strstr(logged, "the second"));
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
