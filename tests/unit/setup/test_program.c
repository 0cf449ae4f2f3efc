#include "server/setup/program.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static char directory[] = "/tmp/twinhttpd-test-program-XXXXXX";
static char own[PATH_MAX]; /* this test's file */

static int set_up(void **state)
{
    (void)state;
    ssize_t bytes = readlink("/proc/self/exe", own, sizeof(own) - 1);
    return mkdtemp(directory) == NULL || bytes <= 0 || chdir(directory) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink("link");
    unlink("text");
    unlink("script");
    return rmdir(directory);
}

static void test_an_absolute_name_is_kept(void **state)
{
    (void)state;
    char path[PATH_MAX];
    assert_true(program_find(own, path));
    assert_string_equal(path, own);
}

/* A new version may come by way of the link. */
static void test_links_are_kept_and_the_directory_is_added(void **state)
{
    (void)state;
    char path[PATH_MAX], wanted[PATH_MAX];
    assert_int_equal(symlink(own, "link"), 0);
    assert_true(program_find("./link", path));
    snprintf(wanted, sizeof(wanted), "%s/./link", directory);
    assert_string_equal(path, wanted);
}

static void test_a_name_that_leads_elsewhere_is_not_believed(void **state)
{
    (void)state;
    static const char *const names[] = {"", "server", "-server", "/bin/sh", "/no/such/file", NULL};
    struct stat found, mine;
    char path[PATH_MAX];
    assert_int_equal(stat(own, &mine), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_true(program_find(names[i], path));
        assert_int_equal(path[0], '/');
        assert_int_equal(stat(path, &found), 0);
        assert_int_equal(found.st_ino, mine.st_ino);
    }
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(name, mode), 0);
}

static void assert_fix(const char *name, int error, const char *part)
{
    char path[PATH_MAX];
    char *argv[] = {"x", NULL};
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    errno = 0;
    program_run(path, argv);
    assert_int_equal(errno, error);
    assert_non_null(strstr(program_fix(path, errno), part));
}

static void test_what_is_no_program_is_refused_by_the_kernel(void **state)
{
    (void)state;
    write_file("text", "exit 7\n", 0755);
    assert_fix("text", ENOEXEC, "no program for this machine");
    assert_int_equal(chmod("text", 0644), 0);
    assert_fix("text", EACCES, "executable");
    write_file("text", "", 0755);
    assert_fix("text", ENOEXEC, "no program for this machine");
    write_file("script", "#!/no/such/interpreter\n", 0755);
    assert_fix("script", ENOENT, "interpreter");
    assert_fix("nothing", ENOENT, "put the new program there");
    assert_fix("..", EACCES, "executable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_absolute_name_is_kept),
        cmocka_unit_test(test_links_are_kept_and_the_directory_is_added),
        cmocka_unit_test(test_a_name_that_leads_elsewhere_is_not_believed),
        cmocka_unit_test(test_what_is_no_program_is_refused_by_the_kernel),
    };
    return cmocka_run_group_tests_name("program", tests, set_up, tear_down);
}
