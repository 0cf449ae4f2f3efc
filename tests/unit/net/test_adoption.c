/* A process is killed behind each instruction in which it serves a connection, and another goes on
 * with it: the client notices nothing. TWINHTTPD_TEST_EVERY_INSTRUCTION=1 tries them all. */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/file_cache.h"
#include "common/net/durable.h"
#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"
#include "tests/unit/listen_at.h"
#include "tests/unit/patience.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "common/net/connection_internal.h"
#include "common/net/worker_internal.h"
#include "tests/unit/client_at.h"

enum {
    CONNECTIONS = 16,
    LONG_MS = 60000,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    SAMPLES = 1, /* a step costs microseconds, and there are many more */
#else
    SAMPLES = 8, /* of the instructions, unless all are asked for */
#endif
    ANSWER_BYTES = 8 << 20,
    FILE_BYTES = 1 << 20
};

static struct config config = {.max_request_line_bytes = 8192,
                               .max_header_bytes = 32768,
                               .max_headers = 100,
                               .max_body_bytes = 1 << 20,
                               .header_timeout_ms = LONG_MS,
                               .body_timeout_ms = LONG_MS,
                               .idle_timeout_ms = LONG_MS,
                               .send_timeout_ms = LONG_MS,
                               .linger_timeout_ms = LONG_MS,
                               .max_linger_ms = LONG_MS,
                               .max_linger_bytes = 10000000,
                               .drain_timeout_ms = LONG_MS};
static struct router *router;
static struct scoreboard *scoreboard;
static struct listener listener;
static struct worker_options options;
static struct handler_context context;
static void *area;
static char root[64];
static int root_fd;
static struct document_root *document_root;
static _Atomic uint32_t *runs; /* of the handler that must not run twice */
static int client_fd, server_fd;
static char *answer; /* what the client has received */
static size_t answer_bytes;

/* ---- Handlers ---- */

static void say(const struct http_request *request, struct http_response *response,
                struct handler_context *own_context, void *data)
{
    (void)request;
    (void)own_context;
    response->content_type = "text/plain";
    response->body = (struct span){data, strlen(data)};
}

static void echo(const struct http_request *request, struct http_response *response,
                 struct handler_context *own_context, void *data)
{
    (void)own_context;
    (void)data;
    response->content_type = "text/plain";
    response->body = (struct span){request->body.data, request->body.len};
}

static void run_once(const struct http_request *request, struct http_response *response,
                     struct handler_context *own_context, void *data)
{
    (void)request;
    (void)own_context;
    (void)data;
    atomic_fetch_add(runs, 1);
    response->content_type = "text/plain";
    response->body = SPAN("once");
}

static void serve_file(const struct http_request *request, struct http_response *response,
                       struct handler_context *own_context, void *data)
{
    (void)request;
    struct file_entry *file;
    struct span path = {data, strlen(data)};
    if (file_cache_open(own_context->files, path, own_context->turn, 1, &file) != FILE_FOUND) {
        http_response_error(response, 404);
        return;
    }
    response->file = file;
    response->file_bytes = file->size_bytes;
}

/* ---- The fixture ---- */

static void make_file(const char *name, size_t bytes)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < bytes; i++) {
        fputc('a' + (int)(i % 23), file);
    }
    fclose(file);
    /* What has just changed gets other validators a moment later. */
    assert_int_equal(
        utimes(path, (struct timeval[2]){{.tv_sec = 1000000000}, {.tv_sec = 1000000000}}), 0);
}

