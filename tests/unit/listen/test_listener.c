#include "server/listen/listener.h"

#include "common/scoreboard/scoreboard.h"

#include "tests/unit/failing_call.h"
#include "tests/unit/listen_at.h"
#include "tests/unit/open_descriptors.h"
#include "tests/unit/patience.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
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
static struct listeners several;
static struct error error;

static struct failing_call failing_socket, failing_setsockopt, failing_bind, failing_listen,
    failing_getsockname;

/* Calls until a neighbour shuts the socket down; 0: never. */
static int calls_to_shutdown;

static void let_neighbour_act(int fd)
{
    if (calls_to_shutdown > 0 && --calls_to_shutdown == 0) {
        assert_int_equal(shutdown(fd, SHUT_RD), 0);
    }
}

WRAPPED(int, socket, int domain, int type, int protocol)
{
    return fails_now(&failing_socket) ? -1 : __real_socket(domain, type, protocol);
}

WRAPPED(int, setsockopt, int fd, int level, int option, const void *value, socklen_t bytes)
{
    let_neighbour_act(fd);
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
    let_neighbour_act(fd);
    return fails_now(&failing_getsockname) ? -1 : __real_getsockname(fd, address, bytes);
}

static int forget(void **state)
{
    (void)state;
    failing_socket = failing_setsockopt = failing_bind = failing_listen = failing_getsockname =
        (struct failing_call){0};
    listener = (struct listener){0};
    several = (struct listeners){0};
    error = (struct error){0};
    calls_to_shutdown = 0;
    return 0;
}

static int discard(void **state)
{
    (void)state;
    listener_close(&listener);
    listeners_close(&several);
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
    memset(&error, 'x', sizeof(error));
    assert_false(listen_at(&refused, address, reuseport, count, &error));
    assert_non_null(memchr(error.text, '\0', sizeof(error.text)));
    assert_null(strchr(error.text, '\n'));
    assert_contains(error.text, "cannot listen on ");
    assert_contains(error.text, address);
    assert_contains(error.text, cause);
    assert_contains(error.text, "; ");
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
    struct endpoint to;
    assert_true(endpoint_parse(&to, address));
    int fd = socket(to.address.any.sa_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &to.address.any, to.bytes), 0);
    return fd;
}

