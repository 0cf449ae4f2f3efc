#include "server/setup/pid_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { PATH_BYTES = 128 };

static char directory[] = "/tmp/twinhttpd-test-pid-file-XXXXXX";
static char path[PATH_BYTES];
static char other_path[PATH_BYTES];
static struct error error;

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL) {
        return 1;
    }
    snprintf(path, sizeof(path), "%s/server.pid", directory);
    snprintf(other_path, sizeof(other_path), "%s/other", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory); /* fails if a test has left anything */
}

static void put(const char *where, const char *content)
{
    FILE *out = fopen(where, "w");
    assert_non_null(out);
    assert_true(fputs(content, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void assert_content(const char *where, const char *content)
{
    char found[64] = "";
    FILE *in = fopen(where, "r");
    assert_non_null(in);
    size_t bytes = fread(found, 1, sizeof(found) - 1, in);
    fclose(in);
    assert_int_equal(bytes, strlen(content));
    assert_string_equal(found, content);
}

static void assert_holds(pid_t pid)
{
    char expected[32];
    snprintf(expected, sizeof(expected), "%d\n", (int)pid);
    assert_content(path, expected);
}

static void assert_holds_own_pid(void)
{
    assert_holds(getpid());
}

/* Reading the file ends the lock: closing any descriptor of it does, in the process that has it. */
static void create(void)
{
    assert_true(pid_file_create(path, false, &error));
    assert_holds_own_pid();
}

static void assert_gone(void)
{
    assert_int_equal(access(path, F_OK), -1);
}

static void assert_refused(const char *cause)
{
    assert_false(pid_file_create(path, false, &error));
    if (strstr(error.text, cause) == NULL || strstr(error.text, "; ") == NULL) {
        fail_msg("\"%s\" is not in \"%s\", or no fix is named", cause, error.text);
    }
}

static void test_none(void **state)
{
    (void)state;
    assert_true(pid_file_create(NULL, false, &error));
    pid_file_remove();
}

static void test_created_and_removed(void **state)
{
    (void)state;
    struct stat status;
    create();
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
    pid_file_remove();
    assert_gone();
    pid_file_remove(); /* twice does no harm */
}

/* Of a server that was killed, or cut off while it wrote. */
static void test_a_stale_file_is_replaced(void **state)
{
    (void)state;
    static const char *const stale[] = {"1\n", "4194304\n", "12", ""};
    for (size_t i = 0; i < sizeof(stale) / sizeof(stale[0]); i++) {
        put(path, stale[i]);
        create();
        pid_file_remove();
        assert_gone();
    }
}

/* Another process holds the file until it is killed. */
static void test_a_living_holder(void **state)
{
    (void)state;
    int ready[2];
    char byte;
    char cause[64];
    assert_int_equal(pipe(ready), 0);
    pid_t holder = fork();
    assert_true(holder >= 0);
    if (holder == 0) {
        if (!pid_file_create(path, false, &error) || write(ready[1], "", 1) != 1) {
            _exit(1);
        }
        pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    snprintf(cause, sizeof(cause), "belongs to a running server, pid %d", (int)holder);
    assert_refused(cause);
    assert_int_equal(kill(holder, SIGKILL), 0);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    create();
    pid_file_remove();
}

/* Forked workers do not hold it: who lives longer than the master keeps nobody from starting. */
static void test_children_do_not_hold_it(void **state)
{
    (void)state;
    int told[2];
    pid_t worker = 0;
    assert_int_equal(pipe(told), 0);
    pid_t master = fork();
    assert_true(master >= 0);
    if (master == 0) {
        bool good = pid_file_create(path, false, &error);
        worker = fork();
        if (worker == 0) {
            pause();
        }
        _exit(good && write(told[1], &worker, sizeof(worker)) == sizeof(worker) ? 0 : 1);
    }
    assert_int_equal(read(told[0], &worker, sizeof(worker)), sizeof(worker));
    close(told[0]);
    close(told[1]);
    assert_int_equal(waitpid(master, NULL, 0), master);
    assert_int_equal(kill(worker, 0), 0); /* it lives */
    create();
    pid_file_remove();
    assert_int_equal(kill(worker, SIGKILL), 0);
}

/* What the program does that replaces its parent: 0 when the file was right all the time. */
static int replace_parent(void)
{
    char content[32] = "";
    if (!pid_file_create(path, true, &error)) {
        return 1;
    }
    FILE *in = fopen(path, "r"); /* still the parent's */
    if (in == NULL || fgets(content, sizeof(content), in) == NULL || atoi(content) != getppid()) {
        return 2;
    }
    fclose(in);
    pid_file_claim();
    return 0;
}

static void test_upgrade(void **state)
{
    (void)state;
    int status;
    assert_true(pid_file_create(path, false, &error));
    pid_t successor = fork();
    assert_true(successor >= 0);
    if (successor == 0) {
        _exit(replace_parent());
    }
    assert_int_equal(waitpid(successor, &status, 0), successor);
    assert_int_equal(status, 0);
    assert_holds(successor);
    pid_file_claim(); /* it has died: the parent serves again */
    assert_holds_own_pid();
    pid_file_claim(); /* nothing to do */
    assert_holds_own_pid();
    pid_file_remove();
    assert_gone();
}

/* Nobody but the parent may have it. */
static void test_upgrade_beside_a_stranger(void **state)
{
    (void)state;
    assert_true(pid_file_create(path, false, &error));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            _exit(pid_file_create(path, true, &error) ? 1 : 0);
        }
        int status = 1;
        _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pid_file_remove();
}

/* The file that its successor has put there is not the old program's to remove. */
static void test_a_successors_file_stays(void **state)
{
    (void)state;
    assert_true(pid_file_create(path, false, &error));
    pid_t successor = fork();
    assert_true(successor >= 0);
    if (successor == 0) {
        _exit(replace_parent());
    }
    assert_int_equal(waitpid(successor, NULL, 0), successor);
    pid_file_remove();
    assert_holds(successor);
    assert_int_equal(unlink(path), 0);
}

static void test_what_is_no_pid_file_stays(void **state)
{
    (void)state;
    static const char *const contents[] = {"root:x:0:0\n", "12 13\n", "1\n2\n", "\n1",
                                           "123456789012345678901234567890\n"};
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        put(path, contents[i]);
        assert_refused("is no pid file");
        assert_content(path, contents[i]);
    }
    assert_int_equal(unlink(path), 0);
    put(other_path, "1\n");
    assert_int_equal(symlink(other_path, path), 0);
    assert_refused(path);
    assert_content(other_path, "1\n");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(other_path), 0);
}

static void test_bad_places(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(path);
    assert_int_equal(rmdir(path), 0);
    assert_false(pid_file_create("/no/such/directory/pid", false, &error));
    assert_non_null(strstr(error.text, "/no/such/directory/pid: No such file or directory"));
}

/* Whoever has put another file there keeps it. */
static void test_only_the_own_file_is_removed(void **state)
{
    (void)state;
    create();
    assert_int_equal(unlink(path), 0);
    put(path, "1\n");
    pid_file_remove();
    assert_content(path, "1\n");
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_created_and_removed),
        cmocka_unit_test(test_a_stale_file_is_replaced),
        cmocka_unit_test(test_a_living_holder),
        cmocka_unit_test(test_children_do_not_hold_it),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_upgrade_beside_a_stranger),
        cmocka_unit_test(test_a_successors_file_stays),
        cmocka_unit_test(test_what_is_no_pid_file_stays),
        cmocka_unit_test(test_bad_places),
        cmocka_unit_test(test_only_the_own_file_is_removed),
    };
    return cmocka_run_group_tests_name("pid_file", tests, make_directory, remove_directory);
}
