#include "common/http/document_root.h"

#include "common/base/log.h"
#include "tests/unit/failing_call.h"
#include "tests/unit/open_descriptors.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { PATH_BYTES = 128, LOG_BYTES = 8192, LOOK_MS = 500, THREADS = 4, LOOKS = 300 };

/* root is a link to releases/1; releases/2 is there, too. In each lies a file "name". */
static char directory[] = "/tmp/twinhttpd-test-document-root-XXXXXX";
static struct document_root *root;
static uint64_t now_ms;
static int log_fd;
static struct failing_call failing_syscall;

/* Only openat2 is called by number. */
WRAPPED(long, syscall, long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    int from = va_arg(arguments, int);
    const char *path = va_arg(arguments, const char *);
    void *how = va_arg(arguments, void *);
    size_t how_bytes = va_arg(arguments, size_t);
    va_end(arguments);
    bool fails =
        failing_syscall.failures > 0 && fails_now(&failing_syscall); /* threads only read */
    return fails ? -1 : __real_syscall(number, from, path, how, how_bytes);
}

/* ---- Fixture ---- */

static const char *at(const char *name)
{
    static char path[2][PATH_BYTES];
    static int next;
    next = !next;
    snprintf(path[next], PATH_BYTES, "%s/%s", directory, name);
    return path[next];
}

static int make_release(const char *name)
{
    char file[PATH_BYTES];
    snprintf(file, sizeof(file), "%s/name", name);
    int fd = mkdir(at(name), 0700) != 0 ? -1 : open(at(file), O_WRONLY | O_CREAT | O_EXCL, 0600);
    return fd < 0 || write(fd, name, strlen(name)) < 0 || close(fd) != 0 ? -1 : 0;
}

static void switch_to(const char *release)
{
    assert_int_equal(symlink(release, at("next")), 0);
    assert_int_equal(rename(at("next"), at("root")), 0);
}

