#include "common/net/output.h"

#include "tests/unit/failing_call.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/failing_check.h"

enum { NEAR, FAR, LARGE_BYTES = 9 << 20, ROUNDS = 100000 };

static int ends[2]; /* what the output sends into NEAR is read from FAR */
static struct output output;
static struct file_entry *file;
static struct buffer received;
static uint64_t sent;

static struct failing_call failing_send, failing_sendmsg, failing_sendfile;
static size_t room; /* bytes that the socket still takes before it is full */
static int calls;   /* that have sent something */
static int last_flags;
static bool to_file; /* what send gets goes to a file, too */

/* How much of so many bytes is taken; 0: none, errno is set. */
static size_t take_room(size_t bytes)
{
    size_t taken = bytes < room ? bytes : room;
    room -= taken;
    calls++;
    errno = EAGAIN;
    return taken;
}

WRAPPED(ssize_t, send, int fd, const void *data, size_t bytes, int flags)
{
    last_flags = flags;
    if (fails_now(&failing_send)) {
        return -1;
    }
    bytes = take_room(bytes);
    if (bytes == 0) {
        return -1;
    }
    return to_file ? write(fd, data, bytes) : __real_send(fd, data, bytes, flags);
}

WRAPPED(ssize_t, sendmsg, int fd, const struct msghdr *message, int flags)
{
    last_flags = flags;
    if (fails_now(&failing_sendmsg)) {
        return -1;
    }
    struct iovec both[2] = {message->msg_iov[0], message->msg_iov[1]};
    size_t taken = take_room(both[0].iov_len + both[1].iov_len);
    if (both[0].iov_len > taken) {
        both[0].iov_len = taken;
    }
    both[1].iov_len = taken - both[0].iov_len;
    const struct msghdr cut = {.msg_iov = both, .msg_iovlen = 2};
    return taken == 0 ? -1 : __real_sendmsg(fd, &cut, flags);
}

WRAPPED(ssize_t, sendfile, int fd, int from, off_t *offset, size_t bytes)
{
    if (fails_now(&failing_sendfile)) {
        return -1;
    }
    bytes = take_room(bytes);
    return bytes == 0 ? -1 : __real_sendfile(fd, from, offset, bytes);
}

static int make(void **state)
{
    (void)state;
    output = (struct output){0};
    received = (struct buffer){0};
    file = NULL;
    sent = 0;
    failing_send = failing_sendmsg = failing_sendfile = (struct failing_call){0};
    room = SIZE_MAX;
    calls = 0;
    to_file = false;
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
        free(file->content);
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
    file->size_bytes = bytes;
    file->fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(file->fd >= 0);
    char *content = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        content[i] = byte_at(i);
    }
    assert_int_equal(write(file->fd, content, bytes), bytes);
    free(content);
}

/* The same, with its content in memory. */
static void make_cached_file(size_t bytes)
{
    make_file(bytes);
    file->content = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        file->content[i] = byte_at(i);
    }
    close(file->fd);
    file->fd = -1; /* nothing is to be read */
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
    append_numbered(0, 8191);
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
    assert_int_equal(flush_all(), OUTPUT_CUT_SHORT);
    assert_int_equal(output.error, 0);
    assert_int_equal(sent, 404);
    assert_int_equal(output.body_bytes, 1000); /* what was announced is still known */
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
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_CUT_SHORT);
    assert_int_equal(output.error, ESPIPE);
    static const int faults[] = {EIO, EINVAL, ESTALE, EOVERFLOW};
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        failing_sendfile = fail_next(1, faults[i]);
        assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_CUT_SHORT);
        assert_int_equal(output.error, faults[i]);
    }
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

/* ---- Bodies that are not copied ---- */

static void test_file_in_memory(void **state)
{
    (void)state;
    make_cached_file(20000);
    buffer_append(&output.bytes, "head", 4);
    output_set_file(&output, file, 1000, 15000);
    assert_true(output_is_full(&output));
    assert_true(output_is_in_memory(&output));
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_DONE);
    assert_int_equal(calls, 1); /* head and body together */
    assert_int_equal(sent, 15004);
    receive();
    assert_memory_equal(received.data, "head", 4);
    assert_file_part(4, 1000, 15000);
    assert_true(output_is_empty(&output));
    assert_int_equal(file->references, 1);
}

static void send_beyond_the_end(void)
{
    output_set_file(&output, file, 1, 10);
}

static void send_two_bodies(void)
{
    output_set_file(&output, file, 0, 10);
    output_set_file(&output, file, 0, 10);
}

