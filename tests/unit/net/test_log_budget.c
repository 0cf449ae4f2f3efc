#include "common/net/log_budget.h"

#include "common/base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES_PER_SECOND = 10 };

static char log_path[] = "/tmp/test_log_budget_XXXXXX";
static int log_fd;

static int open_log(void **state)
{
    (void)state;
    log_fd = mkostemp(log_path, O_APPEND);
    log_use(log_fd);
    return log_fd < 0;
}

static int close_log(void **state)
{
    (void)state;
    log_use(STDERR_FILENO);
    return close(log_fd) != 0 || unlink(log_path) != 0;
}

/* What the log says, from its beginning; it is emptied. */
static const char *take_log(void)
{
    static char text[4096];
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(truncate(log_path, 0), 0);
    return text;
}

static unsigned allowed(struct log_budget *budget, unsigned asked, uint64_t now_ms)
{
    unsigned count = 0;
    for (unsigned i = 0; i < asked; i++) {
        count += log_budget_allows(budget, now_ms);
    }
    return count;
}

static void test_few_are_all_written(void **state)
{
    (void)state;
    struct log_budget budget = {0};
    for (uint64_t now_ms = 5000; now_ms < 9000; now_ms += 1000) {
        assert_int_equal(allowed(&budget, LINES_PER_SECOND, now_ms), LINES_PER_SECOND);
    }
    log_budget_report(&budget, 20000);
    assert_string_equal(take_log(), "");
}

static void test_many_are_counted(void **state)
{
    (void)state;
    struct log_budget budget = {0};
    assert_int_equal(allowed(&budget, 1000, 5000), LINES_PER_SECOND);
    assert_int_equal(allowed(&budget, 5, 5999), 0);
    log_budget_report(&budget, 5999);
    assert_string_equal(take_log(), "");
    log_budget_report(&budget, 6000);
    assert_non_null(strstr(take_log(), "refused 995 more, not listed"));
    log_budget_report(&budget, 6100);
    assert_string_equal(take_log(), "");
    assert_int_equal(allowed(&budget, 1000, 6100), LINES_PER_SECOND);
    assert_int_equal(allowed(&budget, 1, 7100), 1);
    assert_non_null(strstr(take_log(), "refused 990 more, not listed"));
}

/* Lines of a higher level are still written when those of level info are not. */
static void test_warnings(void **state)
{
    (void)state;
    struct log_budget budget = {.warns = true};
    log_set_level(LOG_WARN);
    assert_int_equal(allowed(&budget, 100, 5000), LINES_PER_SECOND);
    log_budget_report(&budget, 6000);
    const char *text = take_log();
    assert_non_null(strstr(text, "[warn]"));
    assert_non_null(strstr(text, "cut off 90 more, not listed"));
    log_set_level(LOG_ERROR);
    assert_int_equal(allowed(&budget, 100, 8000), 0);
    log_set_level(LOG_INFO);
}

static void test_level(void **state)
{
    (void)state;
    struct log_budget budget = {0};
    log_set_level(LOG_NOTICE);
    assert_int_equal(allowed(&budget, 100, 5000), 0);
    log_budget_report(&budget, 9000);
    assert_string_equal(take_log(), "");
    log_set_level(LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_are_all_written),
        cmocka_unit_test(test_many_are_counted),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_level),
    };
    return cmocka_run_group_tests(tests, open_log, close_log);
}
