/* What worker.c, acceptor.c and connection.c do when system calls fail. Everything runs on one
 * thread, turn by turn, under a clock that stands still; clients use read and write, since recv and
 * send are the calls that fail. */
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"
#include "tests/unit/failing_call.h"
#include "tests/unit/listen_at.h"
#include "tests/unit/open_descriptors.h"
#include "tests/unit/patience.h"

#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum {
    SWEEP_MS = 200, /* at least between two looks at deadlines */
    LONG_MS = 60000,
    TEXT_BYTES = 4096,
    START_MS = 1000000
};

/* ---- System calls ---- */

static struct failing_call failing_accept, failing_recv, failing_send, failing_shutdown,
    failing_eventfd, failing_config, failing_base, failing_loop;
static uint64_t clock_ms;

WRAPPED(int, accept4, int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
    return fails_now(&failing_accept) ? -1 : __real_accept4(fd, address, bytes, flags);
}

WRAPPED(ssize_t, recv, int fd, void *data, size_t bytes, int flags)
{
    return fails_now(&failing_recv) ? -1 : __real_recv(fd, data, bytes, flags);
}

WRAPPED(ssize_t, send, int fd, const void *data, size_t bytes, int flags)
{
    return fails_now(&failing_send) ? -1 : __real_send(fd, data, bytes, flags);
}

WRAPPED(int, shutdown, int fd, int how)
{
    return fails_now(&failing_shutdown) ? -1 : __real_shutdown(fd, how);
}

WRAPPED(int, eventfd, unsigned count, int flags)
{
    return fails_now(&failing_eventfd) ? -1 : __real_eventfd(count, flags);
}

WRAPPED(struct event_config *, event_config_new, void)
{
    return fails_now(&failing_config) ? NULL : __real_event_config_new();
}

WRAPPED(struct event_base *, event_base_new_with_config, const struct event_config *event_config)
{
    return fails_now(&failing_base) ? NULL : __real_event_base_new_with_config(event_config);
}

WRAPPED(int, event_base_loop, struct event_base *base, int flags)
{
    return fails_now(&failing_loop) ? -1 : __real_event_base_loop(base, flags);
}

WRAPPED(uint64_t, clock_monotonic_ms, void)
{
    return clock_ms;
}

WRAPPED(uint64_t, clock_monotonic_ns, void)
{
    return clock_ms * 1000000;
}

/* ---- Fixture ---- */

static struct config config;
static struct router *router;
static struct scoreboard *scoreboard;
static struct handler_context context;
static struct listener listener;
static struct worker_options options;
static struct worker *worker;
static size_t descriptors; /* while nobody is connected */
static int client;         /* the one that most tests make do with */
static char log_path[64];
static int log_fd;
static char text[TEXT_BYTES];

static void say(const struct http_request *request, struct http_response *response,
                struct handler_context *own_context, void *data)
{
    (void)own_context;
    (void)data;
    response->content_type = "text/plain";
    buffer_append_span(&response->text, request->path);
}

static void echo(const struct http_request *request, struct http_response *response,
                 struct handler_context *own_context, void *data)
{
    (void)own_context;
    (void)data;
    response->body = (struct span){request->body.data, request->body.len};
}

static void write_text(int fd, const char *bytes)
{
    assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
}

/* While it runs, the client sends more than it was asked for. */
static void hear_more(const struct http_request *request, struct http_response *response,
                      struct handler_context *own_context, void *data)
{
    write_text(client, "more");
    say(request, response, own_context, data);
}

static void reset_calls(void)
{
    failing_accept = failing_recv = failing_send = failing_shutdown = failing_eventfd =
        failing_config = failing_base = failing_loop = (struct failing_call){0};
}