static void test_what_callers_must_not_do(void **state)
{
    (void)state;
    make_file(10);
    assert_check_fails(send_beyond_the_end, "is_within(file, offset, bytes)");
    assert_check_fails(send_two_bodies, "output->left == 0 && output->parts == NULL && bytes > 0");
    file_entry_release(file); /* the output has not taken its one */
}

static void test_text(void **state)
{
    (void)state;
    struct buffer text = {0};
    for (size_t i = 0; i < 40000; i++) {
        char byte = byte_at(i);
        buffer_append(&text, &byte, 1);
    }
    buffer_append(&output.bytes, "head", 4);
    output_set_text(&output, &text);
    assert_null(text.data); /* moved */
    assert_int_equal(text.len + text.capacity, 0);
    assert_in_range(malloc_usable_size(output.text), 40000, 41000); /* without the room behind it */
    assert_true(output_is_full(&output));
    assert_true(output_is_in_memory(&output));
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_DONE);
    assert_int_equal(sent, 40004);
    assert_null(output.text);
    receive();
    assert_file_part(4, 0, 40000);
}

static void test_text_of_the_right_size(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_append(&text, "short", 5);
    const char *memory = text.data;
    output_set_text(&output, &text);
    assert_ptr_equal(output.text, memory);
    output_clear(&output); /* nothing is left of it */
    assert_true(output_is_empty(&output));
    assert_null(output.text);
}

static void set_parts(const struct byte_range *ranges, size_t count)
{
    output_set_parts(&output, file, multipart_create(ranges, count, 1 << 20, "text/plain"));
}

/* One after the other as whoever reads them finds them: lines, bytes, lines... */
static void assert_parts(size_t at, const struct byte_range *ranges, size_t count)
{
    const char *boundary = received.data + at;
    const size_t boundary_bytes = strcspn(boundary + 2, "\r") + 2u;
    for (size_t i = 0; i < count; i++) {
        char lines[256];
        int bytes =
            snprintf(lines, sizeof(lines),
                     "%.*s\r\nContent-Type: text/plain\r\n"
                     "Content-Range: bytes %d-%d/1048576\r\n\r\n",
                     (int)boundary_bytes, boundary, (int)ranges[i].first, (int)ranges[i].last);
        assert_in_range(at + (size_t)bytes, 0, received.len);
        assert_memory_equal(received.data + at, lines, (size_t)bytes);
        at += (size_t)bytes;
        for (uint64_t offset = ranges[i].first; offset <= ranges[i].last; offset++, at++) {
            if (received.data[at] != byte_at((size_t)offset)) {
                fail_msg("byte %d of part %zu is wrong", (int)offset, i);
            }
        }
    }
    assert_int_equal(received.len, at + boundary_bytes + 4u);
    assert_memory_equal(received.data + at, boundary, boundary_bytes);
    assert_memory_equal(received.data + at + boundary_bytes, "--\r\n", 4);
}

static const struct byte_range some_ranges[] = {{0, 0}, {100, 4195}, {200, 4296}, {999, 9999}};
enum { SOME_RANGES = 4 };

static void test_parts_of_a_file(void **state)
{
    (void)state;
    make_file(10000);
    buffer_append(&output.bytes, "head", 4);
    set_parts(some_ranges, SOME_RANGES);
    assert_true(output_is_full(&output));
    assert_false(output_is_in_memory(&output));
    assert_false(output_is_empty(&output));
    const uint64_t announced = output.body_bytes;
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_int_equal(sent, announced + 4);
    assert_parts(4, some_ranges, SOME_RANGES);
    assert_true(output_is_empty(&output));
    assert_false(output_is_full(&output));
}

/* Short ones are collected, long ones go out from where they are. */
static void test_parts_in_memory(void **state)
{
    (void)state;
    make_cached_file(10000);
    buffer_append(&output.bytes, "head", 4);
    set_parts(some_ranges, SOME_RANGES);
    assert_false(output_is_in_memory(&output));
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_int_equal(calls, 3);
    assert_parts(4, some_ranges, SOME_RANGES);
}

/* However many there are, little of them lies in the buffer at any time. */
static void test_many_parts(void **state)
{
    (void)state;
    enum { PARTS = 1000 };
    static struct byte_range ranges[PARTS];
    for (size_t i = 0; i < PARTS; i++) {
        ranges[i] = (struct byte_range){i * 7, i * 7 + i};
    }
    for (int cached = 0; cached < 2; cached++) {
        if (cached) {
            make_cached_file(10000);
        } else {
            make_file(10000);
        }
        buffer_append(&output.bytes, "head", 4);
        set_parts(ranges, PARTS);
        while (output_flush(&output, ends[NEAR], &sent) == OUTPUT_BLOCKED) {
            receive();
            assert_in_range(output.bytes.capacity, 0, 16384);
        }
        receive();
        assert_parts(4, ranges, PARTS);
        if (!cached) {
            close(file->fd);
            free(file);
            buffer_clear(&received);
        }
    }
}

