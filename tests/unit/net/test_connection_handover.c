/* Connections that move from one worker to another. Both run on one thread, turn by turn, under a
 * clock that stands still. */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"
#include "tests/unit/failing_call.h"
#include "tests/unit/listen_at.h"
#include "tests/unit/open_descriptors.h"
#include "tests/unit/patience.h"

#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { LONG_MS = 60000, TEXT_BYTES = 4096, START_MS = 1000000, CLIENTS = 3 };
enum { OLD, NEW, WORKERS };

static struct failing_call failing_sendmsg;
static uint64_t clock_ms;

WRAPPED(ssize_t, sendmsg, int fd, const struct msghdr *message, int flags)
{
    return fails_now(&failing_sendmsg) ? -1 : __real_sendmsg(fd, message, flags);
}

WRAPPED(uint64_t, clock_monotonic_ns, void)
{
    return clock_ms * 1000000;
}

/* ---- Fixture ---- */

static struct config config;
static struct router *router;
static struct scoreboard *scoreboard;
static struct handler_context contexts[WORKERS];
static struct listener listeners[WORKERS];
static struct worker *workers[WORKERS];
static int inboxes[WORKERS]; /* two ends of a pair: what is sent to one arrives in the other */
static int clients[CLIENTS];
static size_t descriptors; /* with the clients connected */
static int ticks;
static struct http_exchange *taken; /* by the pool that one test stands for */
static char text[TEXT_BYTES];

static void say(const struct http_request *request, struct http_response *response,
                struct handler_context *context, void *data)
{
    (void)context;
    (void)data;
    response->content_type = "text/plain";
    buffer_append_span(&response->text, request->path);
}

static enum dispatch_result dispatch(void *data, struct http_exchange *exchange)
{
    (void)data;
    if (!span_equal(exchange->request.path, SPAN("/away"))) {
        return DISPATCH_INLINE;
    }
    taken = exchange;
    return DISPATCH_TAKEN;
}

static void on_tick(const void *data, struct worker *worker, uint32_t slot_index)
{
    assert_ptr_equal(data, &ticks);
    assert_ptr_equal(worker, workers[slot_index]);
    ticks++;
}

static void make_worker(uint32_t i)
{
    struct error error;
    assert_true(listen_at(&listeners[i], "127.0.0.1:0", false, 1, &error));
    contexts[i] = (struct handler_context){.slot = &scoreboard->slots[i], .slot_index = i};
    slot_enter(contexts[i].slot, i, 1, SLOT_LOOP);
    workers[i] = worker_create(&(struct worker_options){
        .config = &config,
        .router = router,
        .context = &contexts[i],
        .listen_fds = {listener_fd(&listeners[i], 0)},
        .listen_count = 1,
        .may_shut_down = may_always_shut_down,
        .access_log_fd = -1,
        .max_connections = 1000,
        .rebalance = on_tick,
        .rebalance_data = &ticks,
        .inbox_fd = inboxes[i],
        .dispatch = {.take = dispatch},
    });
    assert_non_null(workers[i]);
}

/* One thread plays all of them. */
static void turn(uint32_t i)
{
    slot_enter(contexts[i].slot, i, 1, SLOT_LOOP);
    slot_set_state(contexts[i].slot, SLOT_READY);
    handler_context_next_turn(&contexts[i]);
    assert_true(event_base_loop(worker_event_base(workers[i]), EVLOOP_NONBLOCK | EVLOOP_ONCE) >= 0);
}

static int connect_client(void)
{
    const struct endpoint *to = &listeners[OLD].bound;
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &to->address.any, to->bytes), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    return fd;
}

static void write_text(int fd, const char *bytes)
{
    assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
}

static void send_get(int fd, const char *path)
{
    char request[256];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    write_text(fd, request);
}

/* One answer of this worker, with all of its body. Loopback delivers at once, nearly: until it has,
 * the worker is given turns. */
