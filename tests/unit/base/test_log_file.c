#include "common/base/log_file.h"

#include "tests/unit/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SMALL_PIPE_BYTES = 4096, TEXT_BYTES = 256 * 1024 };

static char directory[] = "/tmp/twinhttpd-test-log-file-XXXXXX";
static char path[sizeof(directory) + 8];
static char text[TEXT_BYTES];

static bool is_nonblocking(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

static size_t read_all(int fd)
{
    size_t bytes = 0;
    ssize_t n;
    while ((n = read(fd, text + bytes, sizeof(text) - 1 - bytes)) > 0) {
        bytes += (size_t)n;
    }
    text[bytes] = '\0';
    return bytes;
}

/* Of one page, so that it is full soon. The end to read from does not wait. */
static void make_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, SMALL_PIPE_BYTES), SMALL_PIPE_BYTES);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
}

static void close_both(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

/* "0: xxx...\n", count lines of that many bytes each. */
static const char *make_lines(int count, size_t bytes_each)
{
    static char lines[TEXT_BYTES];
    assert_true((size_t)count * bytes_each < sizeof(lines));
    for (int i = 0; i < count; i++) {
        char *line = lines + (size_t)i * bytes_each;
        memset(line, 'x', bytes_each);
        line[0] = (char)('0' + i % 10);
        line[bytes_each - 1] = '\n';
    }
    lines[(size_t)count * bytes_each] = '\0';
    return lines;
}

/* What waits for a reader would hang the test: SIGALRM ends it. */
static int make(void **state)
{
    (void)state;
    alarm(PATIENCE_S);
    unlink(path);
    return 0;
}

static void test_a_file(void **state)
{
    (void)state;
    struct stat status;
    int fd = log_file_open(path);
    assert_true(fd >= 0);
    assert_int_equal(log_file_append(fd, "one\ntwo\n", 8), 8);
    int other = log_file_open(path);
    assert_int_equal(log_file_append(other, "three\n", 6), 6);
    assert_int_equal(log_file_append(fd, "four\n", 5), 5);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    read_all(reader);
    assert_string_equal(text, "one\ntwo\nthree\nfour\n");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0137, 0);
    close(fd);
    close(other);
    close(reader);
}

static void test_a_fifo_without_a_reader(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(log_file_open(path), -1);
    assert_int_equal(errno, ENXIO);
    assert_string_equal(log_file_cause(path, errno), "it is a FIFO that nobody reads");
    assert_string_equal(log_file_cause("/no/such/file", ENOENT), strerror(ENOENT));
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int fd = log_file_open(path);
    assert_true(fd >= 0);
    close(reader);
    assert_false(log_file_reopen(fd, path)); /* it stays open */
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(log_file_append(fd, "lost\n", 5), 0);
    assert_string_equal(log_file_loss_cause(errno), "nobody reads it");
    reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(log_file_append(fd, "back\n", 5), 5);
    read_all(reader);
    assert_string_equal(text, "back\n");
    close(fd);
    close(reader);
}

static void test_paths_of_descriptors(void **state)
{
    (void)state;
    assert_true(log_file_is_descriptor("/dev/stdout"));
    assert_true(log_file_is_descriptor("/dev/stderr"));
    assert_true(log_file_is_descriptor("/dev/fd/1"));
    assert_true(log_file_is_descriptor("/proc/self/fd/12"));
    assert_false(log_file_is_descriptor("/proc/self/fd/"));
    assert_false(log_file_is_descriptor("/proc/self/fd/1/x"));
    assert_false(log_file_is_descriptor("/proc/self/fd/-1"));
    assert_false(log_file_is_descriptor("/dev/null"));
    int ends[2];
    char name[32];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", ends[1]);
    int fd = log_file_open(name); /* which cannot be opened */
    assert_true(fd >= 0 && fd != ends[1]);
    assert_int_equal(log_file_append(fd, "x\n", 2), 2);
    assert_true(log_file_reopen(fd, name));
    close(fd);
    close_both(ends);
    assert_int_equal(log_file_open(name), -1);
}

/* What others do to a description that they share is no matter of ours then, and the other way
 * round. */
static void test_a_description_of_ones_own(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    int shared = dup(ends[1]);
    log_file_own(ends[1]);
    assert_true(is_nonblocking(ends[1]));
    assert_false(is_nonblocking(shared));
    assert_true((fcntl(ends[1], F_GETFD) & FD_CLOEXEC) != 0);
    close(shared);
    close_both(ends);
    assert_false(log_file_own(-1)); /* does nothing */
}

/* Of a file that is appended to, its position, too: that it is nobody else's is told. */
static void test_a_position_of_ones_own(void **state)
{
    (void)state;
    int fd = log_file_open(path);
    int shared = dup(fd);
    assert_true(log_file_own(fd));
    assert_int_equal(log_file_append(shared, "one\n", 4), 4);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    assert_int_equal(log_file_append(fd, "two\n", 4), 4);
    assert_int_equal(lseek(shared, 0, SEEK_CUR), 4);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 8);
    close(shared);
    close(fd);
}

