#include "server/setup/user_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

static struct privileges privileges;
static struct error error;
static char folder[PATH_MAX];
static int user_error;

/* A folder of root's, with "theirs", a folder of the user's, and "closed", where that user cannot
 * look into. */
static int make(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        return 0;
    }
    strcpy(folder, "/tmp/twinhttpd-test-user-files-XXXXXX");
    return mkdtemp(folder) == NULL || chmod(folder, 0755) != 0 || chdir(folder) != 0 ||
           !privileges_resolve(&privileges, "nobody", &error) || mkdir("theirs", 0755) != 0 ||
           chown("theirs", privileges.uid, privileges.gid) != 0 || mkdir("closed", 0700) != 0;
}

static int discard(void **state)
{
    (void)state;
    char command[PATH_MAX + 16];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return chdir("/") != 0 || (folder[0] != '\0' && system(command) != 0);
}

static void only_for_root(void)
{
    if (geteuid() != 0) {
        print_message("only root can change users\n");
        skip();
    }
}

static int open_log(const char *path)
{
    error.text[0] = '\0';
    return user_files_open_log(&privileges, path, &user_error, &error);
}

static void assert_opens(const char *path, int expected_user_error, uid_t owner)
{
    struct stat status;
    int fd = open_log(path);
    assert_true(fd >= 0);
    assert_int_equal(user_error, expected_user_error);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_uid, owner);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    close(fd);
}

static void assert_refuses(const char *path, const char *cause)
{
    assert_int_equal(open_log(path), -1);
    if (strstr(error.text, cause) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", cause, error.text);
    }
}

static void test_in_a_folder_of_the_users(void **state)
{
    (void)state;
    only_for_root();
    assert_opens("theirs/log", 0, privileges.uid);
    assert_true(user_files_can_append(&privileges, "theirs/log"));
}

static void test_in_a_folder_of_roots(void **state)
{
    (void)state;
    only_for_root();
    assert_opens("closed/log", EACCES, 0);
    assert_false(user_files_can_append(&privileges, "closed/log"));
    assert_opens("log", EACCES, 0);
    assert_opens("log", EACCES, 0); /* now that it is there, too */
    assert_opens("./closed/../log", EACCES, 0);
    char absolute[PATH_MAX + 8];
    snprintf(absolute, sizeof(absolute), "%s/log", folder);
    assert_opens(absolute, EACCES, 0);
    assert_int_equal(chown("log", privileges.uid, (gid_t)-1), 0);
    assert_opens("log", 0, privileges.uid);
}

/* Where the user's link leads, the user may go; root does not. */
static void test_links_of_the_users(void **state)
{
    (void)state;
    only_for_root();
    assert_int_equal(symlink("../closed/log", "theirs/link"), 0);
    assert_refuses(
        "theirs/link",
        "user nobody may not, and root does not open what others can change: \"theirs\"");
    assert_int_equal(access("closed/log", F_OK), -1);
    assert_int_equal(symlink("../closed", "theirs/folder"), 0);
    assert_refuses("theirs/folder/log", "\"theirs\"");
    assert_int_equal(access("closed/log", F_OK), -1);
    assert_int_equal(symlink("mine", "theirs/good"), 0);
    assert_opens("theirs/good", 0, privileges.uid);
}

static void test_links_of_roots(void **state)
{
    (void)state;
    only_for_root();
    assert_int_equal(symlink("closed", "folder"), 0);
    assert_int_equal(symlink("folder/log", "link"), 0);
    assert_opens("link", EACCES, 0);
    char target[PATH_MAX + 16];
    snprintf(target, sizeof(target), "%s/closed/log", folder);
    assert_int_equal(symlink(target, "absolute"), 0);
    assert_opens("absolute", EACCES, 0);
    assert_int_equal(symlink("circle", "circle"), 0);
    assert_int_equal(open_log("circle"), -1);
    assert_int_equal(lchown("link", privileges.uid, privileges.gid), 0);
    assert_refuses("link", "\"link\" on the way");
}

static void test_another_name_of_roots_file(void **state)
{
    (void)state;
    only_for_root();
    close(open("closed/secret", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(link("closed/secret", "theirs/hard"), 0);
    assert_refuses("theirs/hard", "not root's alone");
}

static void test_folders_that_many_may_write_to(void **state)
{
    (void)state;
    only_for_root();
    assert_int_equal(mkdir("shared", 0755), 0);
    close(open("shared/log", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(chmod("shared", 0777), 0);
    assert_refuses("shared/log", "\"shared\"");
    assert_int_equal(chown("shared", 0, privileges.gid), 0);
    assert_int_equal(chmod("shared", 0770), 0);
    assert_refuses("shared/log", "\"shared\"");
    assert_int_equal(chown("shared", 0, 1), 0); /* a group that is not the user's */
    assert_opens("shared/log", EACCES, 0);
    assert_int_equal(chmod("shared", 01777), 0); /* as /tmp: what is root's there stays root's */
    assert_opens("shared/log", EACCES, 0);
    assert_int_equal(chown("shared/log", 1, 1), 0);
    assert_refuses("shared/log", "\"log\" on the way");
}

static void test_what_is_no_file(void **state)
{
    (void)state;
    only_for_root();
    assert_opens("/dev/null", 0, 0);
    assert_int_equal(mkfifo("theirs/fifo", 0666), 0);
    assert_int_equal(chmod("theirs/fifo", 0666), 0);
    assert_refuses("theirs/fifo", "it is a FIFO that nobody reads");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_refuses("fifo", "it is a FIFO that nobody reads");
    assert_refuses("closed", "Is a directory");
    assert_refuses("no/such/log", "No such file");
    int ends[2];
    char path[32];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
    assert_opens(path, 0, 0);
    assert_true(user_files_can_append(&privileges, path));
    close(ends[0]);
    close(ends[1]);
}

/* Without a change of user it is opened as anybody does. */
static void test_as_oneself(void **state)
{
    (void)state;
    only_for_root();
    assert_true(privileges_resolve(&privileges, NULL, &error));
    assert_int_equal(symlink("../closed/log", "theirs/link"), 0);
    assert_opens("theirs/link", 0, 0);
    assert_true(user_files_can_append(&privileges, "theirs/link"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_a_folder_of_the_users),
        TEST(test_in_a_folder_of_roots),
        TEST(test_links_of_the_users),
        TEST(test_links_of_roots),
        TEST(test_another_name_of_roots_file),
        TEST(test_folders_that_many_may_write_to),
        TEST(test_what_is_no_file),
        TEST(test_as_oneself),
    };
    return cmocka_run_group_tests_name("user_files", tests, NULL, NULL);
}