static int make(void **state)
{
    (void)state;
    struct error error;
    reset_calls();
    clock_ms = START_MS;
    client = -1;
    strcpy(log_path, "/tmp/twinhttpd-test-failing-calls-XXXXXX");
    close(mkstemp(log_path));
    log_set_level(LOG_INFO);
    config = (struct config){.max_request_line_bytes = 8192,
                             .max_header_bytes = 32768,
                             .max_headers = 100,
                             .max_body_bytes = 100000,
                             .header_timeout_ms = LONG_MS,
                             .body_timeout_ms = LONG_MS,
                             .idle_timeout_ms = LONG_MS,
                             .send_timeout_ms = LONG_MS,
                             .linger_timeout_ms = LONG_MS,
                             .max_linger_ms = LONG_MS,
                             .max_linger_bytes = 10000000,
                             .drain_timeout_ms = LONG_MS};
    router = router_create();
    unsigned get = METHOD_BIT(METHOD_GET);
    router_add(router, &(struct route){.methods = get, .handler = say});
    router_add(router, &(struct route){.path = "/more", .methods = get, .handler = hear_more});
    router_add(router, &(struct route){.path = "/echo",
                                       .methods = METHOD_BIT(METHOD_POST),
                                       .wants_body = true,
                                       .handler = echo});
    scoreboard = scoreboard_create(1);
    context = (struct handler_context){.slot = &scoreboard->slots[0]};
    slot_enter(context.slot, 0, 1, SLOT_LOOP);
    log_fd = log_file_open(log_path);
    log_use(log_fd);
    if (log_fd < 0 || !listen_at(&listener, "127.0.0.1:0", false, 1, &error)) {
        return -1;
    }
    options = (struct worker_options){
        .config = &config,
        .router = router,
        .context = &context,
        .listen_fds = {listener_fd(&listener, 0)},
        .listen_count = 1,
        .may_shut_down = may_always_shut_down,
        .access_log_fd = -1,
        .max_connections = 1000,
    };
    worker = worker_create(&options);
    descriptors = open_descriptors();
    return worker == NULL;
}

static struct histogram_copy durations(void)
{
    struct histogram_copy copy;
    histogram_read(&context.slot->latency.requests, &copy);
    return copy;
}

static int discard(void **state)
{
    (void)state;
    if (client >= 0) {
        close(client);
    }
    reset_calls();
    worker_destroy(worker);
    struct worker_slot *slot = context.slot;
    assert_int_equal(slot->connections_open, 0);
    assert_int_equal(slot->connections_busy, 0);
    assert_int_equal(slot->connections_idle, 0);
    assert_int_equal(slot->counters.requests_started,
                     slot->counters.requests_finished + slot->counters.requests_aborted);
    assert_int_equal(durations().count, slot->counters.requests_finished);
    listener_close(&listener);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    log_use(STDERR_FILENO);
    close(log_fd);
    return unlink(log_path);
}

/* ---- Time ---- */

/* What is ready now, once. */
static void turn(void)
{
    handler_context_next_turn(&context);
    assert_true(__real_event_base_loop(worker_event_base(worker), EVLOOP_NONBLOCK | EVLOOP_ONCE) >=
                0);
}

/* Turns until the deadline, for a loop of the form while (!condition) { wait_on(&until_ms); }. */
static void wait_on(uint64_t *until_ms)
{
    uint64_t now_ms = __real_clock_monotonic_ms();
    if (*until_ms == 0) {
        *until_ms = now_ms + PATIENCE_MS;
    }
    if (now_ms > *until_ms) {
        fail_msg("waited in vain; \"%s\" is what came last", text);
    }
    turn();
    usleep(200);
}

/* Turns until the worker's tick has come round, so much later. */
static void tick_after(uint64_t ms)
{
    uint64_t until_ms = 0;
    clock_ms += ms;
    atomic_store(&context.slot->heartbeat_ms, 0);
    while (atomic_load(&context.slot->heartbeat_ms) == 0) {
        wait_on(&until_ms);
    }
    turn(); /* what the tick has set off */
}

static void await(const _Atomic uint64_t *counter, uint64_t value)
{
    uint64_t until_ms = 0;
    while (atomic_load(counter) != value) {
        wait_on(&until_ms);
    }
}

static void await_failures(const struct failing_call *call)
{
    uint64_t until_ms = 0;
    while (call->failures > 0) {
        wait_on(&until_ms);
    }
}

