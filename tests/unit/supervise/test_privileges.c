#include "server/supervise/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static const char ordinary[] = "nobody";

static struct privileges privileges;
static char error[PRIVILEGES_ERROR_BYTES];

static void only_for_root(void)
{
    if (geteuid() != 0) {
        print_message("only root can change users\n");
        skip();
    }
}

static void assert_refused(const char *user, const char *cause)
{
    error[0] = '\0';
    assert_false(privileges_resolve(&privileges, user, error));
    if (strstr(error, cause) == NULL || strstr(error, "; ") == NULL) {
        fail_msg("\"%s\" is not in \"%s\", or no fix is named", cause, error);
    }
}

/* Drops in a process of its own and returns its exit status, what check says of it. */
static int status_after_drop(int (*check)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(privileges_drop(&privileges, error) ? check() : 99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_nobody_asked(void **state)
{
    (void)state;
    assert_true(privileges_resolve(&privileges, NULL, error));
    assert_false(privileges.changes);
    assert_true(privileges_check_root(&privileges, -1, "/", error)); /* nothing to try */
    assert_true(privileges_give_log(&privileges, "/no/such/file", error));
    assert_true(privileges_check_log(&privileges, "/no/such/file", error));
}

static void test_unknown_names(void **state)
{
    (void)state;
    char long_name[2 * PRIVILEGES_NAME_BYTES];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_refused("no-such-user", "there is no user \"no-such-user\"");
    assert_refused("nobody:no-such-group", "there is no group \"no-such-group\"");
    assert_refused(long_name, "nnn");
}

static void test_root_is_no_ordinary_user(void **state)
{
    (void)state;
    assert_refused("root", "user root would keep every privilege");
    assert_refused("root:root", "user root:root would keep every privilege");
}

static void test_user_and_group(void **state)
{
    (void)state;
    only_for_root();
    const struct passwd *nobody = getpwnam(ordinary);
    assert_non_null(nobody);
    uid_t uid = nobody->pw_uid;
    gid_t gid = nobody->pw_gid;
    assert_true(privileges_resolve(&privileges, ordinary, error));
    assert_true(privileges.changes);
    assert_int_equal(privileges.uid, uid);
    assert_int_equal(privileges.gid, gid);
    assert_int_equal(privileges.groups[0], gid);
    assert_true(privileges_resolve(&privileges, "nobody:daemon", error));
    assert_int_equal(privileges.uid, uid);
    assert_int_not_equal(privileges.gid, gid);
    assert_int_equal(privileges.groups[0], privileges.gid);
}

static int is_somebody_else(void)
{
    bool other = getuid() == privileges.uid && geteuid() == privileges.uid &&
                 getgid() == privileges.gid && getegid() == privileges.gid;
    bool back = seteuid(0) == 0 || setuid(0) == 0 || setegid(0) == 0;
    return other && !back && prctl(PR_CAPBSET_READ, 7, 0, 0, 0) == 0 &&
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static void test_drop(void **state)
{
    (void)state;
    only_for_root();
    assert_true(privileges_resolve(&privileges, ordinary, error));
    assert_int_equal(status_after_drop(is_somebody_else), 1);
}

static int has_no_new_privileges(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
}

static void test_no_new_privileges_in_any_case(void **state)
{
    (void)state;
    assert_true(privileges_resolve(&privileges, NULL, error));
    assert_int_equal(status_after_drop(has_no_new_privileges), 1);
}

static void test_root_directory(void **state)
{
    (void)state;
    only_for_root();
    char directory[] = "/tmp/twinhttpd-test-privileges-XXXXXX";
    assert_non_null(mkdtemp(directory));
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(privileges_resolve(&privileges, ordinary, error));
    assert_false(privileges_check_root(&privileges, fd, "the-root", error));
    assert_non_null(strstr(error, "user nobody cannot search the document root the-root"));
    assert_int_equal(chmod(directory, 0711), 0);
    assert_true(privileges_check_root(&privileges, fd, "the-root", error));
    close(fd);
    assert_int_equal(rmdir(directory), 0);
}

static uid_t owner_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status.st_uid;
}

static void test_logs_change_hands(void **state)
{
    (void)state;
    only_for_root();
    char log[] = "/tmp/twinhttpd-test-privileges-XXXXXX";
    char other[sizeof(log) + 8];
    int fd = mkstemp(log);
    assert_true(fd >= 0);
    close(fd);
    snprintf(other, sizeof(other), "%s.other", log);
    assert_true(privileges_resolve(&privileges, ordinary, error));
    /* Whoever may write to the directory could lead root to a file that is not the server's. */
    assert_int_equal(symlink(log, other), 0);
    assert_true(privileges_give_log(&privileges, other, error));
    assert_int_equal(owner_of(log), 0);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(link(log, other), 0);
    assert_true(privileges_give_log(&privileges, other, error));
    assert_int_equal(owner_of(log), 0);
    assert_int_equal(unlink(other), 0);
    assert_false(privileges_check_log(&privileges, log, error));
    assert_non_null(strstr(error, "user nobody cannot open the log /tmp/"));
    assert_true(privileges_give_log(&privileges, log, error));
    assert_int_equal(owner_of(log), privileges.uid);
    assert_true(privileges_check_log(&privileges, log, error));
    assert_int_equal(unlink(log), 0);
    assert_true(privileges_give_log(&privileges, "/dev/null", error));
    assert_int_equal(owner_of("/dev/null"), 0);
    assert_true(privileges_check_log(&privileges, "/dev/null", error));
    assert_false(privileges_give_log(&privileges, log, error));
    assert_non_null(strstr(error, log));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_asked),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_root_is_no_ordinary_user),
        cmocka_unit_test(test_user_and_group),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_no_new_privileges_in_any_case),
        cmocka_unit_test(test_root_directory),
        cmocka_unit_test(test_logs_change_hands),
    };
    return cmocka_run_group_tests_name("privileges", tests, NULL, NULL);
}