static void assert_takes_connections(void)
{
    char address[ENDPOINT_TEXT_BYTES];
    struct endpoint reachable;
    endpoint_make_reachable(&listener.bound, &reachable);
    endpoint_format(&reachable, address);
    int client = connect_to(address);
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

static void assert_bound_to(const char *host)
{
    char address[ENDPOINT_TEXT_BYTES];
    endpoint_format(&listener.bound, address);
    assert_int_equal(strncmp(address, host, strlen(host)), 0);
    assert_int_not_equal(endpoint_port(&listener.bound), 0);
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool available = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return available;
}

static void test_port_0(void **state)
{
    (void)state;
    assert_true(listen_at(&listener, "127.0.0.1:0", false, 1, &error));
    assert_int_equal(listener.count, 1);
    assert_bound_to("127.0.0.1:");
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
    char address[ENDPOINT_TEXT_BYTES];
    assert_true(listen_at(&listener, "*:0", false, 1, &error));
    assert_takes_connections();
    if (has_ipv6()) {
        snprintf(address, sizeof(address), "[::1]:%u", endpoint_port(&listener.bound));
        close(connect_to(address));
        assert_bound_to("*:");
    }
}

/* As on a machine whose kernel has no IPv6. */
static void test_all_addresses_without_ipv6(void **state)
{
    (void)state;
    failing_socket = fail_next(1, EAFNOSUPPORT);
    assert_true(listen_at(&listener, "*:0", false, 1, &error));
    assert_bound_to("0.0.0.0:");
    assert_takes_connections();
}

static void test_ipv6(void **state)
{
    (void)state;
    if (!has_ipv6()) {
        skip();
    }
    assert_true(listen_at(&listener, "[::1]:0", false, 1, &error));
    assert_bound_to("[::1]:");
    assert_takes_connections();
}

static void test_several_with_reuseport(void **state)
{
    (void)state;
    assert_true(listen_at(&listener, "127.0.0.1:0", true, 4, &error));
    assert_int_equal(listener.count, 4);
    for (size_t i = 0; i < 4; i++) {
        struct sockaddr_in bound;
        socklen_t bytes = sizeof(bound);
        assert_int_equal(getsockname(listener.fds[i], (struct sockaddr *)&bound, &bytes), 0);
        assert_int_equal(ntohs(bound.sin_port), endpoint_port(&listener.bound)); /* the same */
        assert_int_equal(listener_fd(&listener, i), listener.fds[i]);
        assert_int_equal(listener_fd(&listener, i + 4), listener.fds[i]);
        assert_int_equal(option_of(listener.fds[i], SOL_SOCKET, SO_REUSEPORT), 1);
    }
    assert_takes_connections();
}

static void test_port_in_use(void **state)
{
    (void)state;
    char address[ENDPOINT_TEXT_BYTES];
    for (int reuseport = 0; reuseport <= 1; reuseport++) {
        size_t count = reuseport ? 3 : 1;
        assert_true(listen_at(&listener, "127.0.0.1:0", reuseport, count, &error));
        endpoint_format(&listener.bound, address);
        /* With SO_REUSEPORT a second server could join unseen. */
        assert_refused(address, false, 1, "Address already in use");
        assert_refused(address, true, 1, "Address already in use");
        assert_refused(address, true, 2, "another port with --listen");
        assert_takes_connections();
        listener_close(&listener);
        assert_int_equal(listener.count, 0);
        /* At once again, although connections of before may linger. */
        assert_true(listen_at(&listener, address, reuseport, count, &error));
        assert_bound_to(address);
        listener_close(&listener);
    }
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
            if (listen_at(&listener, "127.0.0.1:0", reuseport, reuseport ? 3 : 1, &error)) {
                break;
            }
            assert_int_equal(call->failures, 0);
            assert_contains(error.text,
                            "cannot listen on 127.0.0.1:0: No buffer space available; ");
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

static int *passed_fds(int first, size_t count)
{
    static int fds[PASSED_MAX];
    for (size_t i = 0; i < count; i++) {
        fds[i] = first + (int)i;
    }
    return fds;
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
        int first = pass(fds, count);
        assert_true(listeners_adopt(&several, passed_fds(first, count), count, &error));
        assert_int_equal(several.count, count); /* an address each */
        assert_int_equal(endpoint_port(&several.list[0].bound), ntohs(bound.sin_port));
        for (size_t i = 0; i < count; i++) {
            int fd = listener_fd(&several.list[i], 0);
            assert_int_equal(fd, first + (int)i);
            assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
            assert_int_not_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
            assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 524288);
        }
        listeners_close(&several);
    }
}

static void test_adopts_sockets_of_one_address_as_a_set(void **state)
{
    (void)state;
    assert_true(listen_at(&listener, "127.0.0.1:0", true, 3, &error));
    int fds[PASSED_MAX];
    for (size_t i = 0; i < PASSED_MAX; i++) {
        fds[i] = dup(listener.fds[i]);
    }
    assert_true(listeners_adopt(&several, fds, PASSED_MAX, &error));
    assert_int_equal(several.count, 1);
    assert_int_equal(several.list[0].count, PASSED_MAX);
    assert_true(several.list[0].reuseport);
}

/* The last of several; the good ones are closed as well. */
static void assert_not_adopted(int bad, const char *cause)
{
    size_t before = open_descriptors() - 1;
    int fds[] = {listening_socket(AF_INET, SOCK_STREAM), listening_socket(AF_INET, SOCK_STREAM),
                 bad};
    int first = pass(fds, 3);
    assert_false(listeners_adopt(&several, passed_fds(first, 3), 3, &error));
    assert_contains(error.text, "cannot take over descriptor 102: ");
    assert_contains(error.text, cause);
    assert_contains(error.text, "; pass it a TCP address");
    assert_int_equal(several.count, 0);
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
    assert_false(listeners_adopt(&several, &fd, 1, &error));
    assert_contains(error.text, ": No buffer space available; ");
    fd = listening_socket(AF_INET, SOCK_STREAM);
    failing_getsockname = fail_next(1, ENOBUFS);
    assert_false(listeners_adopt(&several, &fd, 1, &error));
    assert_contains(error.text, ": No buffer space available; ");
    assert_int_equal(several.count, 0);
}

/* ---- several addresses, and those of a predecessor ---- */

