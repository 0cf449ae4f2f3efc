#include "common/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct error error;

static void test_set(void **state)
{
    (void)state;
    assert_false(error_set(&error, "cannot open %s: %d; name another", "it", 7));
    assert_string_equal(error.text, "cannot open it: 7; name another");
}

/* A caller may tell errno after it. */
static void test_errno_stays(void **state)
{
    (void)state;
    errno = EMFILE;
    error_set(&error, "%m");
    assert_int_equal(errno, EMFILE);
}

static void test_what_does_not_fit_is_cut(void **state)
{
    (void)state;
    char longer[2 * ERROR_TEXT_BYTES];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    error_set(&error, "%s", longer);
    assert_int_equal(strlen(error.text), ERROR_TEXT_BYTES - 1);
}

static void test_stays_one_line(void **state)
{
    (void)state;
    error_set(&error, "%s", "a\nb\x1b[31m\x7f \xc3\xa4");
    assert_string_equal(error.text, "a?b?[31m? \xc3\xa4");
}

static void test_the_old_text_may_be_in_the_new_one(void **state)
{
    (void)state;
    error_set(&error, "no room");
    error_set(&error, "%s, and nobody helps: %s", error.text, error.text);
    assert_string_equal(error.text, "no room, and nobody helps: no room");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_errno_stays),
        cmocka_unit_test(test_what_does_not_fit_is_cut),
        cmocka_unit_test(test_stays_one_line),
        cmocka_unit_test(test_the_old_text_may_be_in_the_new_one),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
