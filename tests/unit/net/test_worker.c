/* worker.c and connection.c together, over real sockets, with stub handlers and a stub of what a
 * process model decides. */
#include "common/net/worker.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/file_cache.h"
#include "common/scoreboard/scoreboard.h"
#include "tests/unit/listen_at.h"
#include "tests/unit/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "common/net/connection_internal.h"
#include "tests/unit/failing_check.h"

enum {
    TAKEN_MAX = 16,
    BIG_BYTES = 3 << 20,
    MEDIUM_BYTES = 60000,
    SHORT_BYTES = 3900, /* two of them do not fill an output, and do not fit between both ends */
    TEXT_BYTES = 3 << 19,
    FILE_BYTES = 1 << 20,
    SMALL_WINDOW_BYTES = 2048,
    LONG_MS = 60000,
    SOON_MS = 500, /* before a connection is idle, or its last chance is over */
    A_WHILE_NS = 20000000
};

static struct config config;
static struct router *router;
static struct scoreboard *scoreboard;
static struct handler_context context;
static struct listener listener;
static bool others_serve; /* at its sockets, too */
static struct worker *worker;
static struct worker_options options;
static pthread_t thread;
static bool running;
static char *big;
static char root[64]; /* of the files, where there are any */
static int root_fd;
static struct document_root *document_root;

/* ---- What the worker calls ---- */

static pthread_mutex_t taken_lock = PTHREAD_MUTEX_INITIALIZER;
static struct http_exchange *taken[TAKEN_MAX];
static size_t taken_count;
static _Atomic bool may_accept_answer;
static sem_t let_go;

static void say(const struct http_request *request, struct http_response *response,
                struct handler_context *own_context, void *data)
{
    (void)own_context;
    (void)data;
    response->content_type = "text/plain";
    buffer_append_span(&response->text, request->path);
    if (request->query.len > 0) {
        buffer_printf(&response->text, "?%.*s", (int)request->query.len, request->query.ptr);
    }
}

static void echo(const struct http_request *request, struct http_response *response,
                 struct handler_context *own_context, void *data)
{
    (void)own_context;
    (void)data;
    response->body = (struct span){request->body.data, request->body.len};
}

/* As many bytes as data says. */
static void lend(const struct http_request *request, struct http_response *response,
                 struct handler_context *own_context, void *data)
{
    (void)request;
    (void)own_context;
    response->body = (struct span){big, (size_t)(uintptr_t)data};
}

static void write_long(const struct http_request *request, struct http_response *response,
                       struct handler_context *own_context, void *data)
{
    (void)request;
    (void)own_context;
    (void)data;
    buffer_append(&response->text, big, TEXT_BYTES);
}

static void put_file(struct http_response *response, struct file_cache *files, uint64_t turn)
{
    struct file_entry *file;
    if (file_cache_open(files, SPAN("/file"), turn, 1, &file) != FILE_FOUND) {
        http_response_error(response, 404);
        return;
    }
    response->file = file;
    response->file_bytes = file->size_bytes;
}

static void serve_file(const struct http_request *request, struct http_response *response,
                       struct handler_context *own_context, void *data)
{
    (void)request;
    (void)data;
    put_file(response, own_context->files, own_context->turn);
}

/* The descriptors that connections were given away with; -1: it came to nothing. */
static _Atomic int given_fd;
static _Atomic uint64_t given_count;

static void take_connection(void *data, int fd)
{
    assert_ptr_equal(data, &given_fd);
    atomic_store(&given_fd, fd);
    atomic_fetch_add(&given_count, 1);
}

/* "/stream" has the head alone, "/stream?x" a short body, "/stream?big" a long one. */
static void stream(const struct http_request *request, struct http_response *response,
                   struct handler_context *own_context, void *data)
{
    (void)own_context;
    (void)data;
    response->content_type = "text/event-stream";
    if (span_equal(request->query, SPAN("big"))) {
        buffer_append(&response->text, big, TEXT_BYTES);
    } else if (request->query.len > 0) {
        buffer_append_span(&response->text, request->query);
    }
    http_response_detach(response, take_connection, &given_fd);
}

/* "/away..." is taken, "/full" finds no room, the rest stays. */
static enum dispatch_result dispatch(void *data, struct http_exchange *exchange)
{
    struct span path = exchange->request.path;
    if (data != &taken_count || span_equal(path, SPAN("/full"))) {
        return DISPATCH_FULL;
    }
    if (path.len < 5 || memcmp(path.ptr, "/away", 5) != 0) {
        return DISPATCH_INLINE;
    }
    pthread_mutex_lock(&taken_lock);
    taken[taken_count++ % TAKEN_MAX] = exchange;
    pthread_mutex_unlock(&taken_lock);
    return DISPATCH_TAKEN;
}

/* Keeps the loop busy until the test lets it go. */
static void block(const struct http_request *request, struct http_response *response,
                  struct handler_context *own_context, void *data)
{
    (void)request;
    (void)own_context;
    response->content_type = "text/plain";
    while (sem_wait(data) != 0) {
    }
}

static bool may_accept(const void *data, uint32_t slot_index)
{
    (void)data;
    (void)slot_index;
    return atomic_load(&may_accept_answer);
}

/* ---- The fixture ---- */

static int make(void **state)
{
    (void)state;
    struct error error;
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
    router_add(router, &(struct route){.path = "/echo",
                                       .methods = METHOD_BIT(METHOD_POST),
                                       .wants_body = true,
                                       .handler = echo});
    router_add(router, &(struct route){.path = "/big",
                                       .methods = get,
                                       .handler = lend,
                                       .data = (void *)(uintptr_t)BIG_BYTES});
    router_add(router, &(struct route){.path = "/medium",
                                       .methods = get,
                                       .handler = lend,
                                       .data = (void *)(uintptr_t)MEDIUM_BYTES});
    router_add(router, &(struct route){.path = "/short",
                                       .methods = get,
                                       .handler = lend,
                                       .data = (void *)(uintptr_t)SHORT_BYTES});
    router_add(router, &(struct route){.path = "/text", .methods = get, .handler = write_long});
    router_add(router, &(struct route){
                           .path = "/block", .methods = get, .handler = block, .data = &let_go});
    router_add(router, &(struct route){.path = "/file", .methods = get, .handler = serve_file});
    router_add(router, &(struct route){.path = "/stream", .methods = get, .handler = stream});
    scoreboard = scoreboard_create(1);
    context = (struct handler_context){.slot = &scoreboard->slots[0]};
    options = (struct worker_options){.config = &config,
                                      .router = router,
                                      .context = &context,
                                      .access_log_fd = -1,
                                      .max_connections = 1000,
                                      .dispatch = {.take = dispatch, .data = &taken_count}};
    taken_count = 0;
    atomic_store(&given_count, 0);
    running = false;
    others_serve = false;
    return !listen_at(&listener, "127.0.0.1:0", false, 1, &error);
}

static void *run(void *argument)
{
    slot_enter(context.slot, 0, 1, SLOT_LOOP);
    slot_set_state(context.slot, SLOT_READY);
    worker_run(argument);
    return NULL;
}

/* Begins to serve, with the options and the config as they are now. */
static void serve(void)
{
    options.listen_fds[0] = listener_fd(&listener, 0);
    options.listen_count = 1;
    options.may_shut_down = others_serve ? NULL : may_always_shut_down;
    worker = worker_create(&options);
    assert_non_null(worker);
    assert_int_equal(pthread_create(&thread, NULL, run, worker), 0);
    running = true;
}

/* For worker_run to return by itself. */
static void join(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    assert_int_equal(pthread_timedjoin_np(thread, NULL, &until), 0);
    running = false;
}

static void destroy_worker(void)
{
    worker_destroy(worker);
    worker = NULL;
}

static struct histogram_copy durations(void)
{
    struct histogram_copy copy;
    histogram_read(&context.slot->latency.requests, &copy);
    return copy;
}

static struct histogram_copy turns(void)
{
    struct histogram_copy copy;
    histogram_read(&context.slot->latency.turns, &copy);
    return copy;
}

static int discard(void **state)
{
    (void)state;
    if (running) {
        worker_stop(worker);
        join();
    }
    if (worker != NULL) {
        destroy_worker();
    }
    assert_int_equal(context.slot->connections_open, 0);
    assert_int_equal(context.slot->connections_busy, 0);
    assert_int_equal(context.slot->connections_idle, 0);
    assert_int_equal(context.slot->counters.requests_started,
                     context.slot->counters.requests_finished +
                         context.slot->counters.requests_aborted);
    assert_int_equal(durations().count, context.slot->counters.requests_finished);
    listener_close(&listener);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    return 0;
}