/* "" ends the list; each is an item of its own. */
static struct endpoints parse(const char *const *texts)
{
    struct endpoints endpoints = {0};
    for (; (*texts)[0] != '\0'; texts++) {
        struct endpoint endpoint;
        assert_true(endpoint_parse(&endpoint, *texts));
        endpoint.item = (uint8_t)endpoints.count;
        assert_true(endpoints_add(&endpoints, &endpoint));
    }
    endpoints_settle(&endpoints);
    return endpoints;
}

static bool open_several(struct listeners *listeners, const struct endpoints *endpoints,
                         const struct listeners *old)
{
    const struct listener_plan plan = {.count = 1, .old = old};
    return listeners_open(listeners, endpoints, &plan, &error);
}

static struct endpoints at_port(const char *host, unsigned port)
{
    char text[ENDPOINT_TEXT_BYTES];
    snprintf(text, sizeof(text), "%s:%u", host, port);
    return parse((const char *const[]){text, ""});
}

static void test_several_addresses(void **state)
{
    (void)state;
    char text[128];
    struct endpoints wanted = parse((const char *const[]){"127.0.0.1:0", "127.0.0.2:0", ""});
    assert_true(open_several(&several, &wanted, NULL));
    assert_int_equal(several.count, 2);
    assert_true(listeners_are_loopback(&several));
    listeners_format(&several, text, sizeof(text));
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    assert_contains(text, ", 127.0.0.2:");
    assert_int_not_equal(several.list[0].id, several.list[1].id);
    assert_ptr_equal(listeners_find(&several, several.list[1].id), &several.list[1]);
}

static void test_one_that_fails_opens_none(void **state)
{
    (void)state;
    size_t before = open_descriptors();
    struct endpoints wanted = parse((const char *const[]){"127.0.0.1:0", "192.0.2.1:0", ""});
    assert_false(open_several(&several, &wanted, NULL));
    assert_contains(error.text, "cannot listen on 192.0.2.1:0: Cannot assign requested address; ");
    assert_int_equal(several.count, 0);
    assert_int_equal(open_descriptors(), before);
}

/* As of a name of which this machine has one. */
static void test_an_address_that_may_lack(void **state)
{
    (void)state;
    struct endpoints wanted = parse((const char *const[]){"192.0.2.1:0", "127.0.0.1:0", ""});
    wanted.list[0].may_lack = wanted.list[1].may_lack = true;
    wanted.list[1].item = 0;
    assert_true(open_several(&several, &wanted, NULL));
    assert_int_equal(several.count, 1);
    listeners_close(&several);
    wanted.count = 1;
    assert_false(open_several(&several, &wanted, NULL));
}

static void test_one_item_has_one_port(void **state)
{
    (void)state;
    struct endpoints wanted = parse((const char *const[]){"127.0.0.1:0", "127.0.0.2:0", ""});
    wanted.list[1].item = 0;
    assert_true(open_several(&several, &wanted, NULL));
    assert_int_equal(endpoint_port(&several.list[0].bound), endpoint_port(&several.list[1].bound));
    listeners_close(&several);
    failing_bind = fail_after(1, 1, EADDRINUSE); /* there: another one is tried */
    assert_true(open_several(&several, &wanted, NULL));
    assert_int_equal(several.count, 2);
    assert_int_equal(endpoint_port(&several.list[0].bound), endpoint_port(&several.list[1].bound));
}

static void test_the_same_address_is_shared(void **state)
{
    (void)state;
    struct listeners next;
    struct endpoints wanted = parse((const char *const[]){"127.0.0.1:0", "127.0.0.2:0", ""});
    assert_true(open_several(&several, &wanted, NULL));
    assert_true(open_several(&next, &wanted, &several));
    assert_int_equal(next.list[0].id, several.list[0].id);
    assert_int_equal(next.list[1].id, several.list[1].id);
    assert_int_not_equal(next.list[0].fds[0], several.list[0].fds[0]);
    listeners_close(&next);
    struct endpoints exact = at_port("127.0.0.2", endpoint_port(&several.list[1].bound));
    assert_true(open_several(&next, &exact, &several));
    assert_int_equal(next.count, 1);
    assert_int_equal(next.list[0].id, several.list[1].id);
    listeners_close(&next);
}