static void expect(uint32_t i, int fd, const char *body)
{
    char end[256];
    size_t len = 0;
    snprintf(end, sizeof(end), "\r\n\r\n%s", body);
    text[0] = '\0';
    for (int tries = 0; tries < PATIENCE_MS && strstr(text, end) == NULL; tries++) {
        turn(i);
        ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, MSG_DONTWAIT);
        len += n > 0 ? (size_t)n : 0;
        text[len] = '\0';
        usleep(n > 0 ? 0 : 1000);
    }
    assert_non_null(strstr(text, end));
    assert_memory_equal(text, "HTTP/1.1 200", 12);
}

static void get_over(uint32_t i, int fd, const char *path)
{
    send_get(fd, path);
    expect(i, fd, path);
}

static uint64_t open_of(uint32_t i)
{
    return scoreboard->slots[i].connections_open;
}

static void await_open(uint32_t i, uint64_t count)
{
    for (int tries = 0; tries < PATIENCE_MS && open_of(i) != count; tries++) {
        turn(i);
        usleep(1000);
    }
    assert_int_equal(open_of(i), count);
}

/* So much later, the worker's tick has come round. */
static void tick_after(uint32_t i, uint64_t ms)
{
    clock_ms += ms;
    int before = ticks;
    for (int tries = 0; tries < PATIENCE_MS && ticks == before; tries++) {
        turn(i);
        usleep(1000);
    }
    assert_true(ticks > before);
}

static int make(void **state)
{
    (void)state;
    failing_sendmsg = (struct failing_call){0};
    clock_ms = START_MS;
    taken = NULL;
    log_set_level(LOG_ERROR);
    config = (struct config){.max_request_line_bytes = 8192,
                             .max_header_bytes = 32768,
                             .max_headers = 100,
                             .header_timeout_ms = LONG_MS,
                             .idle_timeout_ms = LONG_MS,
                             .send_timeout_ms = LONG_MS,
                             .linger_timeout_ms = LONG_MS,
                             .max_linger_ms = LONG_MS,
                             .max_linger_bytes = 10000000,
                             .drain_timeout_ms = LONG_MS,
                             .max_connections_per_client = CLIENTS + 1};
    router = router_create();
    router_add(router, &(struct route){.methods = METHOD_BIT(METHOD_GET), .handler = say});
    scoreboard = scoreboard_create(WORKERS);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, inboxes) != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        make_worker(i);
    }
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = connect_client();
        get_over(OLD, clients[i], "/first");
    }
    descriptors = open_descriptors();
    return 0;
}

static struct histogram_copy durations_in(const struct worker_slot *slot)
{
    struct histogram_copy durations;
    histogram_read(&slot->latency.requests, &durations);
    return durations;
}

static int discard(void **state)
{
    (void)state;
    for (int i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker_slot *slot = &scoreboard->slots[i];
        worker_destroy(workers[i]);
        assert_int_equal(slot->connections_open, 0);
        assert_int_equal(slot->connections_busy, 0);
        assert_int_equal(slot->connections_idle, 0);
        assert_int_equal(slot->counters.requests_started,
                         slot->counters.requests_finished + slot->counters.requests_aborted);
        assert_int_equal(durations_in(slot).count, slot->counters.requests_finished);
        listener_close(&listeners[i]);
        close(inboxes[i]);
    }
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    log_set_level(LOG_INFO);
    return 0;
}

/* What is written to the old worker's inbox is read from the new one's. */
static uint64_t hand_over(uint64_t count)
{
    return worker_hand_over(workers[OLD], inboxes[OLD], count);
}

/* ---- Tests ---- */

static void test_as_many_as_were_asked_for(void **state)
{
    (void)state;
    assert_int_equal(hand_over(2), 2);
    assert_int_equal(open_of(OLD), 1);
    assert_int_equal(open_of(NEW), 0);
    await_open(NEW, 2);
    assert_int_equal(open_descriptors(), descriptors); /* closed here, opened there */
    assert_int_equal(scoreboard->slots[NEW].counters.connections_adopted, 2);
    assert_int_equal(scoreboard->slots[NEW].counters.connections_accepted, 0);
    assert_int_equal(scoreboard->slots[OLD].counters.connections_accepted, CLIENTS);
    for (int round = 0; round < 3; round++) {
        get_over(NEW, clients[0], "/0");
        get_over(NEW, clients[1], "/1");
        get_over(OLD, clients[2], "/2");
    }
    assert_int_equal(scoreboard->slots[NEW].counters.requests_finished, 6);
    assert_int_equal(hand_over(10), 1); /* and not more than there are */
    await_open(NEW, 3);
}

