#include "common/net/listener.h"

#include "tests/unit/failing_call.h"
#include "tests/unit/open_descriptors.h"
#include "tests/unit/patience.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct listener listener;
static char error[LISTENER_ERROR_BYTES];

static struct failing_call failing_socket, failing_setsockopt, failing_bind, failing_listen,
    failing_getsockname;

WRAPPED(int, socket, int domain, int type, int protocol)
{
    return fails_now(&failing_socket) ? -1 : __real_socket(domain, type, protocol);
}

WRAPPED(int, setsockopt, int fd, int level, int option, const void *value, socklen_t bytes)
{
    return fails_now(&failing_setsockopt) ? -1 : __real_setsockopt(fd, level, option, value, bytes);
}

WRAPPED(int, bind, int fd, const struct sockaddr *address, socklen_t bytes)
{
    return fails_now(&failing_bind) ? -1 : __real_bind(fd, address, bytes);
}

WRAPPED(int, listen, int fd, int backlog)
{
    return fails_now(&failing_listen) ? -1 : __real_listen(fd, backlog);
}

WRAPPED(int, getsockname, int fd, struct sockaddr *address, socklen_t *bytes)
{
    return fails_now(&failing_getsockname) ? -1 : __real_getsockname(fd, address, bytes);
}

static int forget(void **state)
{
    (void)state;
    failing_socket = failing_setsockopt = failing_bind = failing_listen = failing_getsockname =
        (struct failing_call){0};
    listener = (struct listener){0};
    memset(error, 0, sizeof(error));
    return 0;
}

static int discard(void **state)
{
    (void)state;
    listener_close(&listener);
    return 0;
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    }
}

/* One line that names the address, and a fix behind a semicolon. */
static void assert_refused(const char *address, bool reuseport, size_t count, const char *cause)
{
    struct listener refused;
    memset(error, 'x', sizeof(error));
    assert_false(listener_open(&refused, address, reuseport, count, error));
    assert_non_null(memchr(error, '\0', sizeof(error)));
    assert_null(strchr(error, '\n'));
    assert_contains(error, "cannot listen on ");
    assert_contains(error, address);
    assert_contains(error, cause);
    assert_contains(error, "; ");
    assert_null(refused.fds);
    assert_int_equal(refused.count, 0);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t bytes = sizeof(value);
    assert_int_equal(getsockopt(fd, level, option, &value, &bytes), 0);
    return value;
}

/* A connection to the address as announced. */
static int connect_to(const char *address)
{
    struct sockaddr_storage to;
    socklen_t bytes;
    assert_true(listener_resolve(address, &to, &bytes, error));
    int fd = socket(to.ss_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, bytes), 0);
    return fd;
}

static void assert_takes_connections(void)
{
    int client = connect_to(listener.address);
    struct pollfd waiting[8];
    assert_in_range(listener.count, 1, 8);
    for (size_t i = 0; i < listener.count; i++) {
        waiting[i] = (struct pollfd){.fd = listener.fds[i], .events = POLLIN};
    }
    assert_int_equal(poll(waiting, listener.count, PATIENCE_MS), 1); /* one socket has it */
    for (size_t i = 0; i < listener.count; i++) {
        int fd = accept(listener.fds[i], NULL, NULL);
        assert_int_equal(fd >= 0, waiting[i].revents != 0);
        if (fd >= 0) {
            assert_true(option_of(fd, IPPROTO_TCP, TCP_NODELAY) > 0);
            close(fd);
        } else {
            assert_int_equal(errno, EAGAIN); /* does not block */
        }
    }
    close(client);
}

static void test_port_0(void **state)
{
    (void)state;
    assert_true(listener_open(&listener, "127.0.0.1:0", false, 1, error));
    assert_int_equal(listener.count, 1);
    assert_int_equal(strncmp(listener.address, "127.0.0.1:", 10), 0);
    assert_in_range(atoi(listener.address + 10), 1, 65535);
    int fd = listener_fd(&listener, 0);
    assert_int_equal(fd, listener.fds[0]);
    assert_int_equal(listener_fd(&listener, 7), fd); /* one for all */
    assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_not_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    assert_takes_connections();
}

