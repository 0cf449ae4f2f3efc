#include "common/http/beneath.h"

#include "tests/unit/failing_call.h"
#include "tests/unit/open_descriptors.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { NAME_BYTES = 8192, DEADLINE_S = 20, LINK_CHAIN = 45, SWAPS = 20000 };

static const enum beneath_way ways[] = {BENEATH_KERNEL, BENEATH_STEPS};

/* root/ is what is asked, beside it lies what must not be found. */
static char directory[] = "/tmp/twinhttpd-test-beneath-XXXXXX";
static int root_fd;
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
    return fails_now(&failing_syscall) ? -1 : __real_syscall(number, from, path, how, how_bytes);
}

/* ---- Fixture ---- */

static void put(const char *name)
{
    int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, name, strlen(name)), strlen(name));
    assert_int_equal(close(fd), 0);
}

static void make_directory(const char *name)
{
    assert_int_equal(mkdirat(root_fd, name, 0700), 0);
}

static void link_to(const char *target, const char *name)
{
    assert_int_equal(symlinkat(target, root_fd, name), 0);
}

static int make(void **state)
{
    (void)state;
    char path[sizeof(directory) + 8];
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    failing_syscall = (struct failing_call){0};
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/root", directory);
    if (mkdir(path, 0700) != 0) {
        return -1;
    }
    root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    put("../secret");
    make_directory("../outside");
    put("../outside/file");
    return root_fd < 0;
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
    close(root_fd);
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Either way finds the same file, or the same reason why not. */
static void assert_finds(const char *path, const char *content)
{
    for (size_t i = 0; i < 2; i++) {
        char found[64] = "";
        size_t before = open_descriptors();
        int fd = beneath_open(ways[i], root_fd, path);
        if (fd < 0) {
            fail_msg("%.80s, way %zu: %s", path, i, strerror(errno));
        }
        assert_true(read(fd, found, sizeof(found) - 1) >= 0);
        assert_string_equal(found, content);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        close(fd);
        assert_int_equal(open_descriptors(), before);
    }
}

static void assert_directory(const char *path)
{
    for (size_t i = 0; i < 2; i++) {
        struct stat status;
        int fd = beneath_open(ways[i], root_fd, path);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &status), 0);
        assert_true(S_ISDIR(status.st_mode));
        close(fd);
    }
}

static void assert_refuses(const char *path, int error)
{
    for (size_t i = 0; i < 2; i++) {
        size_t before = open_descriptors();
        errno = 0;
        int fd = beneath_open(ways[i], root_fd, path);
        if (fd >= 0 || errno != error) {
            fail_msg("%.80s, way %zu: fd %d, %s instead of %s", path, i, fd, strerror(errno),
                     strerror(error));
        }
        assert_int_equal(open_descriptors(), before);
    }
}

/* ---- Tests ---- */

static void test_names(void **state)
{
    (void)state;
    put("file");
    make_directory("dir");
    make_directory("dir/sub");
    put("dir/sub/file");
    put("..file");
    assert_finds("file", "file");
    assert_finds("./file", "file");
    assert_finds("dir/sub/file", "dir/sub/file");
    assert_finds("dir//sub/./file", "dir/sub/file");
    assert_finds("dir/sub/../../file", "file");
    assert_finds("dir/../dir/sub/file", "dir/sub/file");
    assert_finds("..file", "..file");
    assert_directory(".");
    assert_directory("dir");
    assert_directory("dir/");
    assert_directory("dir/sub/..");
    assert_directory("dir/..");
    assert_refuses("missing", ENOENT);
    assert_refuses("missing/file", ENOENT);
    assert_refuses("dir/missing", ENOENT);
    assert_refuses("", ENOENT);
    assert_refuses("file/", ENOTDIR);
    assert_refuses("file/.", ENOTDIR);
    assert_refuses("file/..", ENOTDIR);
    assert_refuses("file/more", ENOTDIR);
}

static void test_ways_out(void **state)
{
    (void)state;
    make_directory("dir");
    assert_refuses("..", EXDEV);
    assert_refuses("../secret", EXDEV);
    assert_refuses("../root", EXDEV);
    assert_refuses("dir/../../secret", EXDEV);
    assert_refuses("dir/../..", EXDEV);
    assert_refuses("/", EXDEV);
    assert_refuses("/etc/passwd", EXDEV);
}

