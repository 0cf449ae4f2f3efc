#include "common/base/small_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static char text[32];

static void test_it_is_read(void **state)
{
    (void)state;
    assert_true(small_file_read("/proc/sys/kernel/ostype", text, sizeof(text)));
    assert_string_equal(text, "Linux\n");
    assert_true(small_file_read("/proc/sys/kernel/ostype", text, 4)); /* as much as there is room */
    assert_string_equal(text, "Lin");
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int error;
    } cases[] = {{"/proc/none", ENOENT}, {"/proc", EISDIR}, {"/dev/null", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(text, 'x', sizeof(text));
        assert_false(small_file_read(cases[i].path, text, sizeof(text)));
        assert_int_equal(errno, cases[i].error);
        assert_string_equal(text, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_read),
        cmocka_unit_test(test_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