static void test_all_addresses(void **state)
{
    (void)state;
    assert_true(listener_open(&listener, "*:0", false, 1, error));
    assert_int_equal(strncmp(listener.address, "0.0.0.0:", 8), 0);
    assert_takes_connections();
}

static void test_name(void **state)
{
    (void)state;
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &found) != 0) {
        skip(); /* a minimal system has neither /etc/hosts nor another source of names */
    }
    freeaddrinfo(found);
    assert_true(listener_open(&listener, "localhost:0", false, 1, error));
    assert_takes_connections();
}

static void test_ipv6(void **state)
{
    (void)state;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool available = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    if (!available) {
        skip();
    }
    assert_true(listener_open(&listener, "[::1]:0", false, 1, error));
    assert_int_equal(strncmp(listener.address, "[::1]:", 6), 0);
    assert_in_range(atoi(listener.address + 6), 1, 65535);
    assert_takes_connections();
}

static void test_several_with_reuseport(void **state)
{
    (void)state;
    assert_true(listener_open(&listener, "127.0.0.1:0", true, 4, error));
    assert_int_equal(listener.count, 4);
    for (size_t i = 0; i < 4; i++) {
        struct sockaddr_in bound;
        socklen_t bytes = sizeof(bound);
        assert_int_equal(getsockname(listener.fds[i], (struct sockaddr *)&bound, &bytes), 0);
        assert_int_equal(ntohs(bound.sin_port), atoi(listener.address + 10)); /* the same */
        assert_int_equal(listener_fd(&listener, i), listener.fds[i]);
        assert_int_equal(listener_fd(&listener, i + 4), listener.fds[i]);
        assert_int_equal(option_of(listener.fds[i], SOL_SOCKET, SO_REUSEPORT), 1);
    }
    assert_takes_connections();
}

static void test_loopback(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool loopback;
    } cases[] = {{"127.0.0.1:0", true}, {"127.255.1.2:0", true},
                 {"[::1]:0", true},     {"[::ffff:127.0.0.1]:0", true},
                 {"0.0.0.0:0", false},  {"[::]:0", false},
                 {"*:0", false}};
    assert_false(listener_is_loopback(&listener)); /* without a socket nobody knows */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (listener_open(&listener, cases[i].address, true, 2, error)) { /* there is IPv6 */
            assert_int_equal(listener_is_loopback(&listener), cases[i].loopback);
            listener_close(&listener);
        } else {
            assert_non_null(strchr(cases[i].address, '['));
        }
    }
    assert_true(listener_open(&listener, "127.0.0.1:0", false, 1, error));
    failing_getsockname = fail_next(1, ENOBUFS);
    assert_false(listener_is_loopback(&listener));
}

static void test_listens_again(void **state)
{
    (void)state;
    assert_true(listener_open(&listener, "127.0.0.1:0", false, 1, error));
    assert_true(listener_listen(&listener)); /* nothing is to be done */
    assert_takes_connections();
    assert_int_equal(shutdown(listener.fds[0], SHUT_RD), 0); /* lets the port go, too */
    assert_true(listener_listen(&listener));
    assert_takes_connections();
    char address[sizeof(listener.address)];
    memcpy(address, listener.address, sizeof(address));
    listener_close(&listener);
    assert_true(listener_open(&listener, address, false, 1, error));
    assert_int_equal(shutdown(listener.fds[0], SHUT_RD), 0);
    assert_true(listener_listen(&listener));
    assert_takes_connections();
}

