#include "server/setup/privileges.h"

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
static struct error error;

static void only_for_root(void)
{
    if (geteuid() != 0) {
        print_message("only root can change users\n");
        skip();
    }
}

static void assert_refused(const char *user, const char *cause)
{
    error.text[0] = '\0';
    assert_false(privileges_resolve(&privileges, user, &error));
    if (strstr(error.text, cause) == NULL || strstr(error.text, "; ") == NULL) {
        fail_msg("\"%s\" is not in \"%s\", or no fix is named", cause, error.text);
    }
}

/* Drops in a process of its own and returns its exit status, what check says of it. */
static int status_after_drop(int (*check)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(privileges_drop(&privileges, &error) ? check() : 99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_nobody_asked(void **state)
{
    (void)state;
    assert_true(privileges_resolve(&privileges, NULL, &error));
    assert_false(privileges.changes);
    assert_true(privileges_check_root(&privileges, -1, "/", &error)); /* nothing to try */
    assert_true(privileges_give_log(&privileges, -1, "/no/such/file", &error));
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
    assert_true(privileges_resolve(&privileges, ordinary, &error));
    assert_true(privileges.changes);
    assert_int_equal(privileges.uid, uid);
    assert_int_equal(privileges.gid, gid);
    assert_int_equal(privileges.groups[0], gid);
    assert_true(privileges_resolve(&privileges, "nobody:daemon", &error));
    assert_int_equal(privileges.uid, uid);
    assert_int_not_equal(privileges.gid, gid);
    assert_int_equal(privileges.groups[0], privileges.gid);
}

/* A container's user has no entry in any database. */
static void test_numbers(void **state)
{
    (void)state;
    only_for_root();
    const struct passwd *nobody = getpwnam(ordinary);
    char text[64];
    assert_true(privileges_resolve(&privileges, "4123456789:4123456788", &error));
    assert_true(privileges.changes);
    assert_int_equal(privileges.uid, 4123456789);
    assert_int_equal(privileges.gid, 4123456788);
    assert_int_equal(privileges.group_count, 1);
    assert_int_equal(privileges.groups[0], 4123456788);
    assert_true(privileges_resolve(&privileges, "4123456789", &error));
    assert_int_equal(privileges.gid, 4123456789);
    assert_true(privileges_resolve(&privileges, "4123456789:daemon", &error));
    assert_int_not_equal(privileges.gid, 4123456789);
    snprintf(text, sizeof(text), "%u", nobody->pw_uid);
    assert_true(privileges_resolve(&privileges, text, &error)); /* who has an entry has its group */
    assert_int_equal(privileges.uid, nobody->pw_uid);
    assert_int_equal(privileges.gid, nobody->pw_gid);
    assert_true(privileges_resolve(&privileges, "nobody:4123456788", &error));
    assert_int_equal(privileges.gid, 4123456788);
}

static void test_bad_numbers(void **state)
{
    (void)state;
    assert_refused("0", "user 0 would keep every privilege");
    assert_refused("0:10001", "would keep every privilege");
    assert_refused("4294967295", "there is no user \"4294967295\"");
    assert_refused("99999999999999999999999", "there is no user");
    assert_refused("10001:4294967295", "there is no group \"4294967295\"");
    assert_refused("0x10", "there is no user");
    assert_refused("10001:-1", "there is no group \"-1\"");
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
    assert_true(privileges_resolve(&privileges, ordinary, &error));
    assert_int_equal(status_after_drop(is_somebody_else), 1);
}

static int has_no_new_privileges(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
}

static void test_no_new_privileges_in_any_case(void **state)
{
    (void)state;
    assert_true(privileges_resolve(&privileges, NULL, &error));
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
    assert_true(privileges_resolve(&privileges, ordinary, &error));
    assert_false(privileges_check_root(&privileges, fd, "the-root", &error));
    assert_non_null(strstr(error.text, "user nobody cannot search the document root the-root"));
    assert_int_equal(chmod(directory, 0711), 0);
    assert_true(privileges_check_root(&privileges, fd, "the-root", &error));
    close(fd);
    assert_int_equal(rmdir(directory), 0);
}

static uid_t owner_of(int fd)
{
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
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
    snprintf(other, sizeof(other), "%s.other", log);
    assert_true(privileges_resolve(&privileges, ordinary, &error));
    /* Whoever may write to the directory could lead root to a file that is not the server's. */
    assert_int_equal(link(log, other), 0);
    assert_true(privileges_give_log(&privileges, fd, log, &error));
    assert_int_equal(owner_of(fd), 0);
    assert_int_equal(unlink(other), 0);
    assert_true(privileges_give_log(&privileges, fd, log, &error));
    assert_int_equal(owner_of(fd), privileges.uid);
    assert_int_equal(unlink(log), 0);
    close(fd);
    int device = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(privileges_give_log(&privileges, device, "/dev/null", &error));
    assert_int_equal(owner_of(device), 0);
    close(device);
    assert_false(privileges_give_log(&privileges, device, log, &error));
    assert_non_null(strstr(error.text, log));
}

static bool can_read_shadow(void)
{
    int fd = open("/etc/shadow", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* The rights to files go and come back, with the groups; the real user stays. */
static void test_for_a_moment(void **state)
{
    (void)state;
    only_for_root();
    struct privileges_own own;
    gid_t groups_before[PRIVILEGES_GROUPS];
    gid_t groups[PRIVILEGES_GROUPS];
    int count_before = getgroups(PRIVILEGES_GROUPS, groups_before);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    assert_true(privileges_resolve(&privileges, ordinary, &error));
    assert_true(privileges_lay_down(&privileges, &own));
    bool could = can_read_shadow();
    uid_t real = getuid();
    gid_t group = getegid();
    int count = getgroups(PRIVILEGES_GROUPS, groups);
    errno = ENOENT;
    privileges_take_up(&own);
    assert_int_equal(errno, ENOENT);
    assert_false(could);
    assert_int_equal(real, 0);
    assert_int_equal(group, privileges.gid);
    assert_int_equal(count, privileges.group_count);
    assert_int_equal(geteuid(), 0);
    assert_int_equal(getegid(), 0);
    assert_int_equal(getgroups(PRIVILEGES_GROUPS, groups), count_before);
    assert_memory_equal(groups, groups_before, (size_t)count_before * sizeof(groups[0]));
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
    assert_true(can_read_shadow());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_asked),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_root_is_no_ordinary_user),
        cmocka_unit_test(test_user_and_group),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bad_numbers),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_no_new_privileges_in_any_case),
        cmocka_unit_test(test_root_directory),
        cmocka_unit_test(test_logs_change_hands),
        cmocka_unit_test(test_for_a_moment),
    };
    return cmocka_run_group_tests_name("privileges", tests, NULL, NULL);
}