static int make_big(void **state)
{
    (void)state;
    big = memory_alloc(BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++) {
        big[i] = (char)('A' + i % 61 % 26);
    }
    return 0;
}

static int free_big(void **state)
{
    (void)state;
    free(big);
    return 0;
}

/* ---- Waiting ---- */

static void await_count(const _Atomic uint64_t *counter, uint64_t value)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(counter) != value) {
        if (clock_monotonic_ms() > until_ms) {
            fail_msg("still %d, not %d", (int)atomic_load(counter), (int)value);
        }
        usleep(500);
    }
}

/* The exchange that was taken as number index, from 0. */
static struct http_exchange *await_taken(size_t index)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct http_exchange *exchange = NULL;
    while (exchange == NULL) {
        pthread_mutex_lock(&taken_lock);
        if (taken_count > index) {
            exchange = taken[index % TAKEN_MAX];
        }
        pthread_mutex_unlock(&taken_lock);
        assert_true(clock_monotonic_ms() <= until_ms);
        usleep(500);
    }
    return exchange;
}

static size_t taken_so_far(void)
{
    pthread_mutex_lock(&taken_lock);
    size_t count = taken_count;
    pthread_mutex_unlock(&taken_lock);
    return count;
}

static void complete(struct http_exchange *exchange)
{
    say(&exchange->request, &exchange->response, NULL, NULL);
    exchange->complete(exchange);
}

/* ---- A client ---- */

static int connect_with(int window_bytes)
{
    const struct endpoint *to = &listener.bound;
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (window_bytes > 0) {
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window_bytes, sizeof(window_bytes)),
                         0);
    }
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, &to->address.any, to->bytes), 0);
    return fd;
}

/* Accepted sockets inherit it: with a small window at the client, little fits in between. */
static void shrink_send_buffer(void)
{
    int small = SMALL_WINDOW_BYTES;
    assert_int_equal(
        setsockopt(listener_fd(&listener, 0), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
}

static int connect_client(void)
{
    return connect_with(0);
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The close of a client that does not care: the server gets a reset. */
static void vanish(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(fd);
}

static void receive_exactly(int fd, char *out, size_t bytes)
{
    for (size_t got = 0; got < bytes;) {
        ssize_t n = recv(fd, out + got, bytes - got, 0);
        if (n <= 0) {
            fail_msg("%zu of %zu bytes came: %s", got, bytes, n == 0 ? "end" : strerror(errno));
        }
        got += (size_t)n;
    }
}

static void assert_closed(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

/* Nothing has come, after another client has been served from beginning to end. */
static void assert_silent(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
}

struct reply {
    unsigned status;
    char head[2048];
    char *body;
    size_t bytes;
};
static struct reply reply;

static void read_head(int fd)
{
    size_t len = 0;
    do {
        assert_in_range(len, 0, sizeof(reply.head) - 2);
        receive_exactly(fd, reply.head + len++, 1);
        reply.head[len] = '\0';
    } while (len < 4 || strcmp(reply.head + len - 4, "\r\n\r\n") != 0);
    assert_memory_equal(reply.head, "HTTP/1.1 ", 9);
    reply.status = (unsigned)atoi(reply.head + 9);
}

static void read_reply(int fd)
{
    read_head(fd);
    free(reply.body);
    const char *length = strstr(reply.head, "Content-Length: ");
    reply.bytes = length == NULL ? 0 : (size_t)atol(length + 16);
    reply.body = calloc(1, reply.bytes + 1);
    receive_exactly(fd, reply.body, reply.bytes);
}

static bool reply_closes(void)
{
    return strstr(reply.head, "\r\nConnection: close\r\n") != NULL;
}

static void expect(int fd, unsigned status, const char *body)
{
    read_reply(fd);
    assert_int_equal(reply.status, status);
    assert_string_equal(reply.body, body);
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"

/* Whether the worker still serves; and a whole turn of it later. */
static void assert_serves(void)
{
    int fd = connect_client();
    send_text(fd, GET("/alive"));
    expect(fd, 200, "/alive");
    vanish(fd);
}

/* ---- Requests and responses ---- */

static void test_one_after_another(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    for (int i = 0; i < 3; i++) {
        send_text(fd, GET("/a?x"));
        expect(fd, 200, "/a?x");
        assert_false(reply_closes());
    }
    assert_non_null(strstr(reply.head, "\r\nDate: "));
    close(fd);
    await_count(&context.slot->connections_open, 0);
    struct slot_counters *counters = &context.slot->counters;
    assert_int_equal(counters->requests_started, 3);
    assert_int_equal(counters->requests_finished, 3);
    assert_int_equal(counters->requests_aborted, 0);
    assert_int_equal(counters->requests_handled, 3);
    assert_int_equal(counters->connections_accepted, 1);
    assert_int_equal(counters->bytes_sent, 3 * (strlen(reply.head) + 4));
}

/* ---- How long they take ---- */

/* The books are a moment behind what the client sees. */
static struct histogram_copy await_durations(uint64_t count)
{
    struct histogram_copy copy = durations();
    for (uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS; copy.count < count;
         copy = durations()) {
        assert_true(clock_monotonic_ms() < until_ms);
        usleep(500);
    }
    assert_int_equal(copy.count, count);
    return copy;
}

/* So does everything that is said of durations here hold however slow the machine is: the worker
 * has them shorter than the client, and longer than what the client waited in between. */
static void pass_time(void)
{
    usleep(A_WHILE_NS / 1000);
}

static void test_duration(void **state)
{
    (void)state;
    serve();
    uint64_t begin_ns = clock_monotonic_ns();
    int fd = connect_client();
    send_text(fd, GET("/a"));
    expect(fd, 200, "/a");
    const struct histogram_copy copy = await_durations(1);
    assert_in_range(copy.max_ns, 1, clock_monotonic_ns() - begin_ns);
    assert_true(copy.sum_ns == copy.max_ns);
    close(fd);
}

/* From its first byte on. */
static void test_duration_of_a_request_that_comes_slowly(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                  "Expect: 100-continue\r\n\r\n");
    read_head(fd);
    assert_int_equal(reply.status, 100);
    pass_time();
    send_text(fd, "a" GET("/b") GET("/c"));
    expect(fd, 200, "a");
    expect(fd, 200, "/b");
    expect(fd, 200, "/c");
    /* The others began with the second read, and ended with the first one. */
    const struct histogram_copy copy = await_durations(3);
    assert_true(copy.max_ns >= A_WHILE_NS);
    assert_true(3 * copy.max_ns - copy.sum_ns >= 2 * (uint64_t)A_WHILE_NS);
    close(fd);
}

/* All of a batch were read at once, and wait for the first. So does the loop. */
static void test_duration_of_a_batch(void **state)
{
    (void)state;
    sem_init(&let_go, 0, 0);
    serve();
    int fd = connect_client();
    send_text(fd, GET("/block") GET("/b") GET("/c"));
    await_count(&context.slot->counters.requests_started, 1);
    pass_time();
    sem_post(&let_go);
    expect(fd, 200, "");
    expect(fd, 200, "/b");
    expect(fd, 200, "/c");
    const struct histogram_copy copy = await_durations(3);
    assert_int_equal(histogram_count_up_to(&copy, A_WHILE_NS * 7 / 8), 0);
    close(fd);
    await_count(&context.slot->connections_open, 0); /* the turn is over */
    assert_true(turns().max_ns >= A_WHILE_NS);
}

/* What another thread handles is booked by the loop, which has not been busy meanwhile. */
static void test_duration_of_what_is_taken(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/away"));
    struct http_exchange *exchange = await_taken(0);
    assert_int_equal(durations().count, 0);
    pass_time();
    complete(exchange);
    expect(fd, 200, "/away");
    assert_true(await_durations(1).max_ns >= A_WHILE_NS);
    close(fd);
}

/* Until the kernel has taken the last byte. */
static void test_duration_of_what_is_read_slowly(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    int fd = connect_with(SMALL_WINDOW_BYTES);
    send_text(fd, GET("/big"));
    read_head(fd);
    assert_int_equal(durations().count, 0);
    pass_time();
    char *body = memory_alloc(BIG_BYTES);
    receive_exactly(fd, body, BIG_BYTES);
    free(body);
    assert_true(await_durations(1).max_ns >= A_WHILE_NS);
    close(fd);
}

static void test_what_is_aborted_has_no_duration(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    int fd = connect_with(SMALL_WINDOW_BYTES);
    send_text(fd, GET("/a"));
    expect(fd, 200, "/a");
    send_text(fd, GET("/big"));
    read_head(fd);
    vanish(fd);
    await_count(&context.slot->counters.requests_aborted, 1);
    await_durations(1);
}

/* While a loop waits no turn lasts: it ticks several times a second. */
static void test_waiting_is_no_turn(void **state)
{
    (void)state;
    serve();
    struct histogram_copy copy = turns();
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    /* A few may last because the loop gets no CPU. */
    while (copy.count < 3 || histogram_percentile_ns(&copy, 1, 3) > 50000000) {
        assert_true(clock_monotonic_ms() < until_ms);
        usleep(1000);
        copy = turns();
    }
    assert_true(histogram_percentile_ns(&copy, 1, 3) >= 1);
}

/* ---- Many requests ---- */

/* More than fits into a buffer, so that requests are cut everywhere. */
static void test_pipelining(void **state)
{
    (void)state;
    enum { REQUESTS = 3000 };
    struct buffer all = {0};
    serve();
    int fd = connect_client();
    for (int i = 0; i < REQUESTS; i++) {
        buffer_printf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n%s\r\n", i,
                      i == REQUESTS - 1 ? "Connection: close\r\n" : "");
    }
    buffer_append(&all, "", 1);
    send_text(fd, all.data);
    for (int i = 0; i < REQUESTS; i++) {
        char expected[16];
        snprintf(expected, sizeof(expected), "/%d", i);
        expect(fd, 200, expected);
        assert_int_equal(reply_closes(), i == REQUESTS - 1);
    }
    assert_closed(fd);
    buffer_free(&all);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    static const char text[] =
        "\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        "\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n" GET("/end");
    int on = 1;
    serve();
    int fd = connect_client();
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
    for (const char *c = text; *c != '\0'; c++) {
        assert_int_equal(send(fd, c, 1, MSG_NOSIGNAL), 1);
    }
    expect(fd, 200, "hello");
    expect(fd, 200, "abc");
    expect(fd, 200, "/end");
    close(fd);
}

static void test_connection_wishes(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(fd, 200, "/a");
    assert_true(reply_closes());
    assert_closed(fd);
    fd = connect_client();
    send_text(fd, "GET /a HTTP/1.0\r\n\r\n");
    expect(fd, 200, "/a");
    assert_true(reply_closes());
    assert_closed(fd);
    fd = connect_client();
    send_text(fd, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(fd, 200, "/a");
    assert_non_null(strstr(reply.head, "\r\nConnection: keep-alive\r\n"));
    send_text(fd, "HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n" GET("/next"));
    read_head(fd);
    assert_non_null(strstr(reply.head, "Content-Length: 5\r\n"));
    expect(fd, 200, "/next"); /* no body came with HEAD */
    send_text(fd, GET("/last"));
    shutdown(fd, SHUT_WR); /* still wants to know */
    expect(fd, 200, "/last");
    assert_closed(fd);
}

static void test_answers_without_handler(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(
        fd, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" GET(
                "/.git") "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET("/on")
                GET("/%zz") GET("/never"));
    read_head(fd);
    assert_int_equal(reply.status, 204);
    read_reply(fd);
    assert_int_equal(reply.status, 404);
    read_reply(fd);
    assert_int_equal(reply.status, 405);
    assert_non_null(strstr(reply.head, "\r\nAllow: GET, HEAD, OPTIONS\r\n"));
    assert_false(reply_closes());
    expect(fd, 200, "/on");
    read_reply(fd); /* a target that makes no sense ends the connection */
    assert_int_equal(reply.status, 400);
    assert_true(reply_closes());
    close(fd);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned status;
    } cases[] = {
        {"\x16\x03\x01", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"BREW / HTTP/1.1\r\n", 501},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", 413},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417},
    };
    serve();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = connect_client();
        send_text(fd, GET("/before"));
        send_text(fd, cases[i].text);
        expect(fd, 200, "/before");
        read_reply(fd);
        assert_int_equal(reply.status, cases[i].status);
        assert_true(reply_closes());
        assert_int_equal(strstr(reply.head, "\r\nAllow: ") != NULL, cases[i].status == 405);
        send_text(fd, "what is still sent does not destroy the answer");
        shutdown(fd, SHUT_WR);
        assert_closed(fd);
    }
}

static void test_expect_continue(void **state)
{
    (void)state;
    static const char head[] = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                               "Expect: 100-continue\r\n\r\n";
    serve();
    int fd = connect_client();
    send_text(fd, head);
    read_head(fd);
    assert_string_equal(reply.head, "HTTP/1.1 100 Continue\r\n\r\n");
    send_text(fd, "hello");
    expect(fd, 200, "hello");
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                  "Expect: 100-continue\r\n\r\nhello"); /* did not wait */
    expect(fd, 200, "hello");
    send_text(fd, "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                  "Expect: 100-continue\r\n\r\n"); /* 405: better not to send it at all */
    read_reply(fd);
    assert_int_equal(reply.status, 405);
    assert_true(reply_closes());
    shutdown(fd, SHUT_WR);
    assert_closed(fd);
}

static void test_large_bodies(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/big") GET("/big") GET("/end"));
    for (int i = 0; i < 2; i++) {
        read_reply(fd);
        assert_int_equal(reply.bytes, BIG_BYTES);
        assert_true(memcmp(reply.body, big, BIG_BYTES) == 0);
    }
    expect(fd, 200, "/end");
    close(fd);
    await_count(&context.slot->connections_open, 0);
}

/* What the client sent goes back to it, long or short, and the next request finds nothing of it. */
static void test_large_bodies_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {4096, 4097, 60000, 100000, 1};
    char head[128];
    serve();
    int fd = connect_client();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(head, sizeof(head),
                 "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
        send_text(fd, head);
        assert_int_equal(send(fd, big, sizes[i], MSG_NOSIGNAL), sizes[i]);
        read_reply(fd);
        assert_int_equal(reply.bytes, sizes[i]);
        assert_true(memcmp(reply.body, big, sizes[i]) == 0);
    }
    close(fd);
}