/* The number of the listener that a connection to this address arrives at. */
static int arrives_at(const char *host, uint16_t port, const struct listeners *both[2])
{
    char text[ENDPOINT_TEXT_BYTES];
    struct pollfd waiting[2];
    snprintf(text, sizeof(text), "%s:%u", host, port);
    int client = connect_to(text);
    for (int i = 0; i < 2; i++) {
        waiting[i] = (struct pollfd){.fd = both[i]->list[0].fds[0], .events = POLLIN};
    }
    assert_int_equal(poll(waiting, 2, PATIENCE_MS), 1);
    int number = waiting[0].revents != 0 ? 0 : 1;
    int fd = accept(waiting[number].fd, NULL, NULL);
    assert_true(fd >= 0);
    close(fd);
    close(client);
    return number;
}

static void test_addresses_that_overlap(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "*", "127.0.0.1", "0.0.0.0", "127.0.0.1"};
    struct endpoints wanted = at_port(hosts[0], 0);
    assert_true(open_several(&several, &wanted, NULL));
    uint16_t port = endpoint_port(&several.list[0].bound);
    for (size_t i = 1; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct listeners next;
        wanted = at_port(hosts[i], port);
        assert_true(open_several(&next, &wanted, &several));
        const struct listeners *both[] = {&several, &next};
        bool widens = strcmp(hosts[i], "127.0.0.1") != 0;
        assert_int_equal(arrives_at("127.0.0.1", port, both), widens ? 0 : 1);
        assert_int_equal(arrives_at("127.0.0.2", port, both), widens ? 1 : 0);
        assert_int_equal(option_of(next.list[0].fds[0], SOL_SOCKET, SO_REUSEPORT), 0);
        assert_int_equal(option_of(several.list[0].fds[0], SOL_SOCKET, SO_REUSEPORT), 0);
        assert_int_equal(shutdown(several.list[0].fds[0], SHUT_RD), 0);
        listeners_close(&several);
        several = next;
    }
}

static void test_an_overlap_that_linux_forbids(void **state)
{
    (void)state;
    struct endpoints wanted = at_port("127.0.0.1", 0);
    assert_true(open_several(&several, &wanted, NULL));
    struct endpoints all = at_port("*", endpoint_port(&several.list[0].bound));
    struct listeners next;
    failing_bind = fail_next(1, EADDRINUSE); /* as when another user has opened the old one */
    assert_false(open_several(&next, &all, &several));
    assert_contains(error.text, "at which this server listens already: Address already in use; ");
    assert_contains(error.text, "restart");
    assert_int_equal(option_of(several.list[0].fds[0], SOL_SOCKET, SO_REUSEPORT), 0);
}

static void test_what_a_reload_cannot_change(void **state)
{
    (void)state;
    struct listeners next;
    struct endpoints wanted = at_port("127.0.0.1", 0);
    struct listener_plan plan = {.reuseport = true, .count = 2};
    assert_true(listeners_open(&several, &wanted, &plan, &error));
    plan.old = &several;
    plan.count = 3;
    assert_false(listeners_open(&next, &wanted, &plan, &error));
    assert_contains(error.text, "cannot change from 2 to 3 without a restart");
    plan.reuseport = false;
    plan.count = 1;
    assert_false(listeners_open(&next, &wanted, &plan, &error));
    assert_contains(error.text, "needs a restart");
}

/* One that is kept, while the other changes for ever. */
static void test_ids_differ_from_those_in_use(void **state)
{
    (void)state;
    struct endpoints wanted = parse((const char *const[]){"127.0.0.1:0", "127.0.0.2:0", ""});
    assert_true(open_several(&several, &wanted, NULL));
    uint32_t kept = several.list[0].id;
    for (int i = 0; i < 100; i++) {
        struct listeners next;
        wanted = parse(i % 2 == 0 ? (const char *const[]){"127.0.0.1:0", "127.0.0.3:0", ""}
                                  : (const char *const[]){"127.0.0.1:0", "127.0.0.2:0", ""});
        assert_true(open_several(&next, &wanted, &several));
        assert_int_equal(next.list[0].id, kept);
        assert_int_not_equal(next.list[1].id, kept);
        assert_int_not_equal(next.list[1].id, several.list[1].id);
        listeners_close(&several);
        several = next;
    }
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
    assert_false(listeners_are_loopback(&several)); /* without a socket nobody knows */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct endpoints wanted = parse((const char *const[]){cases[i].address, ""});
        if (open_several(&several, &wanted, NULL)) {
            assert_int_equal(listeners_are_loopback(&several), cases[i].loopback);
            listeners_close(&several);
        } else {
            assert_non_null(strchr(cases[i].address, '[')); /* there is no IPv6 */
        }
    }
}

