#include "common/net/reader_pace.h"

#include "tests/unit/patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEND_TIMEOUT_MS = 10000, BEGIN_MS = 5000 };

static const struct config unlimited = {.send_timeout_ms = SEND_TIMEOUT_MS};
static const struct config limited = {.send_timeout_ms = SEND_TIMEOUT_MS,
                                      .min_send_bytes_per_s = 1000};
static int server_fd, client_fd;

/* A TCP connection whose client has a small buffer. */
static int connect_both(void **state)
{
    (void)state;
    const int small = 4096;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof(address);
    int listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    client_fd = socket(AF_INET, SOCK_STREAM, 0);
    if (listen_fd < 0 || client_fd < 0 || bind(listen_fd, (void *)&address, bytes) != 0 ||
        listen(listen_fd, 1) != 0 || getsockname(listen_fd, (void *)&address, &bytes) != 0 ||
        setsockopt(client_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) != 0 ||
        connect(client_fd, (void *)&address, bytes) != 0) {
        return -1;
    }
    server_fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK);
    close(listen_fd);
    return server_fd < 0;
}

static int close_both(void **state)
{
    (void)state;
    close(client_fd);
    close(server_fd);
    return 0;
}

/* Sends until the socket takes no more; returns how much it took. */
static uint64_t fill(void)
{
    static const char bytes[65536];
    uint64_t sent = 0;
    for (;;) {
        ssize_t n = send(server_fd, bytes, sizeof(bytes), 0);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            return sent;
        }
        sent += (uint64_t)n;
    }
}

/* The client reads so much; the kernel's acknowledgement takes a moment. */
static void take(size_t bytes)
{
    static char discarded[1 << 20];
    while (bytes > 0) {
        ssize_t n = recv(client_fd, discarded, bytes, 0);
        assert_true(n > 0);
        bytes -= (size_t)n;
    }
}

/* Extends until the deadline moves. */
static uint64_t await_extension(struct reader_pace *pace, const struct config *config,
                                uint64_t now_ms, uint64_t deadline_ms)
{
    uint64_t extended_ms = deadline_ms;
    for (int waited_ms = 0; extended_ms == deadline_ms && waited_ms < PATIENCE_MS; waited_ms++) {
        poll(NULL, 0, 1);
        extended_ms = reader_pace_extend(pace, server_fd, config, now_ms, 0, deadline_ms);
    }
    return extended_ms;
}

static void test_a_reader_that_stops(void **state)
{
    (void)state;
    struct reader_pace pace;
    fill();
    uint64_t deadline_ms = reader_pace_begin(&pace, server_fd, &unlimited, BEGIN_MS);
    assert_int_equal(deadline_ms, BEGIN_MS + SEND_TIMEOUT_MS);
    fill();
    reader_pace_extend(&pace, server_fd, &unlimited, BEGIN_MS, 0, deadline_ms);
    /* What the client's kernel has room for may be on its way yet. */
    uint64_t same_ms = 0;
    for (int waited_ms = 0; same_ms != 77 && waited_ms < PATIENCE_MS; waited_ms++) {
        poll(NULL, 0, 1);
        same_ms = reader_pace_extend(&pace, server_fd, &unlimited, BEGIN_MS + 5000, 0, 77);
    }
    assert_int_equal(same_ms, 77);
}

/* Long before the socket is writable again. */
static void test_progress_is_seen_at_once(void **state)
{
    (void)state;
    struct reader_pace pace;
    fill();
    uint64_t deadline_ms = reader_pace_begin(&pace, server_fd, &unlimited, BEGIN_MS);
    take(100000);
    uint64_t later_ms = await_extension(&pace, &unlimited, BEGIN_MS + 9000, deadline_ms);
    assert_int_equal(later_ms, BEGIN_MS + 9000 + SEND_TIMEOUT_MS);
    struct pollfd poll_fd = {.fd = server_fd, .events = POLLOUT};
    assert_int_equal(poll(&poll_fd, 1, 0), 0);
}

static void test_the_least_rate_counts_over_all(void **state)
{
    (void)state;
    struct reader_pace pace;
    fill();
    uint64_t deadline_ms = reader_pace_begin(&pace, server_fd, &limited, BEGIN_MS);
    assert_int_equal(deadline_ms, BEGIN_MS + SEND_TIMEOUT_MS);
    take(100000);
    uint64_t now_ms = BEGIN_MS + 1000 * SEND_TIMEOUT_MS;
    uint64_t later_ms = await_extension(&pace, &limited, now_ms, deadline_ms);
    /* Some 100 s for 100 kB, much less than what has passed. */
    assert_in_range(later_ms, BEGIN_MS + SEND_TIMEOUT_MS + 1, now_ms - 1);
    assert_int_equal(later_ms, BEGIN_MS + SEND_TIMEOUT_MS + pace.taken_bytes);
}

static void test_what_the_kernel_takes_is_not_yet_taken(void **state)
{
    (void)state;
    struct reader_pace pace;
    uint64_t deadline_ms = reader_pace_begin(&pace, server_fd, &unlimited, BEGIN_MS);
    take(send(server_fd, "x", 1, 0) == 1 ? 1 : 0);
    reader_pace_extend(&pace, server_fd, &unlimited, BEGIN_MS, 1, deadline_ms);
    uint64_t sent = fill();
    reader_pace_extend(&pace, server_fd, &unlimited, BEGIN_MS, sent, deadline_ms);
    for (int waited_ms = 0; pace.taken_bytes == 0 && waited_ms < PATIENCE_MS; waited_ms++) {
        poll(NULL, 0, 1);
        reader_pace_extend(&pace, server_fd, &unlimited, BEGIN_MS, 0, deadline_ms);
    }
    assert_int_equal(pace.given_bytes, sent + 1);
    assert_in_range(pace.taken_bytes, 1, sent / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_reader_that_stops, connect_both, close_both),
        cmocka_unit_test_setup_teardown(test_progress_is_seen_at_once, connect_both, close_both),
        cmocka_unit_test_setup_teardown(test_the_least_rate_counts_over_all, connect_both,
                                        close_both),
        cmocka_unit_test_setup_teardown(test_what_the_kernel_takes_is_not_yet_taken, connect_both,
                                        close_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