/* A long text stays in memory until its reader has taken it: few may wait at a time. */
static void test_slow_readers_of_long_texts(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    int slow = connect_with(SMALL_WINDOW_BYTES), other = connect_client();
    send_text(slow, GET("/text"));
    await_count(&context.slot->connections_busy, 1);
    send_text(other, GET("/text"));
    expect(other, 503, "Service Unavailable\n");
    assert_non_null(strstr(reply.head, "\r\nRetry-After: 1\r\n"));
    assert_false(reply_closes());
    send_text(other, "HEAD /text HTTP/1.1\r\nHost: a\r\n\r\n");
    read_head(other);
    assert_int_equal(reply.status, 200);
    send_text(other, GET("/a")); /* others are not concerned: short ones, files, what was sent */
    expect(other, 200, "/a");
    send_text(other, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4097\r\n\r\n");
    assert_int_equal(send(other, big, 4097, MSG_NOSIGNAL), 4097);
    read_reply(other);
    assert_int_equal(reply.status, 200);
    read_reply(slow);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.bytes, TEXT_BYTES);
    assert_true(memcmp(reply.body, big, TEXT_BYTES) == 0);
    await_count(&context.slot->connections_busy, 0);
    send_text(other, GET("/text"));
    read_reply(other);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.bytes, TEXT_BYTES);
    /* Who leaves makes room, too. */
    send_text(slow, GET("/text"));
    await_count(&context.slot->connections_busy, 1);
    vanish(slow);
    await_count(&context.slot->connections_open, 1);
    send_text(other, GET("/text"));
    read_reply(other);
    assert_int_equal(reply.status, 200);
    close(other);
}

/* ---- Files ---- */

static int make_files(void **state)
{
    strcpy(root, "/tmp/twinhttpd-test-worker-XXXXXX");
    if (make(state) != 0 || mkdtemp(root) == NULL) {
        return -1;
    }
    root_fd = open(root, O_PATH | O_CLOEXEC);
    int fd = openat(root_fd, "file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, big, FILE_BYTES) != FILE_BYTES || close(fd) != 0) {
        return -1;
    }
    struct error error;
    document_root = document_root_open(root, &error);
    if (document_root == NULL) {
        return -1;
    }
    context.files = file_cache_create(document_root, 4, FILE_ETAG_PORTABLE);
    return 0;
}

static int discard_files(void **state)
{
    int result = discard(state);
    file_cache_destroy(context.files);
    document_root_close(document_root);
    unlinkat(root_fd, "file", 0);
    rmdir(root);
    close(root_fd);
    return result;
}

static void expect_file(int fd)
{
    read_reply(fd);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.bytes, FILE_BYTES);
    assert_true(memcmp(reply.body, big, FILE_BYTES) == 0);
}

static void test_files(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/file") GET("/a") GET("/file") GET("/file") GET("/b"));
    expect_file(fd);
    expect(fd, 200, "/a");
    expect_file(fd);
    expect_file(fd);
    expect(fd, 200, "/b");
    close(fd);
}