static void await_descriptors(size_t count)
{
    uint64_t until_ms = 0;
    while (open_descriptors() != count) {
        wait_on(&until_ms);
    }
}

/* ---- Clients ---- */

static int connect_client(void)
{
    const struct endpoint *to = &listener.bound;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &to->address.any, to->bytes), 0);
    int flags = fcntl(fd, F_GETFL);
    assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    return fd;
}

static void send_get(int fd, const char *path)
{
    char request[256];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    write_text(fd, request);
}

/* One answer: its status, and all of its body. */
static void expect(int fd, const char *status, const char *body)
{
    char end[256];
    uint64_t until_ms = 0;
    size_t len = 0;
    snprintf(end, sizeof(end), "\r\n\r\n%s", body);
    text[0] = '\0';
    while (len < strlen(end) || strcmp(text + len - strlen(end), end) != 0) {
        wait_on(&until_ms);
        ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        len += n > 0 ? (size_t)n : 0;
        text[len] = '\0';
    }
    assert_memory_equal(text, "HTTP/1.1 ", 9);
    assert_memory_equal(text + 9, status, 3);
}

/* The end of the connection, not a reset. */
static void expect_end(int fd)
{
    uint64_t until_ms = 0;
    char byte;
    ssize_t n;
    while ((n = read(fd, &byte, 1)) < 0) {
        assert_int_equal(errno, EAGAIN);
        wait_on(&until_ms);
    }
    assert_int_equal(n, 0);
}

static void get_over(int fd, const char *path)
{
    send_get(fd, path);
    expect(fd, "200", path);
}

static void serve_another(void)
{
    int fd = connect_client();
    get_over(fd, "/another");
    close(fd);
}

static size_t count_in_log(const char *part)
{
    size_t count = 0;
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    while (fgets(text, sizeof(text), file) != NULL) {
        count += strstr(text, part) != NULL;
    }
    fclose(file);
    return count;
}

/* ---- Accepting ---- */

/* Looks away from the socket for 100 ms instead of spinning, and says so once. */
static void test_out_of_descriptors(void **state)
{
    (void)state;
    static const int shortages[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    for (size_t i = 0; i < sizeof(shortages) / sizeof(shortages[0]); i++) {
        clock_ms += 1101; /* since the shortage before: a new one */
        failing_accept = fail_next(INT_MAX, shortages[i]);
        client = connect_client();
        send_get(client, "/a");
        tick_after(0);
        tick_after(99);
        assert_int_equal(failing_accept.calls, 1);
        tick_after(1);
        tick_after(99);
        assert_int_equal(failing_accept.calls, 2);
        failing_accept.failures = 0;
        clock_ms++;
        expect(client, "200", "/a"); /* it was not lost */
        close(client);
        client = -1;
        await(&context.slot->connections_open, 0);
        assert_int_equal(count_in_log("cannot accept connections: "), i + 1);
    }
    assert_int_equal(count_in_log("[warn] "), 4);
    assert_int_equal(count_in_log("Too many open files; trying again every 100 ms\n"), 1);
    assert_int_equal(count_in_log("Cannot allocate memory; "), 1);
}

/* ---- Making room ---- */

/* Anew, with so few places. */
static void serve_with_places(uint64_t count)
{
    worker_destroy(worker);
    options.max_connections = count;
    worker = worker_create(&options);
    assert_non_null(worker);
}

/* So many connections, one after another. */
static void arrive(int *fds, size_t count)
{
    uint64_t accepted = context.slot->counters.connections_accepted;
    for (size_t i = 0; i < count; i++) {
        fds[i] = connect_client();
        await(&context.slot->counters.connections_accepted, accepted + i + 1);
    }
}

/* The same, and each asks. */
static void arrive_and_ask(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fds[i] = connect_client();
        get_over(fds[i], "/");
    }
}

static bool is_there(int fd)
{
    char byte;
    turn();
    return read(fd, &byte, 1) < 0 && errno == EAGAIN;
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        close(fds[i]);
    }
}