/* ---- what others do to shared sockets ---- */

static enum listener_health check(bool distrusts)
{
    enum listener_health health;
    struct error what;
    several.list[0] = listener;
    several.count = 1;
    assert_true(listeners_check(&several, 0, distrusts, &health, &what, &error));
    listener = several.list[0];
    several.count = 0;
    error = what;
    return health;
}

static void test_sound_sockets(void **state)
{
    (void)state;
    for (int reuseport = 0; reuseport <= 1; reuseport++) {
        assert_true(listen_at(&listener, "*:0", reuseport, reuseport ? 3 : 1, &error));
        assert_int_equal(check(false), LISTENER_SOUND);
        assert_int_equal(check(true), LISTENER_SOUND);
        listener_close(&listener);
    }
}

static void test_a_socket_that_was_shut_down(void **state)
{
    (void)state;
    for (int again = 0; again <= 1; again++) { /* one with a port of the kernel's choice loses it */
        uint16_t port = again ? endpoint_port(&listener.bound) : 0;
        char text[ENDPOINT_TEXT_BYTES];
        snprintf(text, sizeof(text), "127.0.0.1:%u", port);
        listener_close(&listener);
        assert_true(listen_at(&listener, text, false, 1, &error));
        assert_int_equal(shutdown(listener.fds[0], SHUT_RD), 0);
        assert_int_equal(check(false), LISTENER_MENDED);
        assert_contains(error.text, "was shut down");
        assert_takes_connections();
    }
    assert_int_equal(shutdown(listener.fds[0], SHUT_RD), 0);
    assert_int_equal(check(true), LISTENER_RENEWED);
    assert_takes_connections();
}

/* Whoever looks was stopped between any two steps, and finds it so: now, or the next time. */
static void test_a_socket_that_is_shut_down_while_it_is_looked_at(void **state)
{
    (void)state;
    for (int calls = 1;; calls++) {
        assert_true(listen_at(&listener, "127.0.0.1:0", false, 1, &error));
        calls_to_shutdown = calls;
        enum listener_health health = check(false);
        bool is_over = calls_to_shutdown > 0;
        calls_to_shutdown = 0;
        if (is_over) {
            assert_int_equal(health, LISTENER_SOUND);
            assert_in_range(calls, 4, 100); /* it was stopped at each of them */
            return;
        }
        if (health == LISTENER_SOUND) {
            health = check(false);
        }
        assert_int_not_equal(health, LISTENER_SOUND);
        assert_contains(error.text, "was shut down");
        assert_takes_connections();
        listener_close(&listener);
    }
}

/* It has become a connection, and will never listen again. */
static void test_a_socket_that_was_made_a_connection(void **state)
{
    (void)state;
    assert_true(listen_at(&listener, "127.0.0.1:0", false, 1, &error));
    uint16_t port = endpoint_port(&listener.bound);
    struct listener other;
    assert_true(listen_at(&other, "127.0.0.1:0", false, 1, &error));
    uint32_t id = listener.id;
    int fd = listener.fds[0];
    assert_int_equal(shutdown(fd, SHUT_RD), 0);
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    assert_int_equal(connect(fd, &other.bound.address.any, other.bound.bytes), 0);
    assert_int_equal(check(false), LISTENER_RENEWED);
    assert_int_equal(listener.fds[0], fd);
    assert_int_not_equal(listener.id, id);
    assert_int_equal(endpoint_port(&listener.bound), port);
    assert_takes_connections();
    listener_close(&other);
}

static void assert_undone(const char *what)
{
    assert_int_equal(check(false), LISTENER_MENDED);
    assert_contains(error.text, what);
    assert_int_equal(check(false), LISTENER_SOUND);
    assert_takes_connections();
}