static int make(void **state)
{
    (void)state;
    struct error error;
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    failing_syscall = (struct failing_call){0};
    if (mkdtemp(directory) == NULL || make_release("1") != 0 || make_release("2") != 0) {
        return -1;
    }
    switch_to("1");
    log_fd = open(at("log"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_use(log_fd);
    now_ms = 5000;
    root = document_root_open(at("root"), &error);
    return root == NULL;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static int discard(void **state)
{
    (void)state;
    document_root_close(root);
    log_use(STDERR_FILENO);
    close(log_fd);
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void assert_serves(const char *release)
{
    char content[32] = "";
    int fd = document_root_open_file(root, "name");
    assert_true(fd >= 0);
    assert_true(read(fd, content, sizeof(content) - 1) >= 0);
    close(fd);
    assert_string_equal(content, release);
}

static int lines_with(const char *text)
{
    char log[LOG_BYTES] = "";
    int count = 0;
    assert_true(pread(log_fd, log, sizeof(log) - 1, 0) >= 0);
    for (const char *found = log; (found = strstr(found, text)) != NULL; found++) {
        count++;
    }
    return count;
}

static uint32_t follow_later(void)
{
    now_ms += LOOK_MS;
    return document_root_follow(root, now_ms);
}

/* ---- Tests ---- */

static void test_a_switched_link(void **state)
{
    (void)state;
    size_t before = open_descriptors();
    int fd = document_root_fd(root);
    assert_int_equal(document_root_follow(root, now_ms), 0);
    switch_to("2");
    assert_int_equal(document_root_follow(root, now_ms + LOOK_MS - 1), 0);
    assert_serves("1");
    assert_int_equal(follow_later(), 1);
    assert_serves("2");
    assert_int_equal(follow_later(), 1);
    switch_to("1");
    assert_int_equal(follow_later(), 2);
    assert_serves("1");
    assert_int_equal(document_root_fd(root), fd);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(lines_with("is another directory now"), 2);
    assert_string_equal(document_root_path(root), at("root"));
}

/* The first look comes at once: who was forked later than the master looked may be behind. */
static void test_the_first_look_is_not_put_off(void **state)
{
    (void)state;
    switch_to("2");
    assert_int_equal(document_root_follow(root, now_ms), 1);
    assert_serves("2");
}

/* An hour that has gone by for one thread, not for another, is no reason to look. */
static void test_time_that_goes_back(void **state)
{
    (void)state;
    assert_int_equal(document_root_follow(root, now_ms), 0);
    switch_to("2");
    assert_int_equal(document_root_follow(root, now_ms - 1), 0);
    assert_int_equal(document_root_follow(root, 0), 0);
}

static void test_a_directory_that_is_made_again(void **state)
{
    (void)state;
    document_root_follow(root, now_ms);
    assert_int_equal(rename(at("1"), at("old")), 0);
    assert_int_equal(follow_later(), 0);
    assert_serves("1"); /* the link dangles: what was there goes on */
    assert_int_equal(make_release("1"), 0);
    assert_int_equal(follow_later(), 1);
    assert_serves("1");
    assert_int_equal(lines_with("cannot look up"), 0); /* it took one look only */
}

static void test_a_path_that_leads_nowhere(void **state)
{
    (void)state;
    document_root_follow(root, now_ms);
    for (int round = 1; round <= 2; round++) {
        assert_int_equal(rename(at("root"), at("hidden")), 0);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(follow_later(), 0);
            assert_int_equal(lines_with("cannot look up"), i < 3 ? round - 1 : round);
        }
        assert_serves("1");
        assert_int_equal(rename(at("hidden"), at("root")), 0);
        assert_int_equal(follow_later(), 0);
    }
    assert_int_equal(lines_with("No such file or directory"), 2);
    assert_int_equal(lines_with("is another directory now"), 0);
}

/* Neither a file, nor what cannot be opened for want of descriptors or of openat2. */
static void test_what_cannot_take_its_place(void **state)
{
    (void)state;
    struct rlimit limit, none = {0};
    document_root_follow(root, now_ms);
    switch_to("1/name");
    assert_int_equal(follow_later(), 0);
    assert_serves("1");
    switch_to("2");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(follow_later(), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_serves("1");
    assert_int_equal(follow_later(), 1);
    assert_serves("2");
}

static void test_pinned(void **state)
{
    (void)state;
    document_root_pin(root);
    switch_to("2");
    assert_int_equal(document_root_follow(root, now_ms), 0);
    assert_int_equal(follow_later(), 0);
    assert_serves("1");
}

static void test_without_openat2(void **state)
{
    (void)state;
    struct error error;
    assert_false(document_root_goes_by_steps(root));
    document_root_close(root);
    failing_syscall = fail_next(1000, EPERM);
    root = document_root_open(at("root"), &error);
    assert_non_null(root);
    assert_true(document_root_goes_by_steps(root));
    assert_serves("1");
    switch_to("2");
    assert_int_equal(document_root_follow(root, now_ms), 1);
    assert_serves("2");
}

static void test_what_is_no_root(void **state)
{
    (void)state;
    struct error error;
    size_t before = open_descriptors();
    assert_null(document_root_open(at("missing"), &error));
    assert_non_null(strstr(error.text, "missing: No such file or directory; "));
    assert_null(document_root_open(at("1/name"), &error));
    assert_non_null(strstr(error.text, "1/name: Not a directory; "));
    document_root_close(NULL);
    assert_int_equal(open_descriptors(), before);
}

static _Atomic bool at_work;
static _Atomic int faults;

static void *use(void *unused)
{
    (void)unused;
    uint32_t seen = 0;
    while (at_work) {
        int fd = document_root_open_file(root, "name");
        faults += fd < 0 || close(fd) != 0;
        uint32_t switches = document_root_follow(root, now_ms);
        faults += switches < seen;
        seen = switches;
    }
    return NULL;
}

/* Threads that open files meanwhile find the one or the other. */
static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    at_work = true;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use, NULL), 0);
    }
    for (int i = 1; i <= LOOKS; i++) {
        switch_to(i % 2 == 0 ? "1" : "2");
        document_root_follow(root, (uint64_t)i * 10 * LOOK_MS);
    }
    at_work = false;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(faults, 0);
    document_root_follow(root, (uint64_t)(LOOKS + 2) * 10 * LOOK_MS);
    assert_serves("1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_switched_link),
        TEST(test_the_first_look_is_not_put_off),
        TEST(test_time_that_goes_back),
        TEST(test_a_directory_that_is_made_again),
        TEST(test_a_path_that_leads_nowhere),
        TEST(test_what_cannot_take_its_place),
        TEST(test_pinned),
        TEST(test_without_openat2),
        TEST(test_what_is_no_root),
        TEST(test_threads),
    };
    return cmocka_run_group_tests_name("document_root", tests, NULL, NULL);
}