static int make(void **state)
{
    (void)state;
    struct error error;
    strcpy(root, "/tmp/twinhttpd-test-adoption-XXXXXX");
    assert_non_null(mkdtemp(root));
    make_file("small", 1024);
    make_file("large", FILE_BYTES);
    root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    document_root = document_root_open(root, &error);
    assert_non_null(document_root);
    router = router_create();
    const unsigned get = METHOD_BIT(METHOD_GET), post = METHOD_BIT(METHOD_POST);
    router_add(router, &(struct route){.methods = get, .handler = say, .data = "Hello, World!"});
    router_add(
        router,
        &(struct route){.path = "/small", .methods = get, .handler = serve_file, .data = "/small"});
    router_add(
        router,
        &(struct route){.path = "/large", .methods = get, .handler = serve_file, .data = "/large"});
    router_add(router, &(struct route){.path = "/echo",
                                       .methods = post,
                                       .wants_body = true,
                                       .repeatable = true,
                                       .handler = echo});
    router_add(
        router,
        &(struct route){.path = "/once", .methods = post, .wants_body = true, .handler = run_once});
    scoreboard = scoreboard_create(1);
    area = mmap(NULL, durable_area_bytes(CONNECTIONS), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    runs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(area != MAP_FAILED && runs != MAP_FAILED);
    answer = memory_alloc(ANSWER_BYTES);
    return !listen_at(&listener, "127.0.0.1:0", false, 1, &error);
}

static int discard(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    free(answer);
    munmap(area, durable_area_bytes(CONNECTIONS));
    munmap((void *)runs, 4096);
    listener_close(&listener);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    document_root_close(document_root);
    close(root_fd);
    return system(command);
}

static struct worker *make_worker(uint32_t generation)
{
    context = (struct handler_context){
        .slot = &scoreboard->slots[0],
        .files = file_cache_create(document_root, 16, FILE_ETAG_PORTABLE),
    };
    options = (struct worker_options){.config = &config,
                                      .router = router,
                                      .context = &context,
                                      .access_log_fd = -1,
                                      .max_connections = CONNECTIONS,
                                      .durable = durable_open(area, CONNECTIONS, generation)};
    slot_enter(context.slot, 0, generation, SLOT_LOOP);
    slot_set_state(context.slot, SLOT_READY);
    struct worker *worker = worker_create(&options);
    assert_non_null(worker);
    return worker;
}

static void destroy_worker(struct worker *worker)
{
    worker_destroy(worker);
    durable_close(options.durable);
    file_cache_destroy(context.files);
}

static void connect_pair(int receive_bytes)
{
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    assert_int_equal(getsockname(listener_fd(&listener, 0), (struct sockaddr *)&address, &bytes),
                     0);
    client_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_bytes > 0) {
        setsockopt(client_fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    setsockopt(client_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(client_fd, (struct sockaddr *)&address, bytes), 0);
    while ((server_fd =
                accept4(listener_fd(&listener, 0), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
    }
    answer_bytes = 0;
}

/* ---- The one that dies ---- */

static _Noreturn void serve_and_stop(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct worker *worker = make_worker(1);
    struct client_address client = client_at("127.0.0.1", 1);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    connection_create(&worker->loop, server_fd, &client);
    _exit(0);
}

/* Kills it behind so many instructions. False: it had done what it could before. */
static bool die_after(uint64_t instructions, uint64_t *made)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        serve_and_stop();
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    for (*made = 0; *made < instructions; (*made)++) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
            return false;
        }
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return true;
}

/* ---- The one that goes on ---- */

static void *run(void *worker)
{
    worker_run(worker);
    return NULL;
}

static struct worker *adopt(uint32_t generation)
{
    struct worker *worker = make_worker(generation);
    size_t cursor = 0;
    uint32_t of_generation;
    int fd;
    size_t adopted = 0;
    struct durable_record *record, *found = NULL;
    while ((record = durable_next(options.durable, &cursor, &of_generation, &fd)) != NULL) {
        assert_int_equal(fd, server_fd);
        found = record;
        adopted++;
    }
    assert_true(adopted <= 1);
    if (found != NULL) {
        assert_true(connection_adopt(&worker->loop, found, dup(server_fd), false));
    }
    if (adopted == 0) { /* it had not got so far */
        struct client_address client = client_at("127.0.0.1", 1);
        connection_create(&worker->loop, dup(server_fd), &client);
    }
    return worker;
}

/* Reads so many whole answers; what is behind them is none. */
static void read_answers(int wanted)
{
    const char *at = answer;
    for (int got = 0; got < wanted;) {
        const char *head = at, *end = NULL;
        size_t body = 0;
        while (end == NULL || (size_t)(answer + answer_bytes - end) < body) {
            if (end == NULL) {
                end = memmem(head, (size_t)(answer + answer_bytes - head), "\r\n\r\n", 4);
                if (end != NULL) {
                    end += 4;
                    const char *length = memmem(head, (size_t)(end - head), "Content-Length: ", 16);
                    body = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
                    continue;
                }
            }
            ssize_t n = recv(client_fd, answer + answer_bytes, ANSWER_BYTES - answer_bytes, 0);
            if (n <= 0) {
                fail_msg("after %d of %d answers, %zu bytes: %s", got, wanted, answer_bytes,
                         n == 0 ? "the end" : "nothing");
            }
            answer_bytes += (size_t)n;
        }
        got += memcmp(head, "HTTP/1.1 100", 12) != 0;
        at = end + body;
    }
    assert_int_equal(at - answer, answer_bytes);
}

struct situation {
    const char *requests;
    size_t bytes;
    int answers;
    int receive_bytes;
    void (*check)(void);
};

static void go_on(const struct situation *situation)
{
    pthread_t thread;
    struct worker *worker = adopt(2);
    close(server_fd);
    assert_int_equal(pthread_create(&thread, NULL, run, worker), 0);
    read_answers(situation->answers);
    worker_stop(worker);
    pthread_join(thread, NULL);
    destroy_worker(worker);
    char more;
    assert_int_equal(recv(client_fd, &more, 1, 0), 0); /* nothing but the end */
    close(client_fd);
    situation->check();
}

static bool try_at(const struct situation *situation, uint64_t instructions, uint64_t *made)
{
    atomic_store(runs, 0);
    connect_pair(situation->receive_bytes);
    assert_int_equal(send(client_fd, situation->requests, situation->bytes, 0), situation->bytes);
    bool died = die_after(instructions, made);
    go_on(situation);
    memset(area, 0, 4096 + CONNECTIONS * 128);
    return died;
}

static void try_all(const struct situation *situation)
{
    uint64_t all, made;
    assert_false(try_at(situation, UINT64_MAX, &all));
    uint64_t step = getenv("TWINHTTPD_TEST_EVERY_INSTRUCTION") != NULL ? 1 : all / SAMPLES + 1;
    for (uint64_t i = (uint64_t)getpid() % step; i < all; i += step) { /* others in each run */
        try_at(situation, i, &made);
    }
    print_message("%llu instructions, each %lluth\n", (unsigned long long)all,
                  (unsigned long long)step);
}

/* ---- Tests ---- */

#define HOST "Host: a\r\n"

static void check_hello(void)
{
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    assert_memory_equal(answer + answer_bytes - 13, "Hello, World!", 13);
}

static void test_get(void **state)
{
    (void)state;
    const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_hello});
}