/* Where no worker has read it, it is read by whoever comes next; and all in their order. */
static void test_requests_on_the_way(void **state)
{
    (void)state;
    send_get(clients[0], "/one");
    send_get(clients[0], "/two");
    assert_int_equal(hand_over(1), 1);
    turn(OLD);
    send_get(clients[0], "/three");
    expect(NEW, clients[0], "/three");
    const char *one = strstr(text, "\r\n\r\n/one");
    const char *two = strstr(text, "\r\n\r\n/two");
    assert_true(one != NULL && two > one);
    assert_int_equal(scoreboard->slots[OLD].counters.requests_started, CLIENTS);
    assert_int_equal(scoreboard->slots[NEW].counters.requests_finished, 3);
}

static void test_back_again(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        assert_int_equal(hand_over(3), 3);
        await_open(NEW, 3);
        get_over(NEW, clients[0], "/new");
        assert_int_equal(worker_hand_over(workers[NEW], inboxes[NEW], 3), 3);
        await_open(OLD, 3);
        get_over(OLD, clients[0], "/old");
    }
    assert_int_equal(open_descriptors(), descriptors);
}

/* Nothing that a worker has begun to read, or not yet answered, goes. */
static void test_in_the_middle_of_a_request(void **state)
{
    (void)state;
    write_text(clients[0], "GET /begun HTTP/1.1\r\n");
    send_get(clients[1], "/away");
    for (int tries = 0; tries < PATIENCE_MS && taken == NULL; tries++) {
        turn(OLD);
        usleep(1000);
    }
    assert_non_null(taken);
    assert_int_equal(hand_over(3), 1);
    await_open(NEW, 1);
    get_over(NEW, clients[2], "/2");
    write_text(clients[0], "Host: a\r\n\r\n");
    expect(OLD, clients[0], "/begun");
    http_exchange_run(taken, &contexts[OLD]);
    taken->complete(taken);
    expect(OLD, clients[1], "/away");
    assert_int_equal(hand_over(3), 2);
    await_open(NEW, 3);
}

/* What is silent is no load. */
static void test_idle_ones_stay(void **state)
{
    (void)state;
    int shy = connect_client(); /* and never asks */
    await_open(OLD, CLIENTS + 1);
    tick_after(OLD, 2000);
    assert_int_equal(scoreboard->slots[OLD].connections_idle, CLIENTS + 1);
    assert_int_equal(hand_over(3), 0);
    close(shy);
    await_open(OLD, CLIENTS);
    get_over(OLD, clients[1], "/1");
    assert_int_equal(hand_over(3), 1);
    await_open(NEW, 1);
    assert_int_equal(scoreboard->slots[OLD].connections_idle, CLIENTS - 1);
    get_over(NEW, clients[1], "/1");
    get_over(OLD, clients[0], "/0");
}

/* Nobody gains time by moving. */
static void test_deadlines_go_with_it(void **state)
{
    (void)state;
    clock_ms += 900;
    assert_int_equal(hand_over(1), 1);
    await_open(NEW, 1);
    tick_after(NEW, 200); /* a second in all: idle */
    assert_int_equal(scoreboard->slots[NEW].connections_idle, 1);
    tick_after(NEW, LONG_MS - 1101);
    assert_int_equal(open_of(NEW), 1);
    tick_after(NEW, 300);
    assert_int_equal(open_of(NEW), 0);
}

/* It was let in where there was room; whoever comes anew is counted against all of them. */
static void test_counts_of_a_client(void **state)
{
    (void)state;
    config.max_connections_per_client = 1;
    assert_int_equal(hand_over(3), 3);
    await_open(NEW, 3);
    assert_int_equal(scoreboard->slots[NEW].counters.connections_refused, 0);
    assert_int_equal(hand_over(1), 0);
    close(connect_client());
    await_open(OLD, 0); /* none was left in the books there, so it is let in, and leaves */
    for (int tries = 0;
         tries < PATIENCE_MS && scoreboard->slots[OLD].counters.connections_accepted < 4; tries++) {
        turn(OLD);
        usleep(1000);
    }
    assert_int_equal(scoreboard->slots[OLD].counters.connections_accepted, 4);
    await_open(OLD, 0);
}

