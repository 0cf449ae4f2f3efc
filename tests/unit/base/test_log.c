#include "common/base/log.h"
#include "common/base/log_file.h"

#include "tests/unit/open_descriptors.h"

#include <errno.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
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

enum { TEXT_BYTES = 256 * 1024, THREADS = 4, LINES_EACH = 200 };

static char directory[] = "/tmp/twinhttpd-test-log-XXXXXX";
static char path[sizeof(directory) + 16];
static char text[TEXT_BYTES];
static int fd = -1;

static int close_log(void **state)
{
    (void)state;
    log_use(STDERR_FILENO);
    return fd < 0 ? 0 : close(fd);
}

/* Every test starts with an empty log at path. */
static int open_log(void **state)
{
    (void)state;
    unlink(path);
    log_set_level(LOG_INFO);
    log_set_name("main");
    fd = log_file_open(path);
    log_use(fd);
    log_tell_losses(); /* of the test before */
    return fd < 0 || ftruncate(fd, 0) != 0 ? -1 : 0;
}

static const char *logged_at(const char *where)
{
    FILE *file = fopen(where, "r");
    assert_non_null(file);
    size_t bytes = fread(text, 1, sizeof(text) - 1, file);
    text[bytes] = '\0';
    fclose(file);
    return text;
}

static const char *logged(void)
{
    return logged_at(path);
}

static void assert_matches(const char *line, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, line, 0, NULL, 0) != 0) {
        fail_msg("\"%s\" does not match \"%s\"", line, pattern);
    }
    regfree(&regex);
}

static void test_form_of_a_line(void **state)
{
    (void)state;
    char pattern[256];
    log_write(LOG_NOTICE, "hello %d", 7);
    snprintf(pattern, sizeof(pattern),
             "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z \\[notice\\] main "
             "pid %d: hello 7\n$",
             (int)getpid());
    assert_matches(logged(), pattern);
}

static void test_names_of_levels(void **state)
{
    (void)state;
    log_set_level(LOG_DEBUG);
    log_write(LOG_DEBUG, "a");
    log_write(LOG_INFO, "b");
    log_write(LOG_NOTICE, "c");
    log_write(LOG_WARN, "d");
    log_write(LOG_ERROR, "e");
    assert_matches(logged(), "\\[debug\\] .*: a\n.*\\[info\\] .*: b\n.*\\[notice\\] .*: c\n"
                             ".*\\[warn\\] .*: d\n.*\\[error\\] .*: e\n$");
}

static void test_threshold(void **state)
{
    (void)state;
    for (int threshold = LOG_DEBUG; threshold <= LOG_ERROR; threshold++) {
        assert_int_equal(close_log(NULL), 0);
        assert_int_equal(open_log(NULL), 0);
        log_set_level((enum log_level)threshold);
        size_t lines = 0;
        for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
            assert_int_equal(log_enabled((enum log_level)level), level >= threshold);
            log_write((enum log_level)level, "x");
        }
        for (const char *c = logged(); *c != '\0'; c++) {
            lines += *c == '\n';
        }
        assert_int_equal(lines, LOG_ERROR - threshold + 1);
    }
}

static void test_name(void **state)
{
    (void)state;
    log_set_name("slot %d", 3);
    log_write(LOG_ERROR, "x");
    assert_matches(logged(), "\\[error\\] slot 3 pid [0-9]+: x\n$");
}

static void test_long_name_is_cut(void **state)
{
    (void)state;
    log_set_name("%s", "0123456789012345678901234567890123456789");
    log_write(LOG_ERROR, "x");
    assert_matches(logged(), "\\[error\\] 0123456789012345678901234567890 pid [0-9]+: x\n$");
}

static void *write_one_line(void *name)
{
    log_write(LOG_ERROR, "before");
    log_set_name("%s", (const char *)name);
    log_write(LOG_ERROR, "after");
    return NULL;
}