static void test_pipelined_pair(void **state)
{
    (void)state;
    const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 2, 0, check_hello});
}

static void check_small(void)
{
    for (int i = 0; i < 1024; i++) {
        assert_int_equal(answer[answer_bytes - 1024 + (size_t)i], 'a' + i % 23);
    }
}

static void test_small_file(void **state)
{
    (void)state;
    const char text[] = "GET /small HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_small});
}

static void check_large(void)
{
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    for (int i = 0; i < FILE_BYTES; i++) {
        if (answer[answer_bytes - FILE_BYTES + (size_t)i] != 'a' + i % 23) {
            fail_msg("byte %d is wrong", i);
        }
    }
}

static void test_large_file(void **state)
{
    (void)state;
    const char text[] = "GET /large HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_large});
}

static void check_echo(void)
{
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    assert_memory_equal(answer + answer_bytes - 10, "0123456789", 10);
}

static void test_chunked_echo(void **state)
{
    (void)state;
    const char text[] = "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                        "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_echo});
}

static void check_once(void)
{
    bool refused = memcmp(answer, "HTTP/1.1 502 ", 13) == 0;
    assert_true(atomic_load(runs) <= 1);
    if (!refused) {
        assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
        assert_memory_equal(answer + answer_bytes - 4, "once", 4);
        assert_int_equal(atomic_load(runs), 1);
    }
}

static void test_post_that_is_not_repeated(void **state)
{
    (void)state;
    const char text[] = "POST /once HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_once});
}

static void test_pipeline_behind_a_post(void **state)
{
    (void)state;
    const char text[] = "POST /once HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
                        "GET / HTTP/1.1\r\n" HOST "\r\nGET /small HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 3, 0, check_small});
}

/* The client waits for the end, which the successor has to bring. */
static void test_the_last_answer(void **state)
{
    (void)state;
    const char text[] = "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_hello});
}

/* As many as one output takes, and more than a record counts. */
static void test_many_small_answers(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static const char one[] = "HEAD / HTTP/1.1\r\n" HOST "\r\n";
    static char text[MANY * (sizeof(one) - 1) + 1];
    for (int i = 0; i < MANY; i++) {
        strcpy(text + (size_t)i * (sizeof(one) - 1), one);
    }
    struct client_address client = client_at("127.0.0.1", 1);
    connect_pair(0);
    assert_int_equal(send(client_fd, text, sizeof(text) - 1, 0), sizeof(text) - 1);
    struct worker *worker = make_worker(1);
    connection_create(&worker->loop, server_fd, &client);
    size_t heads = 0;
    while (heads < MANY) {
        ssize_t n = recv(client_fd, answer + answer_bytes, ANSWER_BYTES - answer_bytes, 0);
        assert_true(n > 0);
        answer_bytes += (size_t)n;
        heads = 0;
        for (const char *at = answer;
             (at = memmem(at, (size_t)(answer + answer_bytes - at), "\r\n\r\n", 4)) != NULL;
             at += 4) {
            heads++;
        }
    }
    destroy_worker(worker);
    close(client_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_get, make, discard),
        cmocka_unit_test_setup_teardown(test_pipelined_pair, make, discard),
        cmocka_unit_test_setup_teardown(test_small_file, make, discard),
        cmocka_unit_test_setup_teardown(test_large_file, make, discard),
        cmocka_unit_test_setup_teardown(test_chunked_echo, make, discard),
        cmocka_unit_test_setup_teardown(test_post_that_is_not_repeated, make, discard),
        cmocka_unit_test_setup_teardown(test_pipeline_behind_a_post, make, discard),
        cmocka_unit_test_setup_teardown(test_the_last_answer, make, discard),
        cmocka_unit_test_setup_teardown(test_many_small_answers, make, discard),
    };
    return cmocka_run_group_tests_name("adoption", tests, NULL, NULL);
}