static void test_port_in_use(void **state)
{
    (void)state;
    char address[LISTENER_ADDRESS_BYTES];
    for (int reuseport = 0; reuseport <= 1; reuseport++) {
        size_t count = reuseport ? 3 : 1;
        assert_true(listener_open(&listener, "127.0.0.1:0", reuseport, count, error));
        snprintf(address, sizeof(address), "%s", listener.address);
        /* With SO_REUSEPORT a second server could join unseen. */
        assert_refused(address, false, 1, "Address already in use");
        assert_refused(address, true, 1, "Address already in use");
        assert_refused(address, true, 2, "another port with --listen");
        assert_takes_connections();
        listener_close(&listener);
        assert_int_equal(listener.count, 0);
        /* At once again, although connections of before may linger. */
        assert_true(listener_open(&listener, address, reuseport, count, error));
        assert_string_equal(listener.address, address);
        listener_close(&listener);
    }
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      ":",     "8080",           ":8080",        "127.0.0.1",   "host",
        "[::1]", "[]:80", "127.0.0.1:http", "127.0.0.1:8x", "127.0.0.1:-1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refused(bad[i], false, 1, "; give ");
    }
    char longest[600];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + sizeof(longest) - 6, ":8080", 6);
    assert_false(listener_open(&listener, longest, false, 1, error));
    assert_non_null(memchr(error, '\0', sizeof(error)));
}

/* TEST-NET-1 (RFC 5737) is nobody's. */
static void test_address_of_another_machine(void **state)
{
    (void)state;
    assert_refused("192.0.2.1:0", false, 1, "Cannot assign requested address");
    assert_refused("192.0.2.1:0", true, 2, "address of this machine");
}

/* Whichever step fails, for the only socket or one of several, its cause is told and nothing stays
 * open. */
static void test_every_step_can_fail(void **state)
{
    (void)state;
    struct failing_call *const calls[] = {&failing_socket, &failing_setsockopt, &failing_bind,
                                          &failing_listen, &failing_getsockname};
    size_t before = open_descriptors();
    for (size_t i = 0; i < 2 * sizeof(calls) / sizeof(calls[0]); i++) {
        struct failing_call *call = calls[i / 2];
        bool reuseport = i % 2 == 1;
        int step = 0;
        for (;; step++) {
            *call = fail_after(step, 1, ENOBUFS);
            if (listener_open(&listener, "127.0.0.1:0", reuseport, reuseport ? 3 : 1, error)) {
                break;
            }
            assert_int_equal(call->failures, 0);
            assert_contains(error, "cannot listen on 127.0.0.1:0: No buffer space available; ");
            assert_null(listener.fds);
            assert_int_equal(open_descriptors(), before);
        }
        assert_int_equal(call->failures, 1); /* there is no such step any more */
        assert_in_range(step, call == &failing_getsockname || !reuseport ? 1 : 3, 100);
        *call = (struct failing_call){0};
        assert_takes_connections();
        listener_close(&listener);
    }
}

static void test_forbidden_port(void **state)
{
    (void)state;
    failing_bind = fail_next(1, EACCES);
    assert_refused("127.0.0.1:80", false, 1, "Permission denied");
    failing_bind = fail_next(1, EACCES);
    assert_refused("127.0.0.1:80", true, 2, "need root or CAP_NET_BIND_SERVICE");
}

/* ---- sockets from a service manager ---- */

enum { PASSED_MAX = 3 };

static int listening_socket(int domain, int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(domain, type, 0);
    assert_true(fd >= 0);
    if (domain == AF_INET) {
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    }
    if (domain == AF_INET && type == SOCK_STREAM) {
        assert_int_equal(listen(fd, 1), 0);
    }
    return fd;
}

/* Moves the sockets to descriptors in a row, far from all others; returns the first. */
static int pass(const int *fds, size_t count)
{
    const int first = 100;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(dup2(fds[i], first + (int)i), first + (int)i);
        close(fds[i]);
    }
    return first;
}

