#include "common/net/output.h"

#include "tests/unit/failing_call.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { NEAR, FAR, LARGE_BYTES = 9 << 20, ROUNDS = 100000 };

static int ends[2]; /* what the output sends into NEAR is read from FAR */
static struct output output;
static struct file_entry *file;
static struct buffer received;
static uint64_t sent;

static struct failing_call failing_send, failing_sendfile;

WRAPPED(ssize_t, send, int fd, const void *data, size_t bytes, int flags)
{
    return fails_now(&failing_send) ? -1 : __real_send(fd, data, bytes, flags);
}

WRAPPED(ssize_t, sendfile, int fd, int from, off_t *offset, size_t bytes)
{
    return fails_now(&failing_sendfile) ? -1 : __real_sendfile(fd, from, offset, bytes);
}

static int make(void **state)
{
    (void)state;
    output = (struct output){0};
    received = (struct buffer){0};
    file = NULL;
    sent = 0;
    failing_send = failing_sendfile = (struct failing_call){0};
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends);
}

static int discard(void **state)
{
    (void)state;
    output_clear(&output);
    buffer_free(&output.bytes);
    buffer_free(&received);
    close(ends[NEAR]);
    close(ends[FAR]);
    if (file != NULL) {
        assert_int_equal(file->references, 1); /* the output has given its own one back */
        close(file->fd);
        free(file);
    }
    return 0;
}

static char byte_at(size_t offset)
{
    return (char)(offset * 31 + offset / 253);
}

/* A file whose every byte tells where it lies. The test keeps one reference. */
static void make_file(size_t bytes)
{
    file = calloc(1, sizeof(*file));
    file->references = 2;
    file->fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(file->fd >= 0);
    char *content = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        content[i] = byte_at(i);
    }
    assert_int_equal(write(file->fd, content, bytes), bytes);
    free(content);
}

static void receive(void)
{
    char data[65536];
    ssize_t n;
    while ((n = recv(ends[FAR], data, sizeof(data), 0)) > 0) {
        buffer_append(&received, data, (size_t)n);
    }
    assert_true(n == 0 || errno == EAGAIN);
}

/* Flushes and receives by turns. */
static enum output_result flush_all(void)
{
    enum output_result result = OUTPUT_BLOCKED;
    for (int i = 0; i < ROUNDS && result == OUTPUT_BLOCKED; i++) {
        result = output_flush(&output, ends[NEAR], &sent);
        receive();
    }
    return result;
}

static void assert_file_part(size_t at, size_t offset, size_t bytes)
{
    assert_int_equal(received.len, at + bytes);
    for (size_t i = 0; i < bytes; i++) {
        if (received.data[at + i] != byte_at(offset + i)) {
            fail_msg("byte %zu of the file is wrong", offset + i);
        }
    }
}

static void test_nothing(void **state)
{
    (void)state;
    assert_true(output_is_empty(&output));
    assert_false(output_is_full(&output));
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_DONE);
    receive();
    assert_int_equal(received.len, 0);
}

static void test_bytes(void **state)
{
    (void)state;
    buffer_append(&output.bytes, "hello", 5);
    assert_false(output_is_empty(&output));
    sent = 1000;
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_DONE);
    assert_int_equal(sent, 1005); /* added to what was there */
    assert_true(output_is_empty(&output));
    buffer_append(&output.bytes, " again", 6);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_DONE);
    receive();
    assert_int_equal(received.len, 11);
    assert_memory_equal(received.data, "hello again", 11);
}

static void append_numbered(size_t from, size_t bytes)
{
    for (size_t i = from; i < from + bytes; i++) {
        char byte = byte_at(i);
        buffer_append(&output.bytes, &byte, 1);
    }
}

static void test_blocked_and_resumed(void **state)
{
    (void)state;
    const size_t bytes = 3 << 20;
    append_numbered(0, bytes);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
    assert_in_range(sent, 1, bytes - 1);
    uint64_t before = sent;
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
    assert_int_equal(sent, before);
    append_numbered(bytes, 1000); /* behind bytes that are partly sent */
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_int_equal(sent, bytes + 1000);
    assert_file_part(0, 0, bytes + 1000);
    assert_true(output_is_empty(&output));
}

static void test_is_full(void **state)
{
    (void)state;
    append_numbered(0, 65535);
    assert_false(output_is_full(&output));
    append_numbered(0, 1);
    assert_true(output_is_full(&output));
    output_clear(&output);
    assert_false(output_is_full(&output));
    make_file(10);
    output_set_file(&output, file, 0, 10);
    assert_true(output_is_full(&output)); /* nothing may come behind a file */
    assert_false(output_is_empty(&output));
}