/* Who shares a file without O_APPEND goes by its position. */
static void test_a_shared_position(void **state)
{
    (void)state;
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int shared = dup(fd);
    assert_false(log_file_own(fd));
    assert_int_equal(log_file_append(fd, "one\n", 4), 4);
    assert_int_equal(log_file_append(shared, "two\n", 4), 4);
    assert_int_equal(pread(fd, text, 9, 0), 8);
    assert_memory_equal(text, "one\ntwo\n", 8);
    close(shared);
    close(fd);
}

static void assert_never_waits(int fd)
{
    const char *lines = make_lines(20, 1000);
    assert_int_equal(log_file_append(fd, lines, 20000), 4000); /* whole ones */
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(log_file_append(fd, lines, 20000), 0);
    assert_int_equal(errno, EAGAIN);
    assert_string_equal(log_file_loss_cause(errno), "its reader is too slow, or has stopped");
}

static void test_a_full_pipe(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    assert_never_waits(ends[1]); /* though it would: a description that could not be made our own */
    assert_int_equal(read_all(ends[0]), 4000);
    log_file_own(ends[1]);
    assert_never_waits(ends[1]);
    assert_int_equal(read_all(ends[0]), 4000);
    close_both(ends);
}

static void test_a_full_socket(void **state)
{
    (void)state;
    int ends[2];
    const char *line = make_lines(1, 1000);
    size_t written = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    log_file_own(ends[1]);
    while (log_file_append(ends[1], line, 1000) == 1000) {
        written += 1000;
    }
    assert_int_equal(errno, EAGAIN);
    for (size_t seen = 0; seen < written; seen += read_all(ends[0])) {
    }
    close_both(ends);
}

/* Two terminals in one: the other end does not read, as with Ctrl-S. */
static void test_a_terminal(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        print_message("there are no pseudo terminals\n");
        skip();
    }
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0);
    int shared = dup(terminal);
    log_file_own(terminal);
    assert_false(is_nonblocking(shared));
    const char *line = make_lines(1, 1000);
    for (int i = 0; i < 1000; i++) {
        log_file_append(terminal, line, 1000);
    }
    assert_true(log_file_append(terminal, line, 1000) < 1000);
    assert_true(log_file_append(shared, line, 1000) < 1000);
    close(shared);
    close(terminal);
    close(master);
}

struct writer {
    pthread_t thread;
    int fd;
    char mark;
};

static void *write_batches(void *data)
{
    struct writer *writer = data;
    enum { LINES = 30, BYTES = 200 };
    char batch[LINES * BYTES];
    memset(batch, writer->mark, sizeof(batch));
    for (int i = 1; i <= LINES; i++) {
        batch[i * BYTES - 1] = '\n';
    }
    for (int i = 0; i < 100; i++) {
        for (size_t written = 0; written < sizeof(batch);) {
            written += log_file_append(writer->fd, batch + written, sizeof(batch) - written);
        }
    }
    close(writer->fd);
    return NULL;
}

/* Batches that are longer than a pipe takes at once are written by whole lines. */
static void test_lines_of_several_do_not_mix(void **state)
{
    (void)state;
    int ends[2];
    struct writer writers[3];
    size_t lines = 0;
    make_pipe(ends);
    assert_int_equal(fcntl(ends[0], F_SETFL, 0), 0);
    for (int i = 0; i < 3; i++) {
        writers[i] = (struct writer){.fd = dup(ends[1]), .mark = (char)('a' + i)};
        log_file_own(writers[i].fd);
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_batches, &writers[i]), 0);
    }
    close(ends[1]);
    FILE *reader = fdopen(ends[0], "r");
    while (fgets(text, sizeof(text), reader) != NULL) {
        assert_int_equal(strspn(text, (char[]){text[0], '\0'}), 199);
        assert_string_equal(text + 199, "\n");
        lines++;
    }
    assert_int_equal(lines, 3 * 30 * 100);
    fclose(reader);
    for (int i = 0; i < 3; i++) {
        pthread_join(writers[i].thread, NULL);
    }
}

static void limit_files(rlim_t bytes)
{
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, RLIM_INFINITY}), 0);
}

/* A limit stands for a disk that is full. */
static void test_a_torn_line_is_taken_back(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    const char *lines = make_lines(5, 100);
    int fd = log_file_open(path);
    limit_files(250);
    assert_int_equal(log_file_append(fd, lines, 500), 200);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(log_file_append(fd, "short\n", 6), 6); /* there is room for it */
    assert_int_equal(log_file_append(fd, lines, 100), 0);
    limit_files(RLIM_INFINITY);
    assert_int_equal(log_file_append(fd, lines, 100), 100);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read_all(reader), 306);
    assert_memory_equal(text, lines, 200);
    assert_memory_equal(text + 200, "short\n", 6);
    close(reader);
    close(fd);
}

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/log", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

#define TEST(name) cmocka_unit_test_setup(name, make)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_file),
        TEST(test_a_fifo_without_a_reader),
        TEST(test_paths_of_descriptors),
        TEST(test_a_description_of_ones_own),
        TEST(test_a_position_of_ones_own),
        TEST(test_a_shared_position),
        TEST(test_a_full_pipe),
        TEST(test_a_full_socket),
        TEST(test_a_terminal),
        TEST(test_lines_of_several_do_not_mix),
        TEST(test_a_torn_line_is_taken_back),
    };
    return cmocka_run_group_tests_name("log_file", tests, make_directory, remove_directory);
}