/* Another thread hands a file back, and more requests wait behind it: their answers must come
 * behind the file's bytes. */
static void test_requests_behind_a_file_from_elsewhere(void **state)
{
    (void)state;
    static const char *const behind[] = {GET("/inline"), GET("/full"), GET("/%zz"), "\x01"};
    static const unsigned statuses[] = {200, 503, 400, 400};
    serve();
    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        struct file_cache *files =
            file_cache_create(document_root, 4, FILE_ETAG_PORTABLE); /* of another thread */
        char text[256];
        int fd = connect_client();
        snprintf(text, sizeof(text), GET("/away") "%s", behind[i]);
        send_text(fd, text);
        struct http_exchange *exchange = await_taken(i);
        put_file(&exchange->response, files, 1);
        exchange->complete(exchange);
        expect_file(fd);
        read_reply(fd);
        assert_int_equal(reply.status, statuses[i]);
        vanish(fd);
        await_count(&context.slot->connections_open, 0);
        file_cache_destroy(files);
    }
}

/* ---- Handled elsewhere ---- */

static void test_taken(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/away?1"));
    struct http_exchange *exchange = await_taken(0);
    assert_serves();
    assert_silent(fd);
    assert_int_equal(context.slot->counters.requests_started, 2);
    await_count(&context.slot->counters.requests_finished, 1);
    await_count(&context.slot->connections_busy, 1);
    complete(exchange);
    expect(fd, 200, "/away?1");
    await_count(&context.slot->connections_busy, 0);
    send_text(fd, "GET /away?2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    complete(await_taken(1));
    expect(fd, 200, "/away?2");
    assert_closed(fd);
    assert_int_equal(context.slot->counters.requests_handled,
                     1); /* the others not by this thread */
}

/* Answers keep the order of the requests, however long one of them takes. */
static void test_order_of_answers(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/0") GET("/away1") GET("/2") GET("/full") GET("/away4") GET("/away5"));
    expect(fd, 200, "/0");
    struct http_exchange *first = await_taken(0);
    send_text(fd, GET("/6"));
    assert_serves();
    assert_silent(fd);
    assert_int_equal(taken_so_far(), 1); /* one request of a connection at a time */
    complete(first);
    expect(fd, 200, "/away1");
    expect(fd, 200, "/2");
    read_reply(fd);
    assert_int_equal(reply.status, 503);
    complete(await_taken(1));
    expect(fd, 200, "/away4");
    complete(await_taken(2));
    expect(fd, 200, "/away5");
    expect(fd, 200, "/6");
    close(fd);
}

static void test_taken_with_a_body(void **state)
{
    (void)state;
    router_add(router, &(struct route){.path = "/away-echo",
                                       .methods = METHOD_BIT(METHOD_POST),
                                       .wants_body = true,
                                       .handler = echo});
    serve();
    int fd = connect_client();
    send_text(fd, "POST /away-echo?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    await_count(&context.slot->counters.requests_started, 1); /* the rest comes later */
    send_text(fd, "llo" GET("/next"));
    struct http_exchange *exchange = await_taken(0);
    assert_true(span_equal(exchange->request.query, SPAN("q")));
    assert_true(span_equal(http_request_field(&exchange->request, HTTP_FIELD_HOST), SPAN("a")));
    echo(&exchange->request, &exchange->response, NULL, NULL);
    exchange->complete(exchange);
    expect(fd, 200, "hello");
    expect(fd, 200, "/next");
    close(fd);
}

static void test_many_complete_at_once(void **state)
{
    (void)state;
    int clients[TAKEN_MAX];
    serve();
    for (size_t i = 0; i < TAKEN_MAX; i++) {
        clients[i] = connect_client();
        send_text(clients[i], GET("/away"));
        await_taken(i);
    }
    int busy = connect_client();
    sem_init(&let_go, 0, 0);
    send_text(busy, GET("/block"));
    await_count(&context.slot->counters.requests_started, TAKEN_MAX + 1);
    for (size_t i = 0; i < TAKEN_MAX; i++) {
        complete(await_taken(TAKEN_MAX - 1 - i));
    }
    sem_post(&let_go);
    expect(busy, 200, "");
    close(busy);
    for (size_t i = 0; i < TAKEN_MAX; i++) {
        expect(clients[i], 200, "/away");
        close(clients[i]);
    }
}

static void test_full(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/full") GET("/next"));
    expect(fd, 503, "Service Unavailable\n");
    assert_non_null(strstr(reply.head, "\r\nRetry-After: 1\r\n"));
    assert_false(reply_closes());
    expect(fd, 200, "/next");
    close(fd);
}

/* The client is gone before its request has been handled elsewhere. */
static void test_client_leaves_meanwhile(void **state)
{
    (void)state;
    serve();
    for (size_t i = 0; i < 4; i++) {
        int fd = connect_client();
        send_text(fd, i % 2 == 0 ? GET("/away") : GET("/away") GET("/more"));
        struct http_exchange *exchange = await_taken(i);
        if (i < 2) {
            vanish(fd);
        } else {
            close(fd);
        }
        assert_serves();
        complete(exchange);
        await_count(&context.slot->connections_open, 0);
    }
    assert_serves();
}

/* Sending an earlier answer fails while a later request is handled elsewhere: nobody may touch
 * that request, and nothing may be left when it comes back. */
static void test_doomed(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    for (size_t i = 0; i < 3; i++) {
        struct slot_counters *counters = &context.slot->counters;
        uint64_t aborted = counters->requests_aborted;
        int fd = connect_with(SMALL_WINDOW_BYTES);
        send_text(fd, GET("/short") GET("/short") GET("/away") GET("/never"));
        struct http_exchange *exchange = await_taken(i);
        vanish(fd);
        assert_serves(); /* the loop has seen it by now */
        await_count(&context.slot->connections_open, 1);
        assert_int_equal(counters->requests_aborted, aborted);
        assert_true(span_equal(exchange->request.path, SPAN("/away")));
        assert_int_equal(http_request_text(&exchange->request, exchange->request.line).ptr[0], 'G');
        complete(exchange);
        await_count(&context.slot->connections_open, 0);
        await_count(&counters->requests_aborted, aborted + 3);
    }
    assert_serves();
}

/* A request comes back while an earlier answer is still being sent. */
static void test_complete_while_blocked(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    int fd = connect_with(SMALL_WINDOW_BYTES);
    for (size_t i = 0; i < 2; i++) {
        send_text(fd, GET("/short") GET("/short") GET("/away") GET("/next"));
        struct http_exchange *exchange = await_taken(i);
        assert_serves();
        complete(exchange);
        assert_serves();
        for (int n = 0; n < 2; n++) {
            read_reply(fd);
            assert_int_equal(reply.bytes, SHORT_BYTES);
            assert_true(memcmp(reply.body, big, SHORT_BYTES) == 0);
        }
        expect(fd, 200, "/away");
        expect(fd, 200, "/next");
    }
    close(fd);
    await_count(&context.slot->connections_open, 0);
}

static void test_doomed_at_the_stop(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    int fd = connect_with(SMALL_WINDOW_BYTES);
    send_text(fd, GET("/short") GET("/short") GET("/away"));
    await_taken(0);
    vanish(fd);
    assert_serves(); /* teardown stops, and looks at what is left */
}

/* ---- Connections that are given away ---- */

static int await_given(uint64_t count)
{
    await_count(&given_count, count);
    return atomic_load(&given_fd);
}

/* What comes behind the head is the taker's. */
static void test_given_away(void **state)
{
    (void)state;
    char text[5] = "";
    serve();
    int fd = connect_client();
    send_text(fd, GET("/before") GET("/stream") "nobody reads this");
    expect(fd, 200, "/before");
    read_head(fd);
    assert_int_equal(reply.status, 200);
    assert_true(reply_closes());
    assert_null(strstr(reply.head, "Content-Length"));
    assert_null(strstr(reply.head, "Transfer-Encoding"));
    assert_non_null(strstr(reply.head, "Content-Type: text/event-stream"));
    int given = await_given(1);
    await_count(&context.slot->connections_open, 0);
    assert_int_equal(context.slot->counters.requests_finished, 2);
    assert_true((fcntl(given, F_GETFL) & O_NONBLOCK) != 0);
    assert_serves();
    send_text(given, "mine");
    receive_exactly(fd, text, 4);
    assert_string_equal(text, "mine");
    close(given);
    assert_closed(fd);
    assert_int_equal(atomic_load(&given_count), 1);
}

static void test_given_away_behind_a_body(void **state)
{
    (void)state;
    char text[6] = "";
    serve();
    int fd = connect_client();
    send_text(fd, GET("/stream?first"));
    read_head(fd);
    receive_exactly(fd, text, 5);
    assert_string_equal(text, "first");
    close(await_given(1));
    assert_closed(fd);
}

/* Not before the last byte of it has been given to the kernel. */
static void test_given_away_behind_a_slow_reader(void **state)
{
    (void)state;
    char *received = memory_alloc(TEXT_BYTES);
    shrink_send_buffer();
    serve();
    int fd = connect_with(SMALL_WINDOW_BYTES);
    send_text(fd, GET("/stream?big"));
    assert_serves();
    assert_int_equal(atomic_load(&given_count), 0);
    read_head(fd);
    receive_exactly(fd, received, TEXT_BYTES);
    assert_memory_equal(received, big, TEXT_BYTES);
    close(await_given(1));
    assert_closed(fd);
    free(received);
}

static void test_not_given_away(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    int fd = connect_client();
    send_text(fd, "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    read_head(fd);
    assert_true(reply_closes());
    shutdown(fd, SHUT_WR);
    assert_closed(fd);
    assert_int_equal(await_given(1), -1);
    fd = connect_with(SMALL_WINDOW_BYTES); /* its client leaves */
    send_text(fd, GET("/stream?big"));
    read_head(fd);
    vanish(fd);
    assert_int_equal(await_given(2), -1);
}

static void test_not_given_away_at_the_stop(void **state)
{
    (void)state;
    shrink_send_buffer();
    serve();
    int fd = connect_with(SMALL_WINDOW_BYTES);
    send_text(fd, GET("/stream?big"));
    read_head(fd);
    worker_stop(worker);
    join();
    destroy_worker();
    assert_int_equal(await_given(1), -1);
    close(fd);
}

/* ---- Time ---- */

/* A client that sends this; again if it got no CPU in time, and was cut without an answer because
 * it had asked nothing. */
static int connect_in_time(const char *text, bool (*is_received)(int fd))
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    for (;;) {
        int fd = connect_client();
        if (send(fd, text, strlen(text), MSG_NOSIGNAL) > 0 && is_received(fd)) {
            return fd;
        }
        close(fd);
        assert_true(clock_monotonic_ms() < until_ms);
    }
}

static bool is_answered(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK) == 1;
}

static bool is_taken(int fd)
{
    char byte;
    while (taken_so_far() == 0) {
        ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n >= 0 || errno != EAGAIN) {
            return false;
        }
        usleep(500);
    }
    return true;
}