/* Whoever has not asked goes first, the oldest of them, and then the longest idle. */
static void test_order_of_leaving(void **state)
{
    (void)state;
    int kept[2], silent[2], late[4];
    serve_with_places(4);
    arrive_and_ask(&kept[0], 1);
    arrive(silent, 2);
    write_text(silent[1], "G");
    arrive_and_ask(&kept[1], 1);
    tick_after(1000); /* both kept ones are idle now */
    for (size_t i = 0; i < 4; i++) {
        const int expected[] = {silent[0], silent[1], kept[0], kept[1]};
        for (size_t other = i; other < 4; other++) {
            assert_true(is_there(expected[other]));
        }
        arrive_and_ask(&late[i], 1);
        expect_end(expected[i]);
    }
    close_all(kept, 2);
    close_all(silent, 2);
    close_all(late, 4);
}

/* A newcomer may be about to ask: it has a second, for which another one waits. */
static void test_newcomers_have_a_chance(void **state)
{
    (void)state;
    int first[3], late;
    serve_with_places(3);
    arrive(first, 3);
    tick_after(999);
    late = connect_client();
    send_get(late, "/late");
    tick_after(0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(is_there(first[i]));
    }
    get_over(first[0], "/first"); /* just in time */
    tick_after(1);
    expect(late, "200", "/late");
    expect_end(first[1]);
    assert_true(is_there(first[0]) && is_there(first[2]));
    close_all(first, 3);
    close_all(&late, 1);
}

/* However many come at once, and again and again. */
static void test_who_only_connects_pushes_nobody_out(void **state)
{
    (void)state;
    enum { KEPT = 6, PLACES = 8, CROWD = 20, ROUNDS = 3 };
    int kept[KEPT], crowd[ROUNDS * CROWD];
    serve_with_places(PLACES);
    arrive_and_ask(kept, KEPT);
    tick_after(1000);
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < CROWD; i++) {
            int *one = &crowd[round * CROWD + i];
            *one = connect_client();
            if (i % 2 == 0) {
                write_text(*one, "G");
            }
        }
        tick_after(0);
        tick_after(1000);
        tick_after(1000);
    }
    assert_true(context.slot->counters.connections_accepted > KEPT + ROUNDS * 2);
    size_t there = 0;
    for (size_t i = 0; i < KEPT; i++) {
        there += is_there(kept[i]);
    }
    assert_in_range(there, KEPT - 1, KEPT); /* until a quarter has not asked, one may go */
    close_all(crowd, ROUNDS * CROWD);
    close_all(kept, KEPT);
}

/* That it has asked before does not help whoever stops within the next head. */
static void test_head_that_stands_still(void **state)
{
    (void)state;
    int kept[4], late[2];
    serve_with_places(4);
    arrive_and_ask(kept, 4);
    write_text(kept[2], "GET / HT");
    write_text(kept[3], "G");
    turn();
    tick_after(1000);
    get_over(kept[0], "/");                                  /* one is in use, one idle */
    write_text(kept[3], "ET / HTTP/1.1\r\nHost: a\r\n\r\n"); /* slow, but it goes on */
    expect(kept[3], "200", "/");
    arrive_and_ask(&late[0], 1);
    expect_end(kept[2]);
    arrive_and_ask(&late[1], 1);
    expect_end(kept[1]);
    assert_true(is_there(kept[0]) && is_there(kept[3]));
    close_all(kept, 4);
    close_all(late, 2);
}

/* What has just come has not been looked at yet. */
static void test_silence_that_has_just_ended(void **state)
{
    (void)state;
    int first[2], late;
    serve_with_places(2);
    arrive(first, 2);
    tick_after(1000);
    failing_recv = fail_next(1, EAGAIN); /* the loop comes to it late */
    send_get(first[0], "/first");
    await_failures(&failing_recv);
    failing_recv = fail_next(1, EAGAIN);
    late = connect_client();
    expect_end(first[1]);
    failing_recv.failures = 0;
    expect(first[0], "200", "/first");
    close_all(first, 2);
    close_all(&late, 1);
}