static void test_links(void **state)
{
    (void)state;
    put("file");
    make_directory("dir");
    make_directory("dir/sub");
    put("dir/sub/file");
    link_to("file", "good");
    link_to("good", "twice");
    link_to("../file", "dir/up");
    link_to("dir/sub", "deep");
    link_to("dir/sub/", "deep-slash");
    link_to("../../dir/./sub//file", "dir/sub/around");
    link_to(".", "self");
    link_to("dir/sub/..", "back");
    assert_finds("good", "file");
    assert_finds("twice", "file");
    assert_finds("dir/up", "file");
    assert_finds("deep/file", "dir/sub/file");
    assert_finds("deep-slash/file", "dir/sub/file");
    assert_finds("dir/sub/around", "dir/sub/file");
    assert_finds("self/self/self/file", "file");
    assert_finds("deep/../up", "file"); /* beside where the link leads, not where it lies */
    assert_finds("back/sub/file", "dir/sub/file");
    assert_directory("deep");
    assert_directory("deep/");
    assert_directory("self");
    assert_refuses("good/", ENOTDIR);
    assert_refuses("good/more", ENOTDIR);
    assert_refuses("deep/missing", ENOENT);
}

static void test_links_that_lead_out(void **state)
{
    (void)state;
    make_directory("dir");
    link_to("..", "parent");
    link_to("../secret", "secret");
    link_to("../../secret", "dir/secret");
    link_to("../root/dir", "out-and-in");
    link_to("/etc/passwd", "absolute");
    link_to("dir/../../outside", "outside");
    link_to("/proc/self/root/etc/passwd", "magic");
    link_to("missing", "dangling");
    assert_refuses("parent", EXDEV);
    assert_refuses("parent/secret", EXDEV);
    assert_refuses("secret", EXDEV);
    assert_refuses("dir/secret", EXDEV);
    assert_refuses("out-and-in", EXDEV);
    assert_refuses("absolute", EXDEV);
    assert_refuses("absolute/x", EXDEV);
    assert_refuses("outside/file", EXDEV);
    assert_refuses("magic", EXDEV);
    assert_refuses("dangling", ENOENT);
    assert_refuses("dangling/x", ENOENT);
}

static void test_too_many_links(void **state)
{
    (void)state;
    char name[16], target[16];
    put("0");
    for (int i = 1; i <= LINK_CHAIN; i++) {
        snprintf(name, sizeof(name), "%d", i);
        snprintf(target, sizeof(target), "%d", i - 1);
        link_to(target, name);
    }
    assert_finds("40", "0");
    assert_refuses("41", ELOOP);
    assert_refuses("45", ELOOP);
    link_to("loop", "loop");
    link_to("loop-b", "loop-a");
    link_to("loop-a/x", "loop-b");
    assert_refuses("loop", ELOOP);
    assert_refuses("loop/x", ELOOP);
    assert_refuses("loop-a", ELOOP);
}

static void test_long_names(void **state)
{
    (void)state;
    char path[NAME_BYTES];
    char target[4000];
    memset(path, 'n', sizeof(path));
    path[255] = '\0';
    assert_refuses(path, ENOENT);
    path[255] = 'n';
    path[256] = '\0';
    assert_refuses(path, ENAMETOOLONG);
    path[256] = '/';
    path[257] = 'x';
    path[258] = '\0';
    assert_refuses(path, ENAMETOOLONG);
    for (size_t i = 0; i < sizeof(path); i += 2) {
        memcpy(path + i, "./", 2);
    }
    path[4095] = '\0';
    assert_directory(path);
    path[4095] = '/';
    path[4096] = '\0';
    assert_refuses(path, ENAMETOOLONG);
    for (size_t i = 0; i < sizeof(target); i += 2) {
        memcpy(target + i, "./", 2);
    }
    target[sizeof(target) - 1] = '\0';
    link_to(target, "long");
    assert_directory("long");
    memcpy(path, "long/", 5); /* only our own steps put the two together */
    path[201] = '\0';
    assert_int_equal(beneath_open(BENEATH_STEPS, root_fd, path), -1);
    assert_int_equal(errno, ENAMETOOLONG);
}