static void test_adopts_sockets(void **state)
{
    (void)state;
    for (size_t count = 1; count <= PASSED_MAX; count++) {
        int fds[PASSED_MAX];
        struct sockaddr_in bound;
        socklen_t bytes = sizeof(bound);
        for (size_t i = 0; i < count; i++) {
            fds[i] = listening_socket(AF_INET, SOCK_STREAM);
        }
        assert_int_equal(getsockname(fds[0], (struct sockaddr *)&bound, &bytes), 0);
        assert_true(listener_adopt(&listener, pass(fds, count), count, error));
        assert_int_equal(listener.count, count);
        assert_true(listener.is_passed);
        assert_int_equal(atoi(listener.address + 10), ntohs(bound.sin_port));
        for (size_t i = 0; i < count; i++) {
            int fd = listener_fd(&listener, i);
            assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
            assert_int_not_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
            assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 524288);
        }
        assert_takes_connections();
        listener_close(&listener);
    }
}

/* The last of several; the good ones are closed as well. */
static void assert_not_adopted(int bad, const char *cause)
{
    size_t before = open_descriptors() - 1;
    int fds[] = {listening_socket(AF_INET, SOCK_STREAM), listening_socket(AF_INET, SOCK_STREAM),
                 bad};
    assert_false(listener_adopt(&listener, pass(fds, 3), 3, error));
    assert_contains(error, "cannot take over descriptor 102 from the service manager: ");
    assert_contains(error, cause);
    assert_contains(error, "; pass it a TCP address");
    assert_null(listener.fds);
    assert_int_equal(open_descriptors(), before);
}

static void test_adopts_nothing_but_listening_tcp_sockets(void **state)
{
    (void)state;
    int idle = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(idle >= 0);
    assert_not_adopted(listening_socket(AF_INET, SOCK_DGRAM), "it is no stream socket");
    assert_not_adopted(open("/dev/null", O_RDONLY), "it is no stream socket");
    assert_not_adopted(listening_socket(AF_UNIX, SOCK_STREAM), "it is no TCP socket");
    assert_not_adopted(idle, "it does not listen");
}

static void test_adopting_can_fail(void **state)
{
    (void)state;
    int fd = listening_socket(AF_INET, SOCK_STREAM);
    failing_setsockopt = fail_next(1, ENOBUFS);
    assert_false(listener_adopt(&listener, pass(&fd, 1), 1, error));
    assert_contains(error, "descriptor 100 from the service manager: No buffer space available; ");
    fd = listening_socket(AF_INET, SOCK_STREAM);
    failing_getsockname = fail_next(1, ENOBUFS);
    assert_false(listener_adopt(&listener, pass(&fd, 1), 1, error));
    assert_contains(error, "address of descriptor 100: No buffer space available; ");
    assert_null(listener.fds);
}

static void test_resolve(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    socklen_t bytes;
    assert_true(listener_resolve("10.1.2.3:8080", &address, &bytes, error));
    const struct sockaddr_in *v4 = (const void *)&address;
    assert_int_equal(bytes, sizeof(*v4));
    assert_int_equal(v4->sin_family, AF_INET);
    assert_int_equal(ntohs(v4->sin_port), 8080);
    assert_int_equal(ntohl(v4->sin_addr.s_addr), 0x0a010203);
    assert_true(listener_resolve("[2001:db8::1]:65535", &address, &bytes, error));
    const struct sockaddr_in6 *v6 = (const void *)&address;
    assert_int_equal(v6->sin6_family, AF_INET6);
    assert_int_equal(ntohs(v6->sin6_port), 65535);
    assert_int_equal(v6->sin6_addr.s6_addr[15], 1);
    assert_true(listener_resolve("*:80", &address, &bytes, error));
    assert_int_equal(v4->sin_family, AF_INET);
    assert_int_equal(v4->sin_addr.s_addr, INADDR_ANY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, forget, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_port_0),
        TEST(test_all_addresses),
        TEST(test_name),
        TEST(test_ipv6),
        TEST(test_several_with_reuseport),
        TEST(test_loopback),
        TEST(test_listens_again),
        TEST(test_port_in_use),
        TEST(test_bad_addresses),
        TEST(test_address_of_another_machine),
        TEST(test_every_step_can_fail),
        TEST(test_forbidden_port),
        TEST(test_adopts_sockets),
        TEST(test_adopts_nothing_but_listening_tcp_sockets),
        TEST(test_adopting_can_fail),
        TEST(test_resolve),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