/* Who is answered, and sends on for longer than a client needs to notice. */
static void test_lingering_makes_room(void **state)
{
    (void)state;
    int kept[1], late[2];
    config.linger_timeout_ms = 2000;
    serve_with_places(2);
    arrive_and_ask(kept, 1);
    client = connect_client();
    write_text(client, "BREW / HTTP/1.1\r\n\r\n");
    expect(client, "501", "Not Implemented\n");
    for (int i = 0; i < 2; i++) {
        tick_after(1000);
        write_text(client, "x");
        turn();
    }
    arrive_and_ask(late, 1);
    assert_true(is_there(kept[0]));
    assert_true(write(client, "x", 1) == 1); /* is answered with a reset */
    struct pollfd reset = {.fd = client};
    assert_int_equal(poll(&reset, 1, LONG_MS), 1); /* the kernel may take its time */
    assert_int_equal(write(client, "x", 1), -1);
    close_all(kept, 1);
    close_all(late, 1);
}

/* No descriptor is free: the same ones go. */
static void test_descriptors_are_freed(void **state)
{
    (void)state;
    static const int shortages[] = {EMFILE, ENFILE};
    int silent[2], kept[1], late[3];
    arrive_and_ask(kept, 1);
    arrive(silent, 2);
    tick_after(1000);
    for (size_t i = 0; i < 2; i++) {
        failing_accept = fail_next(1, shortages[i]);
        arrive_and_ask(&late[i], 1);
        expect_end(silent[i]);
    }
    assert_true(is_there(kept[0]));
    failing_accept = fail_next(1, EMFILE);
    arrive_and_ask(&late[2], 1);
    expect_end(kept[0]);
    assert_int_equal(count_in_log("cannot accept connections: "), 1);
    assert_int_equal(count_in_log("Too many open files; connections that are silent make room\n"),
                     1);
    failing_accept = fail_next(1, ENOMEM); /* no descriptor would help */
    int last = connect_client();
    send_get(last, "/last");
    tick_after(0);
    assert_true(is_there(late[0]) && is_there(late[1]) && is_there(late[2]));
    tick_after(100);
    expect(last, "200", "/last");
    close_all(&last, 1);
    close_all(silent, 2);
    close_all(kept, 1);
    close_all(late, 3);
}

/* ---- Who leaves by himself ---- */

/* A client that left while it waited does not hold up those behind it. */
static void test_client_left_the_queue(void **state)
{
    (void)state;
    uint64_t until_ms = 0;
    failing_accept = fail_next(3, ECONNABORTED);
    client = connect_client();
    while (failing_accept.calls == 0) {
        wait_on(&until_ms);
    }
    assert_int_equal(context.slot->counters.connections_accepted, 1); /* in the same turn */
    get_over(client, "/a");
    assert_int_equal(count_in_log("accept"), 0);
}

/* Another process has shut the socket down: it stays readable, and must not be asked all the time.
 * The tick may ask. */
static void test_socket_was_shut_down(void **state)
{
    (void)state;
    enum { TICKS = 3 };
    failing_accept = fail_next(INT_MAX, EINVAL);
    client = connect_client();
    for (int i = 0; i < TICKS; i++) {
        tick_after(0);
    }
    assert_in_range(failing_accept.calls, 1, TICKS + 1);
    assert_int_equal(context.slot->counters.connections_accepted, 0);
}

static void test_full_over_ticks(void **state)
{
    (void)state;
    worker_destroy(worker);
    options.max_connections = 1;
    worker = worker_create(&options);
    assert_non_null(worker);
    client = connect_client();
    get_over(client, "/a");
    int second = connect_client();
    send_get(second, "/b");
    tick_after(0);
    tick_after(0);
    assert_int_equal(failing_accept.calls, 1);
    close(client);
    client = -1;
    expect(second, "200", "/b");
    close(second);
}