/* One call sends as much of several parts as of a whole file. */
static void test_parts_in_turns(void **state)
{
    (void)state;
    static const struct byte_range ranges[] = {{0, 2999999}, {0, 2999999}, {0, 2999999}};
    int target = memfd_create("target", MFD_CLOEXEC); /* takes everything */
    int turns = 1;
    to_file = true;
    make_file(3000000);
    set_parts(ranges, 3);
    const uint64_t announced = output.body_bytes;
    for (uint64_t before = 0; output_flush(&output, target, &sent) == OUTPUT_BLOCKED; turns++) {
        assert_in_range(sent - before, 4 << 20, 5 << 20);
        before = sent;
    }
    assert_int_equal(sent, announced);
    assert_int_equal(turns, 2);
    close(target);
}

static void test_parts_of_a_file_that_shrank(void **state)
{
    (void)state;
    make_file(10000);
    set_parts(some_ranges, SOME_RANGES);
    const uint64_t announced = output.body_bytes;
    assert_int_equal(ftruncate(file->fd, 4000), 0);
    assert_int_equal(flush_all(), OUTPUT_CUT_SHORT);
    assert_int_equal(output.error, 0);
    assert_int_equal(output.body_bytes, announced);
    assert_in_range(sent, 3901, 4500);
    output_clear(&output);
    assert_true(output_is_empty(&output));
}

/* MSG_MORE stands for exactly what follows: else the last piece would wait in the kernel. */
static void test_more_follows(void **state)
{
    (void)state;
    static const struct byte_range ranges[] = {{0, 4999}};
    buffer_append(&output.bytes, "head", 4);
    assert_int_equal(flush_all(), OUTPUT_DONE);
    assert_int_equal(last_flags & MSG_MORE, 0);
    make_cached_file(10000);
    set_parts(ranges, 1);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_DONE);
    assert_int_equal(last_flags & MSG_MORE, 0);
    file->references++;
    set_parts(ranges, 1);
    failing_send = fail_next(1, EAGAIN);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
    assert_int_equal(last_flags & MSG_MORE, 0); /* the end alone is left */
    assert_int_equal(flush_all(), OUTPUT_DONE);
    file->references++;
    set_parts(ranges, 1);
    failing_sendmsg = fail_next(1, EAGAIN);
    assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
    assert_int_equal(last_flags & MSG_MORE, MSG_MORE);
}

/* ---- Every way to be interrupted ---- */

enum kind { BYTES, FROM_FILE, FROM_MEMORY, FROM_TEXT, PARTS_FROM_FILE, PARTS_FROM_MEMORY, KINDS };

/* Puts a head and a body of the kind into the output. */
static void put(enum kind kind)
{
    static const struct byte_range ranges[] = {{3, 7}, {0, 4996}, {11, 12}};
    struct buffer text = {0};
    buffer_append(&output.bytes, "head", 4);
    if (kind == BYTES) {
        append_numbered(0, 100);
        return;
    }
    if (kind == FROM_TEXT) {
        for (size_t i = 0; i < 100; i++) {
            char byte = byte_at(i);
            buffer_append(&text, &byte, 1);
        }
        output_set_text(&output, &text);
        return;
    }
    if (kind == FROM_FILE || kind == PARTS_FROM_FILE) {
        make_file(5000);
    } else {
        make_cached_file(5000);
    }
    if (kind == FROM_FILE || kind == FROM_MEMORY) {
        output_set_file(&output, file, 10, 100);
    } else {
        set_parts(ranges, 3);
    }
}

static void forget_file(void)
{
    output_clear(&output);
    if (file != NULL) {
        assert_int_equal(file->references, 1);
        if (file->fd >= 0) {
            close(file->fd);
        }
        free(file->content);
        free(file);
        file = NULL;
    }
}

/* What the output sends when nothing happens. Each answer has a boundary of its own. */
static struct buffer without_boundary(void)
{
    struct buffer text = {0};
    buffer_append(&text, received.data, received.len);
    char *at = text.data;
    while ((at = memmem(at, text.len - (size_t)(at - text.data), "twinhttpd-", 10)) != NULL) {
        memset(at, '-', 26);
    }
    return text;
}