static void test_slow_head(void **state)
{
    (void)state;
    config.header_timeout_ms = 50;
    serve();
    int away = connect_in_time(GET("/away"), is_taken);
    struct http_exchange *exchange = await_taken(0);
    int silent = connect_client();
    int slow = connect_in_time("GET / HTTP/1.1\r\nHost:", is_answered);
    expect(slow, 408, "Request Timeout\n");
    assert_true(reply_closes());
    shutdown(slow, SHUT_WR);
    assert_closed(slow);
    assert_closed(silent); /* asked nothing: gets no answer */
    complete(exchange);    /* a complete request takes as long as it takes */
    expect(away, 200, "/away");
    close(away);
}

static void test_slow_body(void **state)
{
    (void)state;
    config.body_timeout_ms = 50;
    serve();
    int fd = connect_client();
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    expect(fd, 408, "Request Timeout\n");
    shutdown(fd, SHUT_WR);
    assert_closed(fd);
}

static void test_idle_timeout(void **state)
{
    (void)state;
    config.idle_timeout_ms = 50;
    serve();
    int away = connect_client();
    send_text(away, GET("/away"));
    struct http_exchange *exchange = await_taken(0);
    int fd = connect_client();
    send_text(fd, GET("/a"));
    expect(fd, 200, "/a");
    assert_closed(fd);
    complete(exchange); /* a request takes as long as it takes */
    expect(away, 200, "/away");
    assert_closed(away);
}

static void test_client_that_does_not_read(void **state)
{
    (void)state;
    config.send_timeout_ms = 50;
    serve();
    int fd = connect_with(SMALL_WINDOW_BYTES);
    send_text(fd, GET("/big"));
    await_count(&context.slot->counters.requests_started, 1);
    await_count(&context.slot->connections_open, 0);
    await_count(&context.slot->counters.requests_aborted, 1);
    close(fd);
    shrink_send_buffer();
    fd = connect_with(SMALL_WINDOW_BYTES);
    send_text(fd, GET("/medium") "GET /half");
    await_count(&context.slot->counters.requests_started, 2);
    await_count(&context.slot->connections_open, 0);
    await_count(&context.slot->counters.requests_aborted, 2);
    assert_int_equal(context.slot->counters.requests_started, 2); /* no 408 for the half one */
    close(fd);
}

static void test_linger_timeout(void **state)
{
    (void)state;
    config.linger_timeout_ms = config.max_linger_ms = 50;
    serve();
    int fd = connect_client();
    send_text(fd, "\x01");
    read_reply(fd);
    assert_int_equal(reply.status, 400);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (send(fd, "x", 1, MSG_NOSIGNAL) == 1) { /* for a while it is read, then the end is real */
        assert_true(clock_monotonic_ms() < until_ms);
        usleep(1000);
    }
    close(fd);
}

/* What the client has sent in vain does not reset the connection before the client has read the
 * answer. */
static void test_lingering(void **state)
{
    (void)state;
    static const char *const last[] = {
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "BREW / HTTP/1.1\r\n",
        "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n"};
    serve();
    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
        struct buffer text = {0};
        int fd = connect_client();
        buffer_append_span(&text, span_of(last[i]));
        buffer_append(&text, big, 200000);
        assert_int_equal(send(fd, text.data, text.len, MSG_NOSIGNAL), text.len);
        buffer_free(&text);
        read_reply(fd);
        assert_true(reply_closes());
        shutdown(fd, SHUT_WR);
        assert_closed(fd);
    }
}

static void test_idle_gauge(void **state)
{
    (void)state;
    serve();
    uint64_t begin_ms = clock_monotonic_ms();
    int silent = connect_client(), used = connect_client(), away = connect_client();
    send_text(used, GET("/a"));
    send_text(away, GET("/away"));
    expect(used, 200, "/a");
    struct http_exchange *exchange = await_taken(0);
    uint64_t idle = context.slot->connections_idle;
    if (clock_monotonic_ms() - begin_ms < SOON_MS) { /* else a second may be over */
        assert_int_equal(idle, 0);
    }
    await_count(&context.slot->connections_idle, 2);
    assert_int_equal(context.slot->connections_open, 3);
    await_count(&context.slot->connections_busy, 1);
    send_text(used, "G");
    await_count(&context.slot->connections_idle, 1);
    close(silent);
    await_count(&context.slot->connections_idle, 0);
    complete(exchange);
    close(used);
    close(away);
}

/* Connections that have fallen idle keep their deadlines and their readiness. */
static bool expire_in_their_order(void)
{
    enum { IN_TIME_MS = 2500 };
    uint64_t begin_ms = clock_monotonic_ms();
    int first = connect_client(), second = connect_client(), third = connect_client();
    send_text(first, GET("/1"));
    expect(first, 200, "/1");
    send_text(second, GET("/2"));
    expect(second, 200, "/2");
    send_text(third, GET("/3"));
    expect(third, 200, "/3");
    while (context.slot->connections_idle != 3 && clock_monotonic_ms() - begin_ms < IN_TIME_MS) {
        usleep(500);
    }
    uint64_t woken_ms = clock_monotonic_ms();
    /* Wakes the one in front, which lives longer than the others. */
    bool is_sent = send(first, GET("/again"), strlen(GET("/again")), MSG_NOSIGNAL) > 0;
    if (!is_sent || clock_monotonic_ms() - begin_ms >= IN_TIME_MS) {
        close(first);
        close(second);
        close(third);
        await_count(&context.slot->connections_open, 0);
        return false;
    }
    expect(first, 200, "/again");
    uint64_t idle = context.slot->connections_idle;
    if (clock_monotonic_ms() - woken_ms < SOON_MS) { /* else it may be idle again, or they cut */
        assert_int_equal(idle, 2);
    }
    assert_closed(second);
    assert_closed(third);
    await_count(&context.slot->connections_open, 1); /* it falls after the socket is closed */
    assert_closed(first);
    return true;
}

static void test_idle_connections_expire_in_their_order(void **state)
{
    (void)state;
    config.idle_timeout_ms = 3000;
    serve();
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!expire_in_their_order()) { /* the test itself was late */
        assert_true(clock_monotonic_ms() < until_ms);
    }
}

/* ---- Accepting ---- */