/* Where the queue is full or the kernel refuses, they stay and are served. */
static void test_a_call_that_fails(void **state)
{
    (void)state;
    static const int errors[] = {EAGAIN, ETOOMANYREFS};
    for (size_t i = 0; i < 2; i++) {
        failing_sendmsg = fail_after(0, 1, errors[i]);
        assert_int_equal(hand_over(3), 0);
        assert_int_equal(failing_sendmsg.failures, 0);
        assert_int_equal(open_of(OLD), CLIENTS);
    }
    failing_sendmsg = fail_after(1, 1, EAGAIN);
    assert_int_equal(hand_over(3), 1);
    await_open(NEW, 1);
    get_over(NEW, clients[0], "/0");
    get_over(OLD, clients[1], "/1");
    get_over(OLD, clients[2], "/2");
}

/* A message whose descriptor found no place is not taken for a connection. */
static void test_without_a_descriptor(void **state)
{
    (void)state;
    assert_int_equal(write(inboxes[OLD], text, 64), 64);
    assert_int_equal(hand_over(1), 1);
    await_open(NEW, 1);
    get_over(NEW, clients[0], "/0");
    assert_int_equal(open_of(NEW), 1);
}

/* Who has no descriptor left leaves them in the inbox, where they wait. */
static void test_without_a_free_descriptor(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(hand_over(2), 2);
    int lowest_free = dup(0);
    assert_true(lowest_free > 0);
    close(lowest_free);
    struct rlimit none = {(rlim_t)lowest_free, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool could = worker_take_over(workers[NEW], inboxes[NEW]);
    turn(NEW);
    turn(NEW);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_false(could);
    assert_int_equal(open_of(NEW), 0);
    tick_after(NEW, 200);
    await_open(NEW, 2);
    get_over(NEW, clients[0], "/0");
}

/* What lies in the inbox of a worker that cannot look goes to the one that asks. */
static void test_another_ones_inbox(void **state)
{
    (void)state;
    assert_int_equal(hand_over(3), 3);
    worker_take_over(workers[OLD], inboxes[NEW]);
    assert_int_equal(open_of(OLD), 3);
    turn(NEW);
    assert_int_equal(open_of(NEW), 0);
    get_over(OLD, clients[0], "/0");
}

/* The last look into the inbox, and nothing given away any more. */
static void test_draining(void **state)
{
    (void)state;
    worker_drain(workers[NEW]); /* it hears of this first */
    assert_int_equal(hand_over(2), 2);
    for (int tries = 0; tries < PATIENCE_MS && scoreboard->slots[NEW].state != SLOT_DRAINING;
         tries++) {
        turn(NEW);
        usleep(1000);
    }
    assert_int_equal(open_of(NEW), 2);
    assert_int_equal(hand_over(1), 1); /* too late: for whoever has that inbox next */
    turn(NEW);
    assert_int_equal(open_of(NEW), 2);
    worker_take_over(workers[OLD], inboxes[NEW]);
    assert_int_equal(open_of(OLD), 1);
    assert_int_equal(worker_hand_over(workers[NEW], inboxes[NEW], 2), 0);
    get_over(NEW, clients[0], "/0");
    assert_non_null(strstr(text, "Connection: close"));
    assert_int_equal(open_of(NEW), 1);
    tick_after(NEW, 1201); /* the last chance of the other one is over */
    await_open(NEW, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_as_many_as_were_asked_for),
        TEST(test_requests_on_the_way),
        TEST(test_back_again),
        TEST(test_in_the_middle_of_a_request),
        TEST(test_idle_ones_stay),
        TEST(test_deadlines_go_with_it),
        TEST(test_counts_of_a_client),
        TEST(test_a_call_that_fails),
        TEST(test_without_a_descriptor),
        TEST(test_without_a_free_descriptor),
        TEST(test_another_ones_inbox),
        TEST(test_draining),
    };
    return cmocka_run_group_tests_name("connection_handover", tests, NULL, NULL);
}