static void test_each_thread_has_its_name(void **state)
{
    (void)state;
    pthread_t thread;
    char name[] = "other";
    log_set_name("first");
    assert_int_equal(pthread_create(&thread, NULL, write_one_line, name), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    log_write(LOG_ERROR, "mine");
    assert_matches(logged(), "main pid [0-9]+: before\n.* other pid [0-9]+: after\n.* first pid "
                             "[0-9]+: mine\n$");
}

static void test_control_bytes_are_replaced(void **state)
{
    (void)state;
    log_write(LOG_ERROR, "a%sb", "\r\n2026 [error] forged\x1b[31m\t\x7f");
    assert_matches(logged(), ": a\\?\\?2026 \\[error\\] forged\\?\\[31m\\?\\?b\n$");
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void test_other_bytes_stay(void **state)
{
    (void)state;
    log_write(LOG_ERROR, "caf\xc3\xa9 ~ 100%%");
    assert_matches(logged(), ": caf\xc3\xa9 ~ 100%\n$");
}

static void test_long_line_is_cut(void **state)
{
    (void)state;
    char longer[5000];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    log_write(LOG_ERROR, "%s", longer);
    log_write(LOG_ERROR, "next");
    const char *all = logged();
    size_t first = (size_t)(strchr(all, '\n') - all) + 1;
    assert_in_range(first, 2000, 2048);
    assert_matches(all + first - 10, "^x{9}\n");
    assert_matches(all + first, ": next\n$");
}

static void test_errno(void **state)
{
    (void)state;
    errno = ENOENT;
    log_write(LOG_ERROR, "open: %m");
    assert_int_equal(errno, ENOENT);
    log_write(LOG_DEBUG, "dropped");
    assert_int_equal(errno, ENOENT);
    assert_matches(logged(), ": open: No such file or directory\n$");
}

static void test_errno_after_a_failed_write(void **state)
{
    (void)state;
    assert_true(log_file_reopen(fd, "/dev/full"));
    errno = ENOENT;
    log_write(LOG_ERROR, "x");
    assert_int_equal(errno, ENOENT);
}

/* A full disk: the lines are lost, but neither forgotten nor glued to the next one. */
static void test_lost_lines_are_told(void **state)
{
    (void)state;
    assert_true(log_tell_losses());
    assert_true(log_file_reopen(fd, "/dev/full"));
    log_write(LOG_ERROR, "a");
    log_write(LOG_ERROR, "b");
    assert_false(log_tell_losses());
    log_write(LOG_ERROR, "c");
    assert_true(log_file_reopen(fd, path));
    log_set_level(LOG_ERROR);
    log_write(LOG_ERROR, "d");
    assert_matches(logged(),
                   "^[^\n]* \\[error\\] main pid [0-9]+: 3 lines lost before this one: No "
                   "space left on device\n[^\n]*: d\n$");
    assert_true(log_file_reopen(fd, "/dev/full"));
    log_write(LOG_ERROR, "e");
    assert_true(log_file_reopen(fd, path));
    assert_true(log_tell_losses());
    assert_true(log_tell_losses());
    assert_matches(logged(), ": d\n[^\n]*: 1 line lost before this one: [^\n]*\n$");
}

static void lose_a_line(void)
{
    log_write(LOG_ERROR, "lost");
    _exit(0);
}

/* Those of a process that has ended are told by another. */
static void test_losses_are_shared(void **state)
{
    (void)state;
    log_share_losses();
    assert_true(log_file_reopen(fd, "/dev/full"));
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            lose_a_line();
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    assert_true(log_file_reopen(fd, path));
    log_write(LOG_ERROR, "x");
    assert_matches(logged(), "^[^\n]*: 2 lines lost before this one: [^\n]*\n[^\n]*: x\n$");
}

static void test_appends_to_what_is_there(void **state)
{
    (void)state;
    log_write(LOG_ERROR, "one");
    assert_int_equal(close_log(NULL), 0);
    fd = log_file_open(path);
    log_use(fd);
    log_write(LOG_ERROR, "two");
    assert_matches(logged(), ": one\n.*: two\n$");
}

static void test_mode_of_a_new_file(void **state)
{
    (void)state;
    struct stat status;
    mode_t before = umask(0);
    unlink(path);
    assert_true(log_file_reopen(fd, path));
    umask(before);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
}

static void test_failed_reopen_keeps_the_log(void **state)
{
    (void)state;
    assert_int_equal(log_file_open("/nonexistent/error.log"), -1);
    errno = 0;
    assert_false(log_file_reopen(fd, "/nonexistent/error.log"));
    assert_int_equal(errno, ENOENT);
    log_write(LOG_ERROR, "still here");
    assert_matches(logged(), ": still here\n$");
}

/* Opening again is how logs are rotated: the old file gets nothing more, and no descriptor leaks.
 */
static void test_reopen_after_rename(void **state)
{
    (void)state;
    char old[sizeof(path) + 4];
    snprintf(old, sizeof(old), "%s.1", path);
    log_write(LOG_ERROR, "one");
    assert_int_equal(rename(path, old), 0);
    size_t before = open_descriptors();
    assert_true(log_file_reopen(fd, path));
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(log_descriptor(), fd);
    log_write(LOG_ERROR, "two");
    assert_matches(logged_at(old), "^[^\n]*: one\n$");
    assert_matches(logged(), "^[^\n]*: two\n$");
    unlink(old);
}

static void test_null_is_standard_error(void **state)
{
    (void)state;
    char captured[sizeof(path) + 4];
    snprintf(captured, sizeof(captured), "%s.err", path);
    log_use(STDERR_FILENO);
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    FILE *file = fopen(captured, "w");
    assert_true(saved >= 0 && file != NULL);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    log_write(LOG_ERROR, "to stderr");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    fclose(file);
    assert_matches(logged_at(captured), ": to stderr\n$");
    assert_string_equal(logged(), "");
    unlink(captured);
}

static void *write_many_lines(void *number)
{
    log_set_name("thread %d", *(int *)number);
    for (int i = 0; i < LINES_EACH; i++) {
        log_write(LOG_ERROR, "begin %d end", i);
    }
    return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    size_t lines = 0;
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_many_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    logged();
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_matches(line, "^[0-9TZ:.-]+ \\[error\\] thread [0-3] pid [0-9]+: begin [0-9]+ end$");
        lines++;
    }
    assert_int_equal(lines, THREADS * LINES_EACH);
}

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/error.log", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

#define LOG_TEST(function) cmocka_unit_test_setup_teardown(function, open_log, close_log)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_form_of_a_line),
        LOG_TEST(test_names_of_levels),
        LOG_TEST(test_threshold),
        LOG_TEST(test_name),
        LOG_TEST(test_long_name_is_cut),
        LOG_TEST(test_each_thread_has_its_name),
        LOG_TEST(test_control_bytes_are_replaced),
        LOG_TEST(test_other_bytes_stay),
        LOG_TEST(test_long_line_is_cut),
        LOG_TEST(test_errno),
        LOG_TEST(test_errno_after_a_failed_write),
        LOG_TEST(test_lost_lines_are_told),
        LOG_TEST(test_losses_are_shared),
        LOG_TEST(test_appends_to_what_is_there),
        LOG_TEST(test_mode_of_a_new_file),
        LOG_TEST(test_failed_reopen_keeps_the_log),
        LOG_TEST(test_reopen_after_rename),
        LOG_TEST(test_null_is_standard_error),
        LOG_TEST(test_lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests_name("log", tests, make_directory, remove_directory);
}