static void test_special_files_do_not_block(void **state)
{
    (void)state;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/root/socket", directory);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(mkfifoat(root_fd, "fifo", 0600), 0);
    alarm(DEADLINE_S); /* a FIFO without a writer would wait for ever */
    assert_refuses("socket", ENXIO);
    for (size_t i = 0; i < 2; i++) {
        int fifo = beneath_open(ways[i], root_fd, "fifo");
        assert_true(fifo >= 0);
        close(fifo);
    }
    alarm(0);
    close(fd);
}

/* Another thread puts what leads out into the place of what does not, all the time. */
static _Atomic bool swapping;

static void *swap(void *unused)
{
    (void)unused;
    while (swapping) {
        renameat2(root_fd, "in", root_fd, "evil", RENAME_EXCHANGE);
        renameat(root_fd, "a/b", root_fd, "a/c");
        renameat(root_fd, "a/c", root_fd, "a/b");
    }
    return NULL;
}

static void test_renames_meanwhile(void **state)
{
    (void)state;
    pthread_t thread;
    static const char *const paths[] = {"in/file", "evil/file", "a/b/up", "a/b/../../in/file"};
    make_directory("in");
    put("in/file");
    link_to("../outside", "evil");
    make_directory("a");
    make_directory("a/b");
    link_to("../../in/file", "a/b/up");
    swapping = true;
    assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
    int found = 0;
    for (int i = 0; i < SWAPS; i++) {
        char content[64] = "";
        int fd = beneath_open(ways[i % 2], root_fd, paths[i / 2 % 4]);
        if (fd >= 0) {
            assert_true(read(fd, content, sizeof(content) - 1) >= 0);
            close(fd);
            if (strcmp(content, "in/file") != 0) {
                swapping = false;
                fail_msg("%s was found to be %s", paths[i / 2 % 4], content);
            }
            found++;
        } else if (errno != ENOENT && errno != EXDEV && errno != ENOTDIR) {
            swapping = false;
            fail_msg("%s: %s", paths[i / 2 % 4], strerror(errno));
        }
    }
    swapping = false;
    pthread_join(thread, NULL);
    assert_true(found > 0);
}

/* ---- Which way ---- */

static void test_the_way_that_works(void **state)
{
    (void)state;
    static const int errors[] = {ENOSYS, EPERM, EACCES, EINVAL};
    assert_int_equal(beneath_choose_way(root_fd), BENEATH_KERNEL);
    size_t before = open_descriptors();
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        failing_syscall = fail_next(1, errors[i]);
        assert_int_equal(beneath_choose_way(root_fd), BENEATH_STEPS);
    }
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(beneath_choose_way(-1), -1);
    assert_int_equal(errno, EBADF);
}

/* What the kernel cannot tell, we find ourselves. */
static void test_when_the_kernel_does_not_answer(void **state)
{
    (void)state;
    put("file");
    failing_syscall = fail_next(16, EAGAIN);
    int fd = beneath_open(BENEATH_KERNEL, root_fd, "file");
    assert_true(fd >= 0);
    assert_int_equal(failing_syscall.failures, 0);
    close(fd);
    failing_syscall = fail_next(1, ENOSYS);
    fd = beneath_open(BENEATH_KERNEL, root_fd, "file");
    assert_true(fd >= 0);
    close(fd);
    failing_syscall = fail_next(1, EPERM); /* is the file system's answer here */
    assert_int_equal(beneath_open(BENEATH_KERNEL, root_fd, "file"), -1);
    assert_int_equal(errno, EPERM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_ways_out),
        TEST(test_links),
        TEST(test_links_that_lead_out),
        TEST(test_too_many_links),
        TEST(test_long_names),
        TEST(test_special_files_do_not_block),
        TEST(test_renames_meanwhile),
        TEST(test_the_way_that_works),
        TEST(test_when_the_kernel_does_not_answer),
    };
    return cmocka_run_group_tests_name("beneath", tests, NULL, NULL);
}