static void test_connection_limit(void **state)
{
    (void)state;
    options.max_connections = 2;
    serve();
    /* Both are busy all the time: who is idle for a second would have to make room. */
    int first = connect_client();
    send_text(first, GET("/away1") GET("/away2"));
    struct http_exchange *exchange = await_taken(0);
    int second = connect_client();
    send_text(second, GET("/away3"));
    struct http_exchange *other = await_taken(1);
    int third = connect_client();
    send_text(third, GET("/3"));
    complete(exchange);
    expect(first, 200, "/away1");
    exchange = await_taken(2);
    assert_silent(third); /* waits in the kernel's queue */
    assert_int_equal(context.slot->connections_open, 2);
    complete(other);
    expect(second, 200, "/away3");
    close(second);
    expect(third, 200, "/3");
    complete(exchange);
    expect(first, 200, "/away2");
    close(first);
    close(third);
}

/* At the limit, who waits gets the place of the oldest connection that has fallen idle. */
static void test_connection_limit_takes_idle_places(void **state)
{
    (void)state;
    options.max_connections = 2;
    serve();
    int first = connect_client(), second = connect_client();
    send_text(first, GET("/1"));
    expect(first, 200, "/1");
    send_text(second, GET("/2"));
    expect(second, 200, "/2");
    int third = connect_client();
    send_text(third, GET("/3"));
    expect(third, 200, "/3"); /* after the second that it takes to fall idle */
    assert_closed(first);
    send_text(second, GET("/2"));
    expect(second, 200, "/2");
    close(second);
    close(third);
}

static void test_limit_of_one_client(void **state)
{
    (void)state;
    config.max_connections_per_client = 2;
    serve();
    int first = connect_client(), second = connect_client();
    send_text(first, GET("/1"));
    expect(first, 200, "/1");
    send_text(second, GET("/2"));
    expect(second, 200, "/2");
    int third = connect_client();
    expect(third, 503, "");
    assert_true(reply_closes());
    assert_non_null(strstr(reply.head, "\r\nRetry-After: 1\r\n"));
    assert_non_null(strstr(reply.head, "\r\nDate: "));
    assert_closed(third);
    await_count(&context.slot->counters.connections_refused, 1);
    assert_int_equal(context.slot->counters.connections_accepted, 2);
    close(first);
    await_count(&context.slot->connections_open, 1);
    int fourth = connect_client();
    send_text(fourth, GET("/4"));
    expect(fourth, 200, "/4");
    close(second);
    close(fourth);
}

/* A worker that should leave connections to others takes them all the same when nobody else
 * does. */
static void test_yielding(void **state)
{
    (void)state;
    options.may_accept = may_accept;
    atomic_store(&may_accept_answer, false);
    serve();
    int fds[20];
    for (size_t i = 0; i < 20; i++) {
        fds[i] = connect_client();
        send_text(fds[i], GET("/a"));
    }
    for (size_t i = 0; i < 20; i++) {
        expect(fds[i], 200, "/a");
    }
    atomic_store(&may_accept_answer, true);
    assert_serves();
    for (size_t i = 0; i < 20; i++) {
        close(fds[i]);
    }
}

static void test_heartbeat(void **state)
{
    (void)state;
    serve();
    uint64_t before_ms = clock_monotonic_ms(), beat_ms;
    uint64_t until_ms = before_ms + PATIENCE_MS;
    do {
        usleep(500);
        beat_ms = atomic_load(&context.slot->heartbeat_ms);
        assert_true(clock_monotonic_ms() < until_ms);
    } while (beat_ms < before_ms + 300);
}

/* ---- The end ---- */

static void test_stop(void **state)
{
    (void)state;
    serve();
    int idle = connect_client(), half = connect_client(), away = connect_client();
    send_text(idle, GET("/a"));
    expect(idle, 200, "/a");
    send_text(half, "GET / HTTP/1.1\r\n");
    send_text(away, GET("/away"));
    await_taken(0);
    await_count(&context.slot->connections_open, 3);
    worker_stop(worker);
    join();
    destroy_worker();
    assert_closed(idle);
    close(half);
    assert_closed(away); /* nobody answers it any more */
    assert_int_equal(context.slot->counters.requests_aborted, 1);
}

static void test_stop_before_the_run(void **state)
{
    (void)state;
    options.listen_fds[0] = listener_fd(&listener, 0);
    options.listen_count = 1;
    options.may_shut_down = may_always_shut_down;
    worker = worker_create(&options);
    assert_non_null(worker);
    worker_stop(worker);
    worker_run(worker);
    worker_drain(worker); /* the stop counts */
    worker_run(worker);
}

static void await_draining(void)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(&context.slot->state) != SLOT_DRAINING) {
        assert_true(clock_monotonic_ms() < until_ms);
        usleep(500);
    }
}

static void test_drain(void **state)
{
    (void)state;
    serve();
    int idle = connect_client(), asking = connect_client(), away = connect_client();
    send_text(idle, GET("/a"));
    expect(idle, 200, "/a");
    send_text(asking, "GET /half HTTP/1.1\r\n");
    send_text(away, GET("/away") GET("/dropped"));
    struct http_exchange *exchange = await_taken(0);
    await_count(&context.slot->connections_open, 3);
    int queued = connect_client(); /* in the client's eyes accepted */
    send_text(queued, GET("/queued"));
    worker_drain(worker);
    expect(queued, 200, "/queued");
    await_draining();
    send_text(asking, "Host: a\r\n\r\n");
    expect(asking, 200, "/half");
    assert_true(reply_closes());
    assert_closed(asking);
    assert_closed(idle); /* after a last chance */
    complete(exchange);
    expect(away, 200, "/away");
    assert_true(reply_closes());
    shutdown(away, SHUT_WR);
    assert_closed(away);
    shutdown(queued, SHUT_WR);
    close(queued);
    join();
    assert_int_equal(context.slot->connections_open, 0);
}

/* More than one turn accepts: who was queued before the drain was accepted in the client's eyes. */
static void test_drain_takes_what_is_queued(void **state)
{
    (void)state;
    enum { QUEUED = 30 };
    int queued[QUEUED];
    serve();
    int busy = connect_client();
    sem_init(&let_go, 0, 0);
    send_text(busy, GET("/block"));
    await_count(&context.slot->counters.requests_started, 1);
    for (size_t i = 0; i < QUEUED; i++) {
        queued[i] = connect_client();
        send_text(queued[i], GET("/queued"));
    }
    worker_drain(worker);
    sem_post(&let_go);
    expect(busy, 200, "");
    close(busy);
    for (size_t i = 0; i < QUEUED; i++) {
        expect(queued[i], 200, "/queued");
        close(queued[i]);
    }
    join();
}

/* A busy worker knows that the server drains before it is told so itself. */
static void test_server_drains(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/a"));
    expect(fd, 200, "/a");
    assert_false(reply_closes());
    scoreboard_mark_draining(scoreboard, 0, 1);
    send_text(fd, GET("/b") GET("/dropped"));
    expect(fd, 200, "/b");
    assert_true(reply_closes());
    shutdown(fd, SHUT_WR);
    assert_closed(fd);
    assert_int_equal(context.slot->state, SLOT_READY);
}

static bool take_a_last_chance(void)
{
    serve();
    int fd = connect_client();
    send_text(fd, GET("/a"));
    expect(fd, 200, "/a");
    uint64_t begin_ms = clock_monotonic_ms();
    worker_drain(worker);
    await_draining();
    bool is_sent = send(fd, GET("/on-its-way"), strlen(GET("/on-its-way")), MSG_NOSIGNAL) > 0;
    bool is_soon = is_sent && clock_monotonic_ms() - begin_ms < SOON_MS;
    if (is_soon) {
        expect(fd, 200, "/on-its-way");
        assert_true(reply_closes());
        shutdown(fd, SHUT_WR);
        assert_closed(fd);
    } else {
        close(fd);
    }
    join();
    return is_soon;
}

static void test_drain_gives_a_last_chance(void **state)
{
    while (!take_a_last_chance()) { /* the test itself was late */
        discard(state);
        make(state);
    }
}

static void test_drain_deadline(void **state)
{
    (void)state;
    config.drain_timeout_ms = 50;
    log_set_level(LOG_ERROR); /* it says that connections are cut */
    serve();
    int fd = connect_client();
    send_text(fd, GET("/away"));
    await_taken(0);
    worker_drain(worker);
    join();
    assert_int_equal(context.slot->connections_open, 1);
    destroy_worker();
    assert_closed(fd);
}

static void test_drain_without_connections(void **state)
{
    (void)state;
    serve();
    worker_drain(worker);
    worker_drain(worker);
    join();
    assert_int_equal(context.slot->state, SLOT_DRAINING);
}

