/* A client leaves, and the process that was at work for it dies: each of its requests that had
 * begun has one line in the access log, and its handlers run where nobody waits for them. */
#include "common/base/log.h"
#include "common/net/durable.h"
#include "common/net/durable_lines.h"
#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"

#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "common/net/connection_internal.h"
#include "common/net/worker_internal.h"
#include "tests/unit/client_at.h"
#include "tests/unit/net/outliving.h"

enum {
    CONNECTIONS = 4,
    TAKEN_MOST = 4,
    LOG_BYTES = 1 << 20,
    SMALL_BUFFER_BYTES = 4608, /* no socket has a smaller one */
    BODY_BYTES = 2000,
    PIPELINE = 100
};

static struct router *router;
static struct scoreboard *scoreboard;
static struct listener listener;
static struct worker_options options;
static struct handler_context context;
static void *area, *lines_area;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char root[64];
static int client_fd, server_fd;
static struct http_exchange *taken[TAKEN_MOST]; /* by a thread that has not finished them */
static size_t taken_count;

static void say(const struct http_request *request, struct http_response *response,
                struct handler_context *own_context, void *data)
{
    static const char body[BODY_BYTES] = "";
    (void)request;
    (void)own_context;
    (void)data;
    response->content_type = "text/plain";
    response->body = (struct span){body, sizeof(body)};
}

static enum dispatch_result take(void *data, struct http_exchange *exchange)
{
    (void)data;
    assert_true(taken_count < TAKEN_MOST);
    taken[taken_count++] = exchange;
    return DISPATCH_TAKEN;
}

/* ---- The fixture ---- */

static int make(void **state)
{
    (void)state;
    struct error error;
    log_set_level(LOG_ERROR);
    strcpy(root, "/tmp/twinhttpd-test-leaving-XXXXXX");
    assert_non_null(mkdtemp(root));
    router = router_create();
    router_add(router, &(struct route){.methods = METHOD_BIT(METHOD_GET), .handler = say});
    scoreboard = scoreboard_create(1);
    area = outliving_map(durable_area_bytes(CONNECTIONS));
    lines_area = outliving_map(durable_lines_area_bytes());
    taken_count = 0;
    return !listen_at(&listener, "127.0.0.1:0", false, 1, &error);
}

static int discard(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    munmap(area, durable_area_bytes(CONNECTIONS));
    munmap(lines_area, durable_lines_area_bytes());
    listener_close(&listener);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    return system(command);
}

static const char *log_path(void)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/access.log", root);
    return path;
}