static struct buffer expected_of(enum kind kind)
{
    buffer_clear(&received);
    put(kind);
    assert_int_equal(flush_all(), OUTPUT_DONE);
    forget_file();
    return without_boundary();
}

static void assert_received(const struct buffer *expected)
{
    struct buffer text = without_boundary();
    assert_int_equal(text.len, expected->len);
    assert_memory_equal(text.data, expected->data, text.len);
    buffer_free(&text);
}

/* The socket is full after any number of bytes, and takes the rest later, wherever that is. What
 * has been sent of the bytes may be dropped meanwhile. */
static void test_blocked_anywhere(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct buffer expected = expected_of(kind);
        for (size_t at = 0; at < expected.len; at++) {
            buffer_clear(&received);
            put(kind);
            sent = 0;
            room = at;
            assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
            assert_int_equal(sent, at);
            assert_false(output_is_empty(&output));
            if (at % 2 == 0) {
                output_drop_sent(&output);
                assert_int_equal(output.sent, 0);
            }
            receive();
            room = SIZE_MAX;
            assert_int_equal(flush_all(), OUTPUT_DONE);
            assert_int_equal(sent, expected.len);
            assert_received(&expected);
            forget_file();
        }
        buffer_free(&expected);
    }
}

/* It takes one byte at a time. */
static void test_byte_by_byte(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct buffer expected = expected_of(kind);
        buffer_clear(&received);
        put(kind);
        enum output_result result = OUTPUT_BLOCKED;
        size_t rounds = 0;
        for (; result == OUTPUT_BLOCKED; rounds++) {
            room = 1;
            result = output_flush(&output, ends[NEAR], &sent);
            receive();
        }
        assert_int_equal(rounds, expected.len);
        assert_received(&expected);
        forget_file();
        room = SIZE_MAX;
        buffer_free(&expected);
    }
}

/* Every call fails once, in each way; what was not sent is still there. */
static void test_every_call_fails(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum output_result result;
    } failures[] = {{EINTR, OUTPUT_DONE},
                    {EAGAIN, OUTPUT_BLOCKED},
                    {EWOULDBLOCK, OUTPUT_BLOCKED},
                    {ECONNRESET, OUTPUT_FAILED},
                    {EPIPE, OUTPUT_FAILED}};
    struct failing_call *const wrapped[] = {&failing_send, &failing_sendmsg, &failing_sendfile};
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct buffer expected = expected_of(kind);
        for (size_t f = 0; f < sizeof(failures) / sizeof(failures[0]); f++) {
            for (size_t w = 0; w < 3; w++) {
                for (int passing = 0;; passing++) {
                    buffer_clear(&received);
                    put(kind);
                    *wrapped[w] = fail_after(passing, 1, failures[f].error);
                    enum output_result result = output_flush(&output, ends[NEAR], &sent);
                    bool failed = wrapped[w]->failures == 0;
                    *wrapped[w] = (struct failing_call){0};
                    assert_int_equal(result, failed ? failures[f].result : OUTPUT_DONE);
                    assert_true(result == OUTPUT_DONE || flush_all() == OUTPUT_DONE);
                    receive();
                    assert_received(&expected);
                    forget_file();
                    if (!failed) {
                        break;
                    }
                }
            }
        }
        buffer_free(&expected);
    }
}

/* It ends anywhere: nothing leaks (the sanitizers see to that), the file is given back. */
static void test_cleared_anywhere(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct buffer expected = expected_of(kind);
        for (size_t at = 0; at < expected.len; at += 3) {
            put(kind);
            room = at;
            assert_int_equal(output_flush(&output, ends[NEAR], &sent), OUTPUT_BLOCKED);
            receive();
            room = SIZE_MAX;
            forget_file();
            assert_true(output_is_empty(&output));
            assert_false(output_is_full(&output));
        }
        buffer_free(&expected);
    }
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
        TEST(test_file_in_memory),
        TEST(test_what_callers_must_not_do),
        TEST(test_text),
        TEST(test_text_of_the_right_size),
        TEST(test_parts_of_a_file),
        TEST(test_parts_in_memory),
        TEST(test_many_parts),
        TEST(test_parts_in_turns),
        TEST(test_parts_of_a_file_that_shrank),
        TEST(test_more_follows),
        TEST(test_blocked_anywhere),
        TEST(test_byte_by_byte),
        TEST(test_every_call_fails),
        TEST(test_cleared_anywhere),
    };
    return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