static void test_stop_ends_a_drain(void **state)
{
    (void)state;
    serve();
    int fd = connect_client();
    send_text(fd, GET("/away"));
    await_taken(0);
    worker_drain(worker);
    worker_stop(worker);
    worker_drain(worker);
    join();
    close(fd);
}

/* Others go on serving: the socket stays open for them, and nobody is hurried. */
static void test_retirement(void **state)
{
    (void)state;
    others_serve = true;
    serve();
    int silent = connect_client(), asking = connect_client();
    send_text(silent, GET("/a"));
    expect(silent, 200, "/a");
    send_text(asking, "GET /half HTTP/1.1\r\n");
    await_count(&context.slot->connections_open, 2);
    worker_retire(worker);
    await_draining();
    int late = connect_client(); /* for whoever watches the socket, too */
    send_text(late, GET("/late"));
    send_text(asking, "Host: a\r\n\r\n");
    expect(asking, 200, "/half");
    assert_true(reply_closes());
    shutdown(asking, SHUT_WR);
    assert_closed(asking);
    usleep(1500 * 1000); /* longer than a drain would wait */
    send_text(silent, GET("/b"));
    expect(silent, 200, "/b");
    assert_true(reply_closes());
    shutdown(silent, SHUT_WR);
    assert_closed(silent);
    join();
    int accepted = accept(options.listen_fds[0], NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(late);
}

/* Else who comes later would wait at a socket that nobody accepts from. */
static void test_retirement_of_the_last_one(void **state)
{
    (void)state;
    serve();
    int silent = connect_client();
    send_text(silent, GET("/a"));
    expect(silent, 200, "/a");
    worker_retire(worker);
    await_draining();
    const struct endpoint *to = &listener.bound;
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result;
    while ((result = connect(late, &to->address.any, to->bytes)) == 0) { /* accepted, or cut */
        close(late);
        late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    send_text(silent, GET("/b"));
    expect(silent, 200, "/b");
    assert_closed(silent);
    join();
}

static void test_a_drain_hurries_a_retirement(void **state)
{
    (void)state;
    serve();
    int silent = connect_client();
    send_text(silent, GET("/a"));
    expect(silent, 200, "/a");
    worker_retire(worker);
    await_draining();
    worker_drain(worker);
    assert_closed(silent);
    join();
}

/* ---- The access log ---- */

/* Requests of every fate, refused ones in the middle of their head among them. */
static void test_access_log(void **state)
{
    (void)state;
    static const char *const texts[] = {GET("/a"),
                                        "GET /v HTTP/2.0\r\n\r\n",
                                        "GET /f HTTP/1.1\r\nReferer: r\r\nHost : a\r\n\r\n",
                                        "BREW /m HTTP/1.1\r\n",
                                        "\x01",
                                        GET("/%zz")};
    static const char *const lines[] = {
        "\"GET /a HTTP/1.1\" 200 2 ", "\" 505 ", "\" 400 ", "\" 501 ", "\"-\" 400 ",
        "\"GET /%zz HTTP/1.1\" 400 "};
    char text[4096];
    int fd = memfd_create("access", MFD_CLOEXEC);
    log_set_level(LOG_WARN);
    options.access_log_fd = fd;
    serve();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int client = connect_client();
        send_text(client, texts[i]);
        read_reply(client);
        close(client);
    }
    worker_stop(worker);
    join();
    destroy_worker();
    ssize_t bytes = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(bytes > 0);
    text[bytes] = '\0';
    char *line = text;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        assert_int_equal(strncmp(line, "127.0.0.1 - - [", 15), 0);
        if (strstr(line, lines[i]) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", lines[i], line);
        }
        line = end + 1;
    }
    assert_int_equal(*line, '\0');
    close(fd);
}

/* Lines do not wait for a full batch or for the end. */
static void test_access_log_while_serving(void **state)
{
    (void)state;
    char text[512] = "";
    int fd = memfd_create("access", MFD_CLOEXEC);
    options.access_log_fd = fd;
    context.slot_index = 7;
    atomic_store(&context.slot->process, 5);
    serve();
    uint64_t begin_ms = clock_monotonic_ms();
    int client = connect_client();
    send_text(client, GET("/a"));
    expect(client, 200, "/a");
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (pread(fd, text, sizeof(text) - 1, 0) == 0) {
        assert_true(clock_monotonic_ms() <= until_ms);
        usleep(500);
    }
    static const char request[] = " \"GET /a HTTP/1.1\" 200 2 \"-\" \"-\" ";
    const char *line = strstr(text, request);
    unsigned long long duration_us, process, slot;
    assert_non_null(line);
    assert_int_equal(
        sscanf(line + strlen(request), "%llu %llu %llu", &duration_us, &process, &slot), 3);
    assert_in_range(duration_us, 0, 1000 * (clock_monotonic_ms() - begin_ms + 1));
    assert_int_equal(process, 5);
    assert_int_equal(slot, 7);
    close(client);
    worker_stop(worker);
    join();
    destroy_worker();
    close(fd);
}

/* In a line of the access log. */
static unsigned long long duration_us_of(const char *lines, const char *request)
{
    unsigned long long duration_us;
    const char *line = strstr(lines, request);
    assert_non_null(line);
    assert_int_equal(sscanf(strstr(line, "\" 200 ") + 6, "%*u \"-\" \"-\" %llu", &duration_us), 1);
    return duration_us;
}

static char logged[16384];

/* All that the worker has written by its end. */
static void read_access_log(int fd)
{
    worker_stop(worker);
    join();
    destroy_worker();
    ssize_t bytes = pread(fd, logged, sizeof(logged) - 1, 0);
    assert_in_range(bytes, 0, sizeof(logged) - 1);
    logged[bytes] = '\0';
    close(fd);
}

/* The time of a request begins with the first byte of its head, and does not hold the time before.
 */
static void test_a_slow_head_in_the_access_log(void **state)
{
    (void)state;
    enum { SLOW_MS = 30 };
    int fd = memfd_create("access", MFD_CLOEXEC);
    options.access_log_fd = fd;
    serve();
    int client = connect_client();
    int other = connect_client();
    usleep(SLOW_MS * 1000);
    uint64_t begin_ms = clock_monotonic_ms();
    send_text(client, "GET /a HTTP/1.1\r\nHo");
    send_text(other, GET("/b")); /* with its answer the loop has read the one before it, too */
    expect(other, 200, "/b");
    usleep(SLOW_MS * 1000);
    send_text(client, "st: a\r\n\r\n");
    expect(client, 200, "/a");
    read_access_log(fd);
    uint64_t end_ms = clock_monotonic_ms(); /* the loop books it a moment behind the client */
    assert_in_range(duration_us_of(logged, "GET /a"), SLOW_MS * 1000,
                    (end_ms - begin_ms + 1) * 1000);
    close(client);
    close(other);
}

/* A tick writes what there is. */
static void await_logged(int fd, const char *text)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    do {
        assert_true(clock_monotonic_ms() <= until_ms);
        usleep(500);
        ssize_t bytes = pread(fd, logged, sizeof(logged) - 1, 0);
        assert_true(bytes >= 0);
        logged[bytes] = '\0';
    } while (strstr(logged, text) == NULL);
}

/* The size in the one line of this request, and whether the line says that it was cut. */
static long logged_size(const char *request, bool *aborted)
{
    char start[128];
    snprintf(start, sizeof(start), "\"GET %s HTTP/1.1\" 200 ", request);
    const char *line = strstr(logged, start);
    assert_non_null(line);
    assert_null(strstr(line + 1, start));
    const char *end = strchr(line, '\n');
    assert_non_null(end);
    *aborted = memcmp(end - 8, " aborted", 8) == 0;
    return atol(line + strlen(start));
}

/* The line comes when the answer is gone, and says how much of it was sent. */
static void test_access_log_of_what_was_sent(void **state)
{
    (void)state;
    bool aborted;
    int fd = memfd_create("access", MFD_CLOEXEC);
    options.access_log_fd = fd;
    shrink_send_buffer();
    serve();
    int patient = connect_with(SMALL_WINDOW_BYTES), hasty = connect_with(SMALL_WINDOW_BYTES);
    send_text(patient, GET("/patient") GET("/file"));
    send_text(hasty, GET("/hasty") GET("/big"));
    expect(hasty, 200, "/hasty");
    await_count(&context.slot->connections_busy, 2);
    await_logged(fd, "/patient"); /* would be the line before that of the file */
    await_logged(fd, "/hasty");
    assert_null(strstr(logged, "/file"));
    assert_null(strstr(logged, "/big"));
    vanish(hasty);
    await_count(&context.slot->connections_open, 1);
    expect(patient, 200, "/patient");
    expect_file(patient);
    close(patient);
    await_count(&context.slot->connections_open, 0);
    read_access_log(fd);
    assert_int_equal(logged_size("/patient", &aborted), 8);
    assert_false(aborted);
    assert_int_equal(logged_size("/hasty", &aborted), 6);
    assert_false(aborted);
    assert_int_equal(logged_size("/file", &aborted), FILE_BYTES);
    assert_false(aborted);
    assert_in_range(logged_size("/big", &aborted), 1, BIG_BYTES / 2);
    assert_true(aborted);
}