static void test_refused_connections_are_logged(void **state)
{
    (void)state;
    config.max_connections_per_client = 1;
    client = connect_client();
    get_over(client, "/a");
    int second = connect_client();
    expect(second, "503", "");
    expect_end(second);
    close(second);
    assert_int_equal(count_in_log("refused a connection of 127.0.0.1:"), 1);
    assert_int_equal(count_in_log(": its address has 1 already\n"), 1);
    get_over(client, "/a");
    close(client); /* before its limit is gone */
    client = -1;
    await(&context.slot->connections_open, 0);
}

/* Of the connections that have fallen idle the oldest has to go, however many busy ones are older.
 */
static void test_a_busy_connection_keeps_its_place(void **state)
{
    (void)state;
    worker_destroy(worker);
    options.max_connections = 2;
    worker = worker_create(&options);
    assert_non_null(worker);
    int busy = connect_client();
    write_text(busy, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    await(&context.slot->connections_busy, 1);
    client = connect_client();
    get_over(client, "/a");
    tick_after(1000);
    assert_int_equal(context.slot->connections_idle, 1);
    int third = connect_client();
    get_over(third, "/third");
    expect_end(client);
    write_text(busy, "b");
    expect(busy, "200", "ab");
    close(busy);
    close(third);
}

/* ---- Receiving ---- */

/* Nothing came after all: neither an end nor an error. */
static void test_nothing_to_receive(void **state)
{
    (void)state;
    static const int reasons[] = {EAGAIN, EINTR};
    client = connect_client();
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        failing_recv = fail_next(2, reasons[i]); /* before the first byte */
        get_over(client, "/a");
        assert_int_equal(failing_recv.failures, 0);
        write_text(client, "GET /b HTTP/1.1\r\nHo");
        turn();
        failing_recv = fail_next(2, reasons[i]); /* within the head */
        write_text(client, "st: a\r\n\r\n");
        expect(client, "200", "/b");
        assert_int_equal(failing_recv.failures, 0);
        write_text(client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
        await(&context.slot->connections_busy, 1);
        failing_recv = fail_next(2, reasons[i]); /* within the body */
        write_text(client, "cd");
        expect(client, "200", "abcd");
        assert_int_equal(failing_recv.failures, 0);
    }
    assert_int_equal(context.slot->counters.requests_finished, 6);
}

static void test_reset_within_a_request(void **state)
{
    (void)state;
    client = connect_client();
    write_text(client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    await(&context.slot->connections_busy, 1);
    failing_recv = fail_next(1, ECONNRESET);
    write_text(client, "cd");
    await(&context.slot->connections_open, 0);
    assert_int_equal(context.slot->counters.requests_aborted, 1);
    assert_int_equal(context.slot->counters.requests_finished, 0);
    assert_int_equal(open_descriptors(), descriptors + 1);
    serve_another();
}

/* ---- Sending ---- */

static void test_send_is_blocked(void **state)
{
    (void)state;
    client = connect_client();
    failing_send = fail_next(1, EAGAIN);
    send_get(client, "/a");
    await_failures(&failing_send);
    assert_int_equal(context.slot->counters.requests_finished, 0); /* booked, and taken back */
    assert_int_equal(context.slot->connections_busy, 1);
    expect(client, "200", "/a");
    assert_int_equal(context.slot->counters.requests_finished, 1);
    assert_int_equal(context.slot->connections_busy, 0);
    /* The last answer of a connection. */
    failing_send = fail_next(1, EAGAIN);
    write_text(client, "GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await_failures(&failing_send);
    assert_int_equal(context.slot->connections_open, 1);
    expect(client, "200", "/b");
    expect_end(client);
    assert_int_equal(context.slot->connections_open, 0);
}

/* "100 Continue" is no answer: there is nothing to book when it does not go out at once. */
static void test_continue_is_blocked(void **state)
{
    (void)state;
    client = connect_client();
    failing_send = fail_next(1, EAGAIN);
    write_text(client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
                       "Expect: 100-continue\r\n\r\n");
    await_failures(&failing_send);
    expect(client, "100", "");
    assert_int_equal(context.slot->counters.requests_started, 1);
    assert_int_equal(context.slot->counters.requests_finished, 0);
    write_text(client, "ab");
    expect(client, "200", "ab");
    assert_int_equal(context.slot->counters.requests_finished, 1);
}

/* Input that came while the answer could not be sent is answered, too. */
static void test_request_behind_a_blocked_answer(void **state)
{
    (void)state;
    client = connect_client();
    failing_send = fail_next(1, EAGAIN);
    send_get(client, "/a");
    await_failures(&failing_send);
    send_get(client, "/b");
    expect(client, "200", "/b"); /* the last of two answers */
    assert_int_equal(context.slot->counters.requests_finished, 2);
}

/* That the socket could be written to, and took nothing, gives the client no more time. */
static void test_a_client_that_takes_nothing(void **state)
{
    (void)state;
    config.send_timeout_ms = 1000;
    client = connect_client();
    failing_send = fail_next(INT_MAX, EAGAIN);
    send_get(client, "/a");
    await(&context.slot->connections_busy, 1);
    tick_after(900);
    assert_int_equal(context.slot->connections_open, 1);
    assert_in_range(failing_send.calls, 2, INT_MAX);
    tick_after(200);
    assert_int_equal(context.slot->connections_open, 0);
    assert_int_equal(context.slot->counters.requests_aborted, 1);
    assert_int_equal(read(client, text, 1), -1);
    assert_int_equal(errno, ECONNRESET); /* so that the kernel keeps nothing for it */
    assert_int_equal(count_in_log("cut 127.0.0.1:"), 1);
}

static void test_send_fails(void **state)
{
    (void)state;
    static const int reasons[] = {EPIPE, ECONNRESET};
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        client = connect_client();
        failing_send = fail_next(1, reasons[i]);
        send_get(client, "/a");
        expect_end(client);
        assert_int_equal(context.slot->counters.requests_aborted, i + 1);
        assert_int_equal(context.slot->counters.requests_finished, 0);
        assert_int_equal(open_descriptors(), descriptors + 1);
        close(client);
        client = -1;
    }
}

/* ---- The end of a connection ---- */

/* What the client sent meanwhile would turn the close into a reset, and the reset could destroy the
 * answer: it is read, and dropped. */
static void test_input_behind_the_last_request(void **state)
{
    (void)state;
    client = connect_client();
    write_text(client, "GET /more HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(client, "200", "/more");
    expect_end(client);
    write_text(client, "and more");
    expect_end(client);
    assert_int_equal(open_descriptors(), descriptors + 2); /* both ends are open */
    close(client);
    client = -1;
    await_descriptors(descriptors);
}

static void refuse_one(void)
{
    client = connect_client();
    write_text(client, "BREW / HTTP/1.1\r\n\r\n");
    expect(client, "501", "Not Implemented\n");
    expect_end(client);
    assert_int_equal(open_descriptors(), descriptors + 2); /* lingers */
}

static void test_lingering(void **state)
{
    (void)state;
    static const int reasons[] = {EAGAIN, EINTR};
    refuse_one();
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        failing_recv = fail_next(2, reasons[i]);
        write_text(client, "x");
        await_failures(&failing_recv);
        turn();
        assert_int_equal(open_descriptors(), descriptors + 2);
    }
    failing_recv = fail_next(1, ECONNRESET);
    write_text(client, "x");
    await_descriptors(descriptors + 1);
    serve_another();
}

static void assert_lingers(bool lingers)
{
    turn();
    assert_int_equal(open_descriptors(), descriptors + (lingers ? 2 : 1));
}

/* Once more if the client has taken something of the answer meanwhile. */
static void assert_lingers_no_more(void)
{
    tick_after(SWEEP_MS);
    tick_after(config.linger_timeout_ms);
    assert_lingers(false);
}

/* As long as bytes come, up to a time. */
static void test_lingering_has_an_end(void **state)
{
    (void)state;
    config.linger_timeout_ms = 1000;
    config.max_linger_ms = 2500;
    refuse_one();
    tick_after(999);
    assert_lingers(true);
    assert_lingers_no_more(); /* without a byte */
    close(client);
    refuse_one();
    for (int i = 0; i < 2; i++) {
        tick_after(900);
        write_text(client, "x");
        assert_lingers(true);
    }
    tick_after(699);
    assert_lingers(true);
    assert_lingers_no_more(); /* in all */
    close(client);
    client = -1;
    serve_another();
}

/* ... and up to an amount. */
static void test_lingering_discards_so_much(void **state)
{
    (void)state;
    config.max_linger_bytes = 1000;
    refuse_one();
    memset(text, 'x', sizeof(text));
    assert_int_equal(write(client, text, 999), 999);
    assert_lingers(true);
    assert_int_equal(write(client, text, 1), 1);
    assert_lingers(true);
    assert_int_equal(write(client, text, 1), 1);
    await_descriptors(descriptors + 1);
    serve_another();
}

/* The client is gone: there is nobody to linger for. */
static void test_shutdown_fails(void **state)
{
    (void)state;
    client = connect_client();
    failing_shutdown = fail_next(1, ENOTCONN);
    write_text(client, "BREW / HTTP/1.1\r\n\r\n");
    await_failures(&failing_shutdown);
    assert_int_equal(open_descriptors(), descriptors + 1);
    assert_int_equal(context.slot->counters.requests_finished, 1);
    serve_another();
}

static void test_refusals_are_logged(void **state)
{
    (void)state;
    refuse_one();
    assert_int_equal(count_in_log("[info] "), 1);
    assert_int_equal(count_in_log("refused a request of 127.0.0.1:"), 1);
    assert_int_equal(count_in_log(" with 501: "), 1);
}

/* ---- The worker itself ---- */

/* What a new worker needs and does not get is reported; nothing of it stays. */
static void test_worker_cannot_be_made(void **state)
{
    (void)state;
    struct failing_call *const calls[] = {&failing_eventfd, &failing_config, &failing_base};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        *calls[i] = fail_next(1, EMFILE);
        assert_null(worker_create(&options));
        assert_int_equal(calls[i]->failures, 0);
        assert_int_equal(open_descriptors(), descriptors);
    }
    assert_int_equal(count_in_log("[error] "), 3);
    assert_int_equal(count_in_log("cannot make an event loop: "), 3);
    assert_int_equal(count_in_log("; raise the limit of open files\n"), 3);
    failing_eventfd = fail_after(0, 1, EMFILE);
    failing_base = fail_next(1, EMFILE);
    assert_null(worker_create(&options)); /* both */
    assert_int_equal(open_descriptors(), descriptors);
}

/* Better to end, and be replaced, than to spin. */
static void test_loop_fails(void **state)
{
    (void)state;
    failing_loop = fail_next(1, ENOMEM);
    worker_run(worker);
    assert_int_equal(failing_loop.failures, 0);
    assert_int_equal(count_in_log("the event loop failed: Cannot allocate memory\n"), 1);
    serve_another(); /* nothing else is broken */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_out_of_descriptors),
        TEST(test_order_of_leaving),
        TEST(test_newcomers_have_a_chance),
        TEST(test_who_only_connects_pushes_nobody_out),
        TEST(test_head_that_stands_still),
        TEST(test_silence_that_has_just_ended),
        TEST(test_lingering_makes_room),
        TEST(test_descriptors_are_freed),
        TEST(test_client_left_the_queue),
        TEST(test_socket_was_shut_down),
        TEST(test_full_over_ticks),
        TEST(test_refused_connections_are_logged),
        TEST(test_a_busy_connection_keeps_its_place),
        TEST(test_nothing_to_receive),
        TEST(test_reset_within_a_request),
        TEST(test_send_is_blocked),
        TEST(test_continue_is_blocked),
        TEST(test_request_behind_a_blocked_answer),
        TEST(test_a_client_that_takes_nothing),
        TEST(test_send_fails),
        TEST(test_input_behind_the_last_request),
        TEST(test_lingering),
        TEST(test_lingering_has_an_end),
        TEST(test_lingering_discards_so_much),
        TEST(test_shutdown_fails),
        TEST(test_refusals_are_logged),
        TEST(test_worker_cannot_be_made),
        TEST(test_loop_fails),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("failing_calls", tests, NULL, NULL);
}