static struct worker *make_worker(uint32_t generation)
{
    int log_fd = open(log_path(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    assert_true(log_fd >= 0);
    context = (struct handler_context){.slot = &scoreboard->slots[0]};
    options = (struct worker_options){.config = &outliving_config,
                                      .router = router,
                                      .context = &context,
                                      .access_log_fd = log_fd,
                                      .max_connections = CONNECTIONS,
                                      .dispatch = {.take = take},
                                      .durable = durable_open(area, CONNECTIONS, generation),
                                      .durable_lines = durable_lines_open(lines_area, generation),
                                      .access_log_turn = &turn};
    slot_enter(context.slot, 0, generation, SLOT_LOOP);
    struct worker *worker = worker_create(&options);
    assert_non_null(worker);
    return worker;
}

static void destroy_worker(struct worker *worker)
{
    worker_destroy(worker);
    durable_close(options.durable);
    durable_lines_close(options.durable_lines);
    close(options.access_log_fd);
}

static void connect_pair(int buffer_bytes)
{
    client_fd = outliving_connect(&listener, buffer_bytes);
    server_fd = outliving_accept(&listener);
    if (buffer_bytes > 0) {
        setsockopt(server_fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
    }
}

static void take_a_turn(struct worker *worker)
{
    assert_in_range(event_base_loop(worker_event_base(worker), EVLOOP_NONBLOCK), 0, 1);
}

/* The other thread has done what it has taken. */
static void finish_taken(struct worker *worker)
{
    struct http_exchange *exchange = taken[--taken_count];
    http_exchange_run(exchange, &context);
    exchange->complete(exchange);
    connection_complete_all(&worker->loop);
}

/* How often the log tells of the request with this number. */
static unsigned lines_of(const char *text, unsigned number)
{
    char name[32];
    unsigned count = 0;
    snprintf(name, sizeof(name), "\"GET /?%u HTTP/1.1\"", number);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at++) {
        count++;
    }
    return count;
}

static const char *read_log(void)
{
    static char text[LOG_BYTES];
    int fd = open(log_path(), O_RDONLY | O_CLOEXEC);
    ssize_t bytes = read(fd, text, LOG_BYTES - 1);
    assert_true(fd >= 0 && bytes >= 0);
    close(fd);
    text[bytes] = '\0';
    return text;
}

static void check_one_line_each(unsigned requests)
{
    const char *text = read_log();
    for (unsigned i = 1; i <= requests; i++) {
        if (lines_of(text, i) != 1) {
            fail_msg("%u lines of request %u of %u", lines_of(text, i), i, requests);
        }
    }
    assert_int_equal(lines_of(text, requests + 1), 0);
}

/* ---- Who goes on ---- */

static struct worker *adopt(uint32_t generation, const struct worker_end *end)
{
    struct worker *worker = make_worker(generation);
    atomic_store(&scoreboard->slots[0].connections_open, 0); /* as the master does */
    size_t cursor = 0;
    uint32_t of_generation;
    int fd;
    struct durable_record *record = durable_next(options.durable, &cursor, &of_generation, &fd);
    assert_non_null(record);
    assert_null(durable_next(options.durable, &cursor, &of_generation, &fd));
    assert_true(connection_adopt(&worker->loop, record, dup(server_fd), end));
    worker_settle_log(worker);
    return worker;
}

static void finish_all(struct worker *worker)
{
    take_a_turn(worker);
    while (taken_count > 0) {
        finish_taken(worker);
    }
    assert_int_equal(worker->loop.connection_count, 0);
    assert_int_equal(atomic_load(&scoreboard->slots[0].connections_open), 0);
    destroy_worker(worker);
    close(server_fd);
}

/* ---- Two requests have begun, and the first one is answered ---- */

static void leave_two(void)
{
    static const char text[] =
        "GET /?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /?2 HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buffer input = {0};
    connect_pair(0);
    assert_int_equal(send(client_fd, text, sizeof(text) - 1, 0), sizeof(text) - 1);
    struct durable *durable = durable_open(area, CONNECTIONS, 1);
    struct durable_record *record = durable_enter(durable, server_fd, 0);
    assert_true(durable_input_take(durable, record, 0, 4096, &input));
    assert_int_equal(recv(server_fd, input.data, sizeof(text) - 1, MSG_WAITALL), sizeof(text) - 1);
    durable_begin(record, 0);
    durable_answered(record);
    durable_begin(record, 3000);
    durable_close(durable);
    outliving_reset(client_fd);
    client_fd = -1;
}

static void test_handlers_run_elsewhere(void **state)
{
    (void)state;
    leave_two();
    struct worker *worker = adopt(2, &outliving_killed);
    assert_int_equal(taken_count, 0); /* the process is to be ready before */
    take_a_turn(worker);
    assert_int_equal(taken_count, 1);
    assert_string_equal(read_log(), "");
    finish_all(worker);
    check_one_line_each(2);
    assert_int_equal(strncmp(read_log(), "127.0.0.1 - - ", 14), 0);
}

/* Runs it in a process of its own, which dies then, and in which the client is. */
static void in_another_process(void (*live)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        live();
        _exit(0);
    }
    close(client_fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void begin_to_see_off(void)
{
    struct worker *worker = adopt(2, &outliving_killed);
    take_a_turn(worker);
    finish_taken(worker);
    assert_int_equal(taken_count, 1); /* the next one */
    access_log_flush(worker->loop.access_log);
}

static void test_who_sees_off_dies(void **state)
{
    (void)state;
    leave_two();
    in_another_process(begin_to_see_off);
    finish_all(adopt(3, &outliving_killed));
    check_one_line_each(2);
}

/* It was at work when its process crashed. */
static void test_a_culprit_does_not_run_again(void **state)
{
    (void)state;
    struct worker_end end = {.by_itself = true, .suspects_known = true, .suspect_count = 1};
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    leave_two();
    assert_int_equal(getsockopt(server_fd, SOL_SOCKET, SO_PEERNAME, &address, &bytes), 0);
    snprintf(end.suspects[0], sizeof(end.suspects[0]), "127.0.0.1:%u", ntohs(address.sin_port));
    struct worker *worker = adopt(2, &end);
    take_a_turn(worker);
    assert_int_equal(taken_count, 1);
    finish_all(worker);
    check_one_line_each(2);
    assert_non_null(strstr(read_log(), "\"GET /?2 HTTP/1.1\" 500 0 "));
}

/* ---- It leaves while another thread works for it, and answers wait to be sent ---- */

static struct connection *the_connection(struct worker *worker)
{
    struct connection *c = TAILQ_FIRST(&worker->loop.places[PLACE_IN_USE]);
    assert_non_null(c);
    return c;
}

/* Answers until the client takes no more and one request is at work. Returns its number. */
static unsigned answer_until_blocked(struct worker *worker)
{
    struct client_address client = client_at("127.0.0.1", 1);
    unsigned requests = 1;
    connection_create(&worker->loop, server_fd, &client);
    struct connection *c = the_connection(worker);
    while (!c->sending) {
        assert_int_equal(taken_count, 1);
        finish_taken(worker);
        requests++;
    }
    assert_int_equal(c->phase, PHASE_HANDLING);
    assert_true(requests < PIPELINE);
    return requests;
}

static void ask_many(void)
{
    connect_pair(SMALL_BUFFER_BYTES);
    for (int i = 1; i <= PIPELINE; i++) {
        char text[64];
        int bytes = snprintf(text, sizeof(text), "GET /?%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
        assert_int_equal(send(client_fd, text, (size_t)bytes, 0), bytes);
    }
}

static void leave_and_be_noticed(struct worker *worker)
{
    struct connection *c = the_connection(worker);
    outliving_reset(client_fd);
    while (!c->doomed) {
        assert_in_range(event_base_loop(worker_event_base(worker), EVLOOP_ONCE), 0, 1);
    }
}

static void test_who_leaves_has_lines(void **state)
{
    (void)state;
    ask_many();
    struct worker *worker = make_worker(1);
    unsigned requests = answer_until_blocked(worker);
    leave_and_be_noticed(worker);
    finish_taken(worker);
    assert_int_equal(worker->loop.connection_count, 0);
    destroy_worker(worker);
    check_one_line_each(requests);
}

static unsigned *requests_begun; /* in memory that both share */

static void live_until_the_client_leaves(void)
{
    struct worker *worker = make_worker(1);
    *requests_begun = answer_until_blocked(worker);
    leave_and_be_noticed(worker);
    access_log_flush(worker->loop.access_log);
}

static void test_who_leaves_has_lines_after_a_death(void **state)
{
    (void)state;
    requests_begun = outliving_map(sizeof(*requests_begun));
    ask_many();
    in_another_process(live_until_the_client_leaves);
    finish_all(adopt(2, &outliving_killed));
    check_one_line_each(*requests_begun);
    munmap(requests_begun, sizeof(*requests_begun));
}

/* ---- One that was answered for the last time ---- */

static void test_who_lingers_is_not_open(void **state)
{
    (void)state;
    static const char text[] = "GET /?1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct buffer input = {0};
    connect_pair(0);
    assert_int_equal(send(client_fd, text, sizeof(text) - 1, 0), sizeof(text) - 1);
    struct durable *durable = durable_open(area, CONNECTIONS, 1);
    struct durable_record *record = durable_enter(durable, server_fd, 0);
    assert_true(durable_input_take(durable, record, 0, 4096, &input));
    assert_int_equal(recv(server_fd, input.data, sizeof(text) - 1, MSG_WAITALL), sizeof(text) - 1);
    durable_begin(record, 0);
    durable_answered(record);
    durable_sending(record, 2, &(struct durable_offer){.digest = 7, .closes = true});
    assert_int_equal(send(server_fd, "ok", 2, 0), 2);
    durable_sent(record, sizeof(text) - 1, 2, true);
    durable_close(durable);
    struct worker *worker = adopt(2, &outliving_killed);
    assert_int_equal(worker->loop.connection_count, 1);
    assert_non_null(TAILQ_FIRST(&worker->loop.places[PLACE_LINGERING]));
    assert_int_equal(atomic_load(&scoreboard->slots[0].connections_open), 0);
    destroy_worker(worker);
    close(server_fd);
    close(client_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_handlers_run_elsewhere, make, discard),
        cmocka_unit_test_setup_teardown(test_who_sees_off_dies, make, discard),
        cmocka_unit_test_setup_teardown(test_a_culprit_does_not_run_again, make, discard),
        cmocka_unit_test_setup_teardown(test_who_leaves_has_lines, make, discard),
        cmocka_unit_test_setup_teardown(test_who_leaves_has_lines_after_a_death, make, discard),
        cmocka_unit_test_setup_teardown(test_who_lingers_is_not_open, make, discard),
    };
    return cmocka_run_group_tests_name("leaving", tests, NULL, NULL);
}