/* Answers that are made while another one is being sent, and those that nobody will read. */
static void test_access_log_of_what_comes_back(void **state)
{
    (void)state;
    bool aborted;
    int fd = memfd_create("access", MFD_CLOEXEC);
    options.access_log_fd = fd;
    shrink_send_buffer();
    serve();
    int first = connect_with(SMALL_WINDOW_BYTES), second = connect_with(SMALL_WINDOW_BYTES);
    send_text(first, GET("/short?1") GET("/short?2") GET("/away?1"));
    struct http_exchange *exchange = await_taken(0);
    complete(exchange);
    for (int i = 0; i < 3; i++) {
        read_reply(first);
        assert_int_equal(reply.status, 200);
    }
    close(first);
    send_text(second, GET("/short?3") GET("/short?4") GET("/away?2"));
    exchange = await_taken(1);
    vanish(second);
    assert_serves();
    complete(exchange);
    await_count(&context.slot->connections_open, 0);
    read_access_log(fd);
    assert_int_equal(logged_size("/short?1", &aborted), SHORT_BYTES);
    assert_false(aborted);
    assert_int_equal(logged_size("/short?2", &aborted), SHORT_BYTES);
    assert_false(aborted);
    assert_int_equal(logged_size("/away?1", &aborted), 7);
    assert_false(aborted);
    logged_size("/short?4", &aborted);
    assert_true(aborted);
    assert_int_equal(logged_size("/away?2", &aborted), 0);
    assert_true(aborted);
}

/* A worker that stops tells of what it leaves. */
static void test_access_log_at_the_stop(void **state)
{
    (void)state;
    bool aborted;
    int fd = memfd_create("access", MFD_CLOEXEC);
    options.access_log_fd = fd;
    shrink_send_buffer();
    serve();
    int client = connect_with(SMALL_WINDOW_BYTES);
    send_text(client, GET("/a") GET("/big"));
    expect(client, 200, "/a");
    await_count(&context.slot->connections_busy, 1);
    worker_stop(worker);
    join();
    ssize_t bytes = pread(fd, logged, sizeof(logged) - 1, 0); /* before the worker is destroyed */
    assert_true(bytes > 0);
    logged[bytes] = '\0';
    assert_in_range(logged_size("/big", &aborted), 1, BIG_BYTES / 2);
    assert_true(aborted);
    destroy_worker();
    assert_int_equal(lseek(fd, 0, SEEK_END), bytes); /* once */
    close(client);
    close(fd);
}

/* Once, with path, announced and sent bytes. */
static void test_a_file_that_shrinks_is_named(void **state)
{
    (void)state;
    bool aborted;
    int fd = memfd_create("access", MFD_CLOEXEC), error_fd = memfd_create("error", MFD_CLOEXEC);
    options.access_log_fd = fd;
    log_use(error_fd);
    shrink_send_buffer();
    serve();
    int client = connect_with(SMALL_WINDOW_BYTES);
    send_text(client, GET("/file"));
    read_head(client);
    int file = openat(root_fd, "file", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(file, 100000), 0);
    close(file);
    static char rest[FILE_BYTES];
    size_t got = 0;
    for (ssize_t n; (n = recv(client, rest, sizeof(rest), 0)) > 0; got += (size_t)n) {
    }
    assert_in_range(got, 1, 100000);
    close(client);
    read_access_log(fd);
    log_use(STDERR_FILENO);
    assert_int_equal(logged_size("/file", &aborted), got);
    assert_true(aborted);
    char expected[128];
    snprintf(expected, sizeof(expected), " after %zu of %d bytes: /file has shrunk meanwhile\n",
             got, FILE_BYTES);
    ssize_t bytes = pread(error_fd, logged, sizeof(logged) - 1, 0);
    assert_true(bytes > 0);
    logged[bytes] = '\0';
    const char *line = strstr(logged, "[warn] ");
    assert_non_null(line);
    assert_non_null(strstr(line, "cut off 127.0.0.1:"));
    assert_non_null(strstr(line, expected));
    assert_string_equal(strchr(line, '\n'), "\n"); /* nothing else */
    close(error_fd);
}

static void handle_before_there_is_a_head(void)
{
    struct connection c = {.phase = PHASE_WAITING};
    connection_set_phase(&c, PHASE_HANDLING);
}

static void answer_what_is_being_closed(void)
{
    struct connection c = {.phase = PHASE_CLOSING};
    connection_set_phase(&c, PHASE_WAITING);
}

static void park_in_the_middle_of_a_head(void)
{
    struct connection c = {.phase = PHASE_HEAD};
    connection_move(&c, PLACE_PARKED);
}

static void test_what_cannot_follow(void **state)
{
    (void)state;
    assert_check_fails(handle_before_there_is_a_head, "(may_follow[c->phase] >> phase & 1) != 0");
    assert_check_fails(answer_what_is_being_closed, "(may_follow[c->phase] >> phase & 1) != 0");
    assert_check_fails(park_in_the_middle_of_a_head,
                       "place != PLACE_PARKED || (c->phase == PHASE_WAITING && !c->sending)");
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, make, discard)
#define TEST_FILES(name) cmocka_unit_test_setup_teardown(name, make_files, discard_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_after_another),
        TEST(test_duration),
        TEST(test_duration_of_a_request_that_comes_slowly),
        TEST(test_duration_of_a_batch),
        TEST(test_duration_of_what_is_taken),
        TEST(test_duration_of_what_is_read_slowly),
        TEST(test_what_is_aborted_has_no_duration),
        TEST(test_waiting_is_no_turn),
        TEST(test_pipelining),
        TEST(test_what_cannot_follow),
        TEST(test_byte_by_byte),
        TEST(test_connection_wishes),
        TEST(test_answers_without_handler),
        TEST(test_refused),
        TEST(test_expect_continue),
        TEST(test_large_bodies),
        TEST(test_large_bodies_come_back),
        TEST(test_slow_readers_of_long_texts),
        TEST_FILES(test_files),
        TEST(test_taken),
        TEST(test_order_of_answers),
        TEST(test_taken_with_a_body),
        TEST(test_many_complete_at_once),
        TEST(test_full),
        TEST(test_client_leaves_meanwhile),
        TEST(test_complete_while_blocked),
        TEST(test_doomed),
        TEST(test_doomed_at_the_stop),
        TEST(test_given_away),
        TEST(test_given_away_behind_a_body),
        TEST(test_given_away_behind_a_slow_reader),
        TEST(test_not_given_away),
        TEST(test_not_given_away_at_the_stop),
        TEST(test_slow_head),
        TEST(test_slow_body),
        TEST(test_idle_timeout),
        TEST(test_client_that_does_not_read),
        TEST(test_linger_timeout),
        TEST(test_lingering),
        TEST(test_idle_gauge),
        TEST(test_idle_connections_expire_in_their_order),
        TEST(test_connection_limit),
        TEST(test_connection_limit_takes_idle_places),
        TEST(test_limit_of_one_client),
        TEST(test_yielding),
        TEST(test_heartbeat),
        TEST(test_stop),
        TEST(test_stop_before_the_run),
        TEST(test_server_drains),
        TEST(test_drain_takes_what_is_queued),
        TEST(test_drain),
        TEST(test_drain_gives_a_last_chance),
        TEST(test_drain_deadline),
        TEST(test_drain_without_connections),
        TEST(test_stop_ends_a_drain),
        TEST(test_retirement),
        TEST(test_retirement_of_the_last_one),
        TEST(test_a_drain_hurries_a_retirement),
        TEST(test_access_log),
        TEST(test_access_log_while_serving),
        TEST(test_a_slow_head_in_the_access_log),
        TEST_FILES(test_access_log_of_what_was_sent),
        TEST(test_access_log_of_what_comes_back),
        TEST(test_access_log_at_the_stop),
        TEST_FILES(test_a_file_that_shrinks_is_named),
        TEST_FILES(test_requests_behind_a_file_from_elsewhere),
    };
    log_set_level(LOG_WARN);
    int failed = cmocka_run_group_tests_name("worker", tests, make_big, free_big);
    free(reply.body);
    return failed;
}