static void test_file_behind_bytes(void **state)
{
    (void)state;
    make_file(1000);
    buffer_append(&output.bytes, "head", 4);
    output_set_file(&output, file, 100, 300);
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_int_equal(sent, 304);
    assert_memory_equal(received.data, "head", 4);
    assert_file_part(4, 100, 300);
    assert_true(output_is_empty(&output));
    assert_int_equal(file->references, 1);
    buffer_append(&output.bytes, "next", 4);
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_memory_equal(received.data + 304, "next", 4);
}

static void test_file_without_bytes(void **state)
{
    (void)state;
    make_file(1000);
    output_set_file(&output, file, 999, 1);
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_file_part(0, 999, 1);
}

static void test_large_file(void **state)
{
    (void)state;
    make_file(LARGE_BYTES);
    append_numbered(0, 100000);
    output_set_file(&output, file, 1, LARGE_BYTES - 1);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_int_equal(sent, 100000 + LARGE_BYTES - 1);
    assert_file_part(100000, 1, LARGE_BYTES - 1);
}

/* Whatever the socket takes, one call ends, so that other connections get their turn. */
static void test_one_call_sends_a_bounded_part(void **state)
{
    (void)state;
    int target = memfd_create("target", MFD_CLOEXEC); /* takes everything */
    make_file(LARGE_BYTES);
    output_set_file(&output, file, 0, LARGE_BYTES);
    assert_int_equal(output_flush(&output, target, &sent), OUTPUT_BLOCKED);
    assert_in_range(sent, 1 << 20, LARGE_BYTES / 2 + (1 << 20));
    while (output_flush(&output, target, &sent) == OUTPUT_BLOCKED) {
    }
    assert_int_equal(sent, LARGE_BYTES);
    close(target);
}

static void test_file_that_shrank(void **state)
{
    (void)state;
    make_file(1000);
    buffer_append(&output.bytes, "head", 4);
    output_set_file(&output, file, 0, 1000);
    assert_int_equal(ftruncate(file->fd, 400), 0);
    assert_int_equal(flush_all(), OUTPUT_FAILED);
    assert_int_equal(sent, 404);
    output_clear(&output);
    assert_true(output_is_empty(&output));
}

static void test_file_that_cannot_be_read(void **state)
{
    (void)state;
    make_file(1000);
    output_set_file(&output, file, 0, 1000);
    close(file->fd);
    file->fd = ends[FAR]; /* nothing that sendfile takes */
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_FAILED);
    file->fd = memfd_create("other", MFD_CLOEXEC);
}

/* A client that is gone is an answer, not a SIGPIPE. */
static void test_client_is_gone(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_DFL);
    close(ends[FAR]);
    ends[FAR] = -1;
    buffer_append(&output.bytes, "hello", 5);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_FAILED);
    assert_int_equal(sent, 0);
}

static void test_interrupted(void **state)
{
    (void)state;
    make_file(1000);
    buffer_append(&output.bytes, "head", 4);
    output_set_file(&output, file, 0, 1000);
    failing_send = fail_next(2, EINTR);
    failing_sendfile = fail_next(2, EINTR);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_DONE); /* in one call */
    assert_int_equal(failing_send.failures, 0);
    assert_int_equal(failing_sendfile.failures, 0);
    receive();
    assert_int_equal(sent, 1004);
    assert_memory_equal(received.data, "head", 4);
    assert_file_part(4, 0, 1000);
}

/* The socket is full between the head and its file, or the connection breaks there. */
static void test_file_blocked_and_failed(void **state)
{
    (void)state;
    make_file(1000);
    buffer_append(&output.bytes, "head", 4);
    output_set_file(&output, file, 0, 1000);
    failing_sendfile = fail_next(1, EAGAIN);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
    assert_int_equal(sent, 4);
    failing_sendfile = fail_next(1, ECONNRESET);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_FAILED);
    assert_int_equal(flush_all(), OUTPUT_DONE); /* nothing was lost or sent twice */
    assert_int_equal(sent, 1004);
    assert_file_part(4, 0, 1000);
}

static void test_clear(void **state)
{
    (void)state;
    make_file(1000);
    append_numbered(0, 3 << 20);
    output_set_file(&output, file, 0, 1000);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
    const char *memory = output.bytes.data;
    output_clear(&output);
    assert_true(output_is_empty(&output));
    assert_int_equal(file->references, 1);
    assert_ptr_equal(output.bytes.data, memory);
    receive();
    buffer_clear(&received);
    buffer_append(&output.bytes, "new", 3); /* from its first byte */
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_int_equal(received.len, 3);
    assert_memory_equal(received.data, "new", 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing),
        TEST(test_bytes),
        TEST(test_blocked_and_resumed),
        TEST(test_is_full),
        TEST(test_file_behind_bytes),
        TEST(test_file_without_bytes),
        TEST(test_large_file),
        TEST(test_one_call_sends_a_bounded_part),
        TEST(test_file_that_shrank),
        TEST(test_file_that_cannot_be_read),
        TEST(test_client_is_gone),
        TEST(test_interrupted),
        TEST(test_file_blocked_and_failed),
        TEST(test_clear),
    };
    return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