static void test_options_that_were_changed(void **state)
{
    (void)state;
    static const struct {
        int level, option, value;
        const char *name;
    } changes[] = {
        {SOL_SOCKET, SO_RCVBUF, 1, "SO_RCVBUF"},
        {SOL_SOCKET, SO_SNDBUF, 1, "SO_SNDBUF"},
        {SOL_SOCKET, SO_OOBINLINE, 0, "SO_OOBINLINE"},
        {SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT"},
        {SOL_SOCKET, SO_MAX_PACING_RATE, 1, "SO_MAX_PACING_RATE"},
        {IPPROTO_TCP, TCP_DEFER_ACCEPT, 100, "TCP_DEFER_ACCEPT"},
        {IPPROTO_TCP, TCP_MAXSEG, 88, "TCP_MAXSEG"},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 1, "TCP_USER_TIMEOUT"},
        {IPPROTO_TCP, TCP_NODELAY, 0, "TCP_NODELAY"},
        {IPPROTO_IP, IP_TTL, 1, "IP_TTL"},
        {IPPROTO_IP, IP_MINTTL, 255, "IP_MINTTL"},
    };
    assert_true(listen_at(&listener, "127.0.0.1:0", false, 1, &error));
    int fd = listener.fds[0];
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        assert_int_equal(setsockopt(fd, changes[i].level, changes[i].option, &changes[i].value,
                                    sizeof(changes[i].value)),
                         0);
        assert_undone(changes[i].name);
    }
    const struct linger reset = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    assert_undone("SO_LINGER");
    const struct timeval forever = {0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever)), 0);
    assert_undone("SO_RCVTIMEO");
    assert_int_equal(listen(fd, 1), 0);
    assert_undone("the length of its queue");
}

static void test_flags_that_were_changed(void **state)
{
    (void)state;
    assert_true(listen_at(&listener, "127.0.0.1:0", false, 1, &error));
    int fd = listener.fds[0];
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    assert_int_equal(accept(fd, NULL, NULL), -1); /* does not wait for ever even so */
    assert_undone("O_NONBLOCK");
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC), 0);
    assert_undone("O_ASYNC");
}

static void test_filters(void **state)
{
    (void)state;
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    const struct sock_fprog program = {.len = 1, .filter = &drop};
    const int on = 1;
    assert_true(listen_at(&listener, "127.0.0.1:0", false, 1, &error));
    int fd = listener.fds[0];
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), 0);
    assert_undone("SO_ATTACH_FILTER");
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)), 0);
    assert_int_equal(check(false), LISTENER_RENEWED);
    assert_contains(error.text, "SO_LOCK_FILTER");
    assert_takes_connections();
}

/* What cannot be opened anew is tried again later. */
static void test_mending_can_fail(void **state)
{
    (void)state;
    enum listener_health health;
    struct error what;
    assert_true(listen_at(&listener, "127.0.0.1:0", false, 1, &error));
    assert_int_equal(shutdown(listener.fds[0], SHUT_RD), 0);
    failing_listen = fail_next(2, ENOBUFS);
    several.list[0] = listener;
    several.count = 1;
    assert_false(listeners_check(&several, 0, false, &health, &what, &error));
    several.count = 0;
    assert_contains(error.text,
                    "was shut down, and cannot be opened anew: No buffer space available; ");
    assert_int_equal(check(false), LISTENER_MENDED);
    assert_takes_connections();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, forget, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_port_0),
        TEST(test_all_addresses),
        TEST(test_all_addresses_without_ipv6),
        TEST(test_ipv6),
        TEST(test_several_with_reuseport),
        TEST(test_port_in_use),
        TEST(test_address_of_another_machine),
        TEST(test_every_step_can_fail),
        TEST(test_forbidden_port),
        TEST(test_adopts_sockets),
        TEST(test_adopts_nothing_but_listening_tcp_sockets),
        TEST(test_adopts_sockets_of_one_address_as_a_set),
        TEST(test_adopting_can_fail),
        TEST(test_several_addresses),
        TEST(test_one_that_fails_opens_none),
        TEST(test_an_address_that_may_lack),
        TEST(test_one_item_has_one_port),
        TEST(test_the_same_address_is_shared),
        TEST(test_addresses_that_overlap),
        TEST(test_an_overlap_that_linux_forbids),
        TEST(test_what_a_reload_cannot_change),
        TEST(test_ids_differ_from_those_in_use),
        TEST(test_loopback),
        TEST(test_sound_sockets),
        TEST(test_a_socket_that_was_shut_down),
        TEST(test_a_socket_that_is_shut_down_while_it_is_looked_at),
        TEST(test_a_socket_that_was_made_a_connection),
        TEST(test_options_that_were_changed),
        TEST(test_flags_that_were_changed),
        TEST(test_filters),
        TEST(test_mending_can_fail),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
