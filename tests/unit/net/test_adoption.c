/* A process is killed behind each instruction in which it serves a connection, and another goes on
 * with it: the client notices nothing, and the access log has one line for each request.
 * TWINHTTPD_TEST_EVERY_INSTRUCTION=1 tries them all. */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/file_cache.h"
#include "common/net/durable.h"
#include "common/net/durable_lines.h"
#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"

#include <elf.h>
#include <event2/event.h>
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
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "common/net/connection_internal.h"
#include "common/net/connection_replay.h"
#include "common/net/worker_internal.h"
#include "tests/unit/client_at.h"
#include "tests/unit/net/outliving.h"

enum {
    CONNECTIONS = 16,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    SAMPLES = 1, /* a step costs microseconds, and there are many more */
#else
    SAMPLES = 10, /* of the instructions, unless all are asked for */
#endif
#if defined(__SANITIZE_THREAD__)
    /* It looks at threads, of which the one that dies has one, and makes a hundred instructions of
     * each: to step through them all would take minutes. So that one dies soon behind a call. */
    STEPS_BEHIND_A_CALL = 1000,
#else
    STEPS_BEHIND_A_CALL = 0, /* as many as there are */
#endif
    ANSWER_BYTES = 8 << 20,
    FILE_BYTES = 1 << 20,
    CALLS_MOST = 1000,
    LINES_MOST = 8,
    LOG_BYTES = 65536,
    HEAD_BYTES = 4096 /* of an area, before what lies in it */
};

static struct router *router;
static struct scoreboard *scoreboard;
static struct listener listener;
static struct worker_options options;
static struct handler_context context;
static void *area, *lines_area;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static bool is_logged;
static int first_log_fd; /* of the one that dies; -1: it has no log */
static char root[64];
static int root_fd;
static struct document_root *document_root;
static _Atomic uint32_t *runs; /* of the handler that must not run twice */
static int client_fd, server_fd;
static char *answer; /* what the client has received */
static size_t answer_bytes;
static unsigned not_booked; /* times that the books knew of fewer answers than the client */
static uint64_t not_timed;  /* answers that the books knew of, but not how long they took */

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
    log_set_level(LOG_ERROR);
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
    router_add(router, &(struct route){.path = "/counted", .methods = get, .handler = run_once});
    scoreboard = scoreboard_create(1);
    area = outliving_map(durable_area_bytes(CONNECTIONS));
    runs = outliving_map(4096);
    lines_area = outliving_map(durable_lines_area_bytes());
    is_logged = true;
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
    munmap(lines_area, durable_lines_area_bytes());
    munmap((void *)runs, 4096);
    listener_close(&listener);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    document_root_close(document_root);
    close(root_fd);
    return system(command);
}

static const char *log_path(void)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/access.log", root);
    return path;
}

/* A description of its own each time. */
static int open_log(void)
{
    int fd = open(log_path(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static struct worker *make_worker(uint32_t generation, int log_fd)
{
    context = (struct handler_context){
        .slot = &scoreboard->slots[0],
        .files = file_cache_create(document_root, 16, FILE_ETAG_PORTABLE),
    };
    options = (struct worker_options){.config = &outliving_config,
                                      .router = router,
                                      .context = &context,
                                      .access_log_fd = log_fd,
                                      .max_connections = CONNECTIONS,
                                      .durable = durable_open(area, CONNECTIONS, generation),
                                      .durable_lines = durable_lines_open(lines_area, generation),
                                      .access_log_turn = &turn};
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
    durable_lines_close(options.durable_lines);
    if (options.access_log_fd >= 0) {
        close(options.access_log_fd);
    }
    file_cache_destroy(context.files);
}

static void connect_pair(int receive_bytes)
{
    client_fd = outliving_connect(&listener, receive_bytes);
    server_fd = outliving_accept(&listener);
    answer_bytes = 0;
}

/* ---- The one that dies ---- */

static void destroy_connections(struct worker *worker)
{
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        while (!TAILQ_EMPTY(&worker->loop.places[place])) {
            connection_destroy(TAILQ_FIRST(&worker->loop.places[place]));
        }
    }
}

/* What happens in the first request alone (symbols are bound, memory is fetched) is no matter of
 * the test, and most of the instructions. Its record and its place in the log are used again. */
static void serve_another_before(struct worker *worker)
{
    static const char text[] = "GET /small?0 HTTP/1.1\r\nHost: a\r\n\r\n";
    struct client_address client = client_at("127.0.0.1", 2);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0 ||
        write(ends[0], text, sizeof(text) - 1) != sizeof(text) - 1) {
        _exit(1);
    }
    connection_create(&worker->loop, ends[1], &client);
    destroy_connections(worker);
    close(ends[0]);
    if (worker->loop.access_log != NULL) {
        access_log_flush(worker->loop.access_log);
    }
}

static _Noreturn void serve_and_stop(bool cuts)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct worker *worker = make_worker(1, first_log_fd);
    struct client_address client = client_at("127.0.0.1", 1);
    serve_another_before(worker);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    connection_create(&worker->loop, server_fd, &client);
    if (cuts) {
        destroy_connections(worker);
    }
    if (worker->loop.access_log != NULL) {
        access_log_flush(worker->loop.access_log); /* as in a tick */
    }
    _exit(0);
}

/* A place in what it does: behind so many system calls, and so many instructions more. */
struct place {
    size_t calls;
    uint64_t instructions;
};

/* Whether its next instruction is a system call. */
static bool is_before_a_call(pid_t pid)
{
    struct user_regs_struct registers;
    struct iovec where = {&registers, sizeof(registers)};
    assert_int_equal(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &where), 0);
#if defined(__x86_64__)
    const long mask = 0xffff, call = 0x050f;
    const long code = ptrace(PTRACE_PEEKTEXT, pid, registers.rip, NULL);
#else
    const long mask = 0xffffffff, call = 0xd4000001;
    const long code = ptrace(PTRACE_PEEKTEXT, pid, registers.pc, NULL);
#endif
    return (code & mask) == call;
}

/* Goes on as far as request says; false: it has ended. */
static bool go(enum __ptrace_request request, pid_t pid)
{
    int status;
    assert_int_equal(ptrace(request, pid, NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return !WIFEXITED(status);
}

static pid_t begin_to_serve(bool cuts)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        serve_and_stop(cuts);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    return pid;
}

/* Kills it there. */
static void die_at(struct place place, bool cuts)
{
    int status;
    bool lives = true;
    pid_t pid = begin_to_serve(cuts);
    for (size_t i = 0; i < place.calls && lives; i++) { /* each stops it twice */
        lives = go(PTRACE_SYSCALL, pid) && go(PTRACE_SYSCALL, pid);
    }
    for (uint64_t i = 0; i < place.instructions && lives; i++) {
        lives = go(PTRACE_SINGLESTEP, pid);
    }
    if (lives) { /* another time it has less to do */
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
}

static size_t count_calls(uint64_t instructions[CALLS_MOST], pid_t pid)
{
    size_t calls = 0;
    instructions[0] = STEPS_BEHIND_A_CALL;
    while (go(PTRACE_SYSCALL, pid) && go(PTRACE_SYSCALL, pid)) {
        assert_true(++calls < CALLS_MOST);
        instructions[calls] = STEPS_BEHIND_A_CALL;
    }
    return calls + 1;
}

static size_t count_instructions(uint64_t instructions[CALLS_MOST], pid_t pid)
{
    size_t calls = 0;
    bool lives = true;
    for (instructions[0] = 0; lives; instructions[calls]++) {
        bool is_call = is_before_a_call(pid);
        lives = go(PTRACE_SINGLESTEP, pid);
        if (is_call && lives) {
            assert_true(++calls < CALLS_MOST);
            instructions[calls] = UINT64_MAX; /* and one more */
        }
    }
    return calls + 1;
}

/* What it does until it ends: instructions before each system call. */
static size_t measure(uint64_t instructions[CALLS_MOST], bool cuts)
{
    pid_t pid = begin_to_serve(cuts);
    return STEPS_BEHIND_A_CALL > 0 ? count_calls(instructions, pid)
                                   : count_instructions(instructions, pid);
}

/* ---- The one that goes on ---- */

static struct worker *adopt(uint32_t generation, bool may_be_gone)
{
    struct worker *worker = make_worker(generation, is_logged ? open_log() : -1);
    size_t cursor = 0;
    uint32_t of_generation;
    int fd;
    if (worker_log_writer(worker, &of_generation, &fd)) {
        assert_int_equal(fd, first_log_fd);
        worker_ask_log_writer(worker, fd);
    }
    size_t adopted = 0;
    struct durable_record *record, *found = NULL;
    while ((record = durable_next(options.durable, &cursor, &of_generation, &fd)) != NULL) {
        assert_int_equal(fd, server_fd);
        found = record;
        adopted++;
    }
    assert_true(adopted <= 1);
    assert_true(found == NULL || !is_logged || worker->loop.access_log != NULL);
    if (found != NULL) {
        assert_true(connection_adopt(&worker->loop, found, dup(server_fd), &outliving_killed));
    }
    worker_settle_log(worker);
    if (adopted == 0 && !may_be_gone) { /* it had not got so far */
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

/* What the client does while nobody serves it, and what the one that dies does. */
enum course {
    COURSE_GOOD,
    COURSE_CUT,          /* it ends the connection before all is sent */
    COURSE_CLIENT_LEAVES /* ... with a reset */
};

struct situation {
    const char *requests;
    size_t bytes;
    int answers;
    int receive_bytes;
    void (*check)(void);
    enum course course;
};

/* Of the requests, without the one before. */
static int read_log(char *text, char *lines[], int most)
{
    int fd = open(log_path(), O_RDONLY | O_CLOEXEC);
    ssize_t bytes = read(fd, text, LOG_BYTES - 1);
    assert_true(fd >= 0 && bytes >= 0);
    close(fd);
    text[bytes] = '\0';
    int count = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strstr(line, "?0 ") == NULL && count < most) {
            lines[count++] = line;
        }
    }
    return count;
}

/* One line for each request, in their order, and none that says that its answer was cut. */
static void check_log(const struct situation *situation)
{
    static char text[LOG_BYTES];
    char *lines[LINES_MOST];
    int count = read_log(text, lines, LINES_MOST);
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "?%d HTTP/1.1\"", i + 1);
        if (strstr(lines[i], name) == NULL || strstr(lines[i], "aborted") != NULL) {
            fail_msg("line %d is %s", i + 1, lines[i]);
        }
    }
    if (count != situation->answers) {
        fail_msg("%d lines for %d answers", count, situation->answers);
    }
}

/* Else it might be told to stop before, as the client may have all that it waits for. */
static void take_the_first_turn(struct worker *worker)
{
    assert_in_range(event_base_loop(worker_event_base(worker), EVLOOP_NONBLOCK), 0, 1);
}

static void go_on(const struct situation *situation)
{
    pthread_t thread;
    struct worker *worker = adopt(2, false);
    close(server_fd);
    take_the_first_turn(worker);
    assert_int_equal(pthread_create(&thread, NULL, outliving_run, worker), 0);
    read_answers(situation->answers);
    worker_stop(worker);
    pthread_join(thread, NULL);
    destroy_worker(worker);
    char more;
    assert_int_equal(recv(client_fd, &more, 1, 0), 0); /* nothing but the end */
    close(client_fd);
    situation->check();
    if (is_logged) {
        check_log(situation);
    }
}

static void read_to_the_end(void)
{
    ssize_t n;
    while ((n = recv(client_fd, answer + answer_bytes, ANSWER_BYTES - answer_bytes, 0)) > 0) {
        answer_bytes += (size_t)n;
    }
}

static size_t body_bytes(void)
{
    const char *end = memmem(answer, answer_bytes, "\r\n\r\n", 4);
    return end == NULL ? 0 : answer_bytes - (size_t)(end + 4 - answer);
}

/* The connection ends after all, or somebody goes on with it. Whatever the client has had, the line
 * says it. */
static void go_on_with_a_cut(void)
{
    static char text[LOG_BYTES];
    char *lines[LINES_MOST];
    char size[32];
    pthread_t thread;
    struct worker *worker = adopt(2, true);
    close(server_fd);
    assert_int_equal(pthread_create(&thread, NULL, outliving_run, worker), 0);
    if (worker->loop.connection_count > 0) {
        read_answers(1);
    } else {
        read_to_the_end();
    }
    worker_stop(worker);
    pthread_join(thread, NULL);
    destroy_worker(worker);
    close(client_fd);
    int count = read_log(text, lines, LINES_MOST);
    assert_int_equal(count, answer_bytes > 0);
    if (count > 0) {
        bool is_whole = body_bytes() == FILE_BYTES;
        snprintf(size, sizeof(size), " 200 %zu ", body_bytes());
        if (strstr(lines[0], size) == NULL || (strstr(lines[0], "aborted") == NULL) != is_whole) {
            fail_msg("%zu bytes, and %s", body_bytes(), lines[0]);
        }
    }
}

/* A request whose handler has run has its line, although there is nobody who could be answered. */
static void go_on_without_the_client(void)
{
    static char text[LOG_BYTES];
    char *lines[LINES_MOST];
    bool has_run = atomic_load(runs) > 0;
    outliving_reset(client_fd);
    struct worker *worker = adopt(2, false);
    close(server_fd);
    take_the_first_turn(worker);
    assert_int_equal(worker->loop.connection_count, 0);
    destroy_worker(worker);
    int count = read_log(text, lines, LINES_MOST);
    if (count > 1 || (has_run && count == 0)) {
        fail_msg("%d lines", count);
    }
}

/* ---- The books ---- */

static uint64_t booked(const _Atomic uint64_t *counter)
{
    return atomic_load(counter);
}

/* As the master does with what the dead one has left: its successor counts that as started. */
static void bury(void)
{
    struct slot_counters *counters = &scoreboard->slots[0].counters;
    atomic_store(&counters->requests_started,
                 booked(&counters->requests_finished) + booked(&counters->requests_aborted));
}

/* Each request is counted once, whoever has answered it. In the few instructions between the step
 * of its record and that of the books it is not counted at all. */
static void check_books(const struct situation *situation)
{
    const struct slot_counters *counters = &scoreboard->slots[0].counters;
    uint64_t finished = booked(&counters->requests_finished) - 1; /* without the one before */
    assert_int_equal(booked(&counters->requests_started) - 1, finished);
    assert_int_equal(booked(&counters->requests_aborted), 0);
    assert_int_equal(booked(&counters->adoption[ADOPTION_LOST]), 0);
    assert_in_range(finished, 0, (uint64_t)situation->answers);
    struct histogram_copy durations;
    histogram_read(&scoreboard->slots[0].latency.requests, &durations);
    assert_in_range(durations.count - 1, 0, finished); /* each is booked behind its count */
    not_timed += finished - (durations.count - 1);
    not_booked += finished < (uint64_t)situation->answers;
    bool refused = memmem(answer, answer_bytes, "HTTP/1.1 502 ", 13) != NULL;
    assert_int_equal(booked(&counters->adoption[ADOPTION_REFUSED_502]), refused);
}

/* ---- One death ---- */

static void begin(const struct situation *situation)
{
    memset((void *)&scoreboard->slots[0].counters, 0, sizeof(struct slot_counters));
    memset((void *)&scoreboard->slots[0].latency, 0, sizeof(struct latency));
    atomic_store(runs, 0);
    connect_pair(situation->receive_bytes);
    unlink(log_path());
    first_log_fd = is_logged ? open_log() : -1;
    assert_int_equal(send(client_fd, situation->requests, situation->bytes, 0), situation->bytes);
}

static void end(const struct situation *situation)
{
    switch (situation->course) {
    case COURSE_GOOD:
        bury();
        go_on(situation);
        check_books(situation);
        break;
    case COURSE_CUT:
        go_on_with_a_cut();
        break;
    case COURSE_CLIENT_LEAVES:
        go_on_without_the_client();
        break;
    }
    if (is_logged) {
        close(first_log_fd);
    }
    memset(area, 0, HEAD_BYTES + CONNECTIONS * 128);
    memset(lines_area, 0, HEAD_BYTES);
}

static void try_at(const struct situation *situation, struct place place)
{
    begin(situation);
    die_at(place, situation->course == COURSE_CUT);
    end(situation);
}

static void try_all(const struct situation *situation)
{
    static uint64_t instructions[CALLS_MOST];
    uint64_t all = 0, tried = 0;
    not_booked = 0;
    not_timed = 0;
    begin(situation);
    size_t calls = measure(instructions, situation->course == COURSE_CUT);
    end(situation);
    for (size_t i = 0; i < calls; i++) {
        all += instructions[i];
    }
    uint64_t step = outliving_step(all, SAMPLES);
    uint64_t next = (uint64_t)getpid() % step; /* others in each run */
    for (size_t i = 0; i < calls; next -= instructions[i++]) {
        for (; next < instructions[i]; next += step, tried++) {
            try_at(situation, (struct place){i, next});
        }
    }
    print_message("%llu instructions between %zu calls, killed at %llu; %u answers not booked\n",
                  (unsigned long long)all, calls, (unsigned long long)tried, not_booked);
    assert_in_range(not_booked, 0, 1 + tried / 20);
    assert_in_range(not_timed, 0, (uint64_t)situation->answers * (1 + tried / 5));
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
    const char text[] = "GET /?1 HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_hello, COURSE_GOOD});
}

static void test_get_without_a_log(void **state)
{
    is_logged = false;
    test_get(state);
}

static void test_pipelined_pair(void **state)
{
    (void)state;
    const char text[] = "GET /?1 HTTP/1.1\r\n" HOST "\r\nGET /?2 HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 2, 0, check_hello, COURSE_GOOD});
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
    const char text[] = "GET /small?1 HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_small, COURSE_GOOD});
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
    const char text[] = "GET /large?1 HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_large, COURSE_GOOD});
}

static void check_echo(void)
{
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
    assert_memory_equal(answer + answer_bytes - 10, "0123456789", 10);
}

static void check_echo_behind_an_interim(void)
{
    assert_memory_equal(answer, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 42);
    assert_memory_equal(answer + answer_bytes - 10, "0123456789", 10);
}

static void test_chunked_echo(void **state)
{
    (void)state;
    const char text[] = "POST /echo?1 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                        "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_echo, COURSE_GOOD});
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
    const char text[] = "POST /once?1 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_once, COURSE_GOOD});
}

static void test_pipeline_behind_a_post(void **state)
{
    (void)state;
    const char text[] = "POST /once?1 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
                        "GET /?2 HTTP/1.1\r\n" HOST "\r\nGET /small?3 HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 3, 0, check_small, COURSE_GOOD});
}

/* The client waits for the end, which the successor has to bring. */
static void test_the_last_answer(void **state)
{
    (void)state;
    const char text[] = "GET /?1 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, check_hello, COURSE_GOOD});
}

/* As of a client that reads too slowly. */
static void test_an_answer_that_is_cut(void **state)
{
    (void)state;
    const char text[] = "GET /large?1 HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 4096, NULL, COURSE_CUT});
}

static void test_a_client_that_leaves(void **state)
{
    (void)state;
    const char text[] = "GET /counted?1 HTTP/1.1\r\n" HOST "\r\n";
    try_all(&(struct situation){text, sizeof(text) - 1, 1, 0, NULL, COURSE_CLIENT_LEAVES});
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
    struct worker *worker = make_worker(1, -1);
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

/* ---- Two deaths ---- */

static struct durable_record *begin_by_hand(const char *text, size_t bytes)
{
    struct buffer input = {0};
    connect_pair(0);
    assert_int_equal(send(client_fd, text, bytes, 0), bytes);
    options.durable = durable_open(area, CONNECTIONS, 1);
    struct durable_record *record = durable_enter(options.durable, server_fd, 0);
    assert_true(durable_input_take(options.durable, record, 0, 4096, &input));
    assert_int_equal(recv(server_fd, input.data, bytes, MSG_WAITALL), bytes);
    return record;
}

/* A successor dies when it has said that all begins again, and nothing more. */
static void die_at_the_restart(struct durable_record *record)
{
    durable_close(options.durable);
    durable_restart(record, false, 1);
}

/* The first one dies between what it says of its answer and the sending, the second one adopts. */
static void test_a_successor_that_dies_before_it_answers(void **state)
{
    (void)state;
    const char text[] = "GET /?1 HTTP/1.1\r\n" HOST "\r\n";
    struct durable_record *record = begin_by_hand(text, sizeof(text) - 1);
    durable_begin(record, 0);
    durable_answered(record);
    durable_sending(record, 100, &(struct durable_offer){.digest = 7});
    die_at_the_restart(record);
    go_on(&(struct situation){text, sizeof(text) - 1, 1, 0, check_hello, COURSE_GOOD});
}

/* It has said that "100 Continue" is to be sent, and has not sent it. */
static void test_a_promise_that_was_not_sent(void **state)
{
    (void)state;
    const char head[] =
        "POST /echo?1 HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n";
    const char body[] = "0123456789";
    struct durable_record *record = begin_by_hand(head, sizeof(head) - 1);
    durable_interim(record, 0);
    durable_close(options.durable);
    assert_int_equal(send(client_fd, body, sizeof(body) - 1, 0), sizeof(body) - 1);
    go_on(&(struct situation){head, sizeof(head) - 1, 1, 0, check_echo_behind_an_interim,
                              COURSE_GOOD});
}

/* It has been sent, behind an answer, and the body has come. */
static void test_a_promise_that_was_sent(void **state)
{
    (void)state;
    const char text[] = "GET /?0 HTTP/1.1\r\n" HOST "\r\n"
                        "POST /echo?1 HTTP/1.1\r\n" HOST
                        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n0123456789";
    const size_t first = (size_t)(strstr(text, "POST") - text);
    struct durable_record *record = begin_by_hand(text, sizeof(text) - 1);
    durable_begin(record, 0);
    durable_answered(record);
    durable_interim(record, 100);
    durable_sending(record, 125, &(struct durable_offer){.digest = 7});
    durable_sent(record, first, 125, false);
    durable_close(options.durable);
    go_on(&(struct situation){text, sizeof(text) - 1, 1, 0, check_echo, COURSE_GOOD});
}

/* No honest process leaves such a record. */
static void test_more_was_begun_than_is_there(void **state)
{
    (void)state;
    const char text[] = "GET /?1 HTTP/1.1\r\n" HOST "\r\n";
    struct durable_record *record = begin_by_hand(text, sizeof(text) - 1);
    durable_begin(record, 0);
    durable_answered(record);
    durable_begin(record, 100);
    durable_close(options.durable);
    go_on(&(struct situation){text, sizeof(text) - 1, 1, 0, check_hello, COURSE_GOOD});
}

/* The first request was given up, and half of that is sent, when a process dies under the second: a
 * record has room for one that is to blame. Before the first one would run once more, nothing does.
 */
static void test_a_refusal_that_was_half_sent(void **state)
{
    (void)state;
    const char text[] = "GET /counted?1 HTTP/1.1\r\n" HOST "\r\nGET /?2 HTTP/1.1\r\n" HOST "\r\n";
    size_t cursor = 0;
    uint32_t generation;
    int fd;
    atomic_store(runs, 0);
    struct durable_record *record = begin_by_hand(text, sizeof(text) - 1);
    durable_begin(record, 0);
    durable_restart(record, false, REPLAY_OWN_DEATH_WEIGHS);
    durable_restart(record, false, REPLAY_OWN_DEATH_WEIGHS);
    durable_answered(record);
    durable_begin(record, 100);
    durable_sending(record, 100, &(struct durable_offer){.digest = 7});
    assert_int_equal(send(server_fd, "HTTP/1.1 5", 10, 0), 10);
    durable_close(options.durable);
    struct worker *worker = make_worker(2, -1);
    record = durable_next(options.durable, &cursor, &generation, &fd);
    assert_false(connection_adopt(&worker->loop, record, dup(server_fd), &outliving_killed));
    assert_int_equal(worker->loop.connection_count, 0);
    assert_int_equal(atomic_load(runs), 0);
    assert_int_equal(atomic_load(&context.slot->counters.adoption[ADOPTION_LOST]), 1);
    destroy_worker(worker);
    close(server_fd);
    close(client_fd);
}

/* ---- Without a record ---- */

/* One run as large as what is left. */
static void fill_the_area(void)
{
    struct buffer filling = {0};
    struct durable_record *record = durable_enter(options.durable, client_fd, 0);
    size_t bytes = durable_area_bytes(CONNECTIONS);
    while (!durable_input_take(options.durable, record, 0, bytes, &filling)) {
        bytes -= 4096;
    }
}

/* A request outgrows it: the connection goes on, and is one that will not be adopted. */
static void test_an_area_that_is_full(void **state)
{
    (void)state;
    enum { BODY_BYTES = 100000 };
    static const char head[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n";
    static char body[BODY_BYTES];
    struct client_address client = client_at("127.0.0.1", 1);
    pthread_t thread;
    connect_pair(0);
    assert_int_equal(send(client_fd, head, sizeof(head) - 1, 0), sizeof(head) - 1);
    struct worker *worker = make_worker(1, -1);
    connection_create(&worker->loop, server_fd, &client);
    struct connection *c = TAILQ_FIRST(&worker->loop.places[PLACE_IN_USE]);
    assert_non_null(c->record);
    fill_the_area();
    assert_int_equal(pthread_create(&thread, NULL, outliving_run, worker), 0);
    memset(body, 'x', sizeof(body));
    assert_int_equal(send(client_fd, body, sizeof(body), 0), sizeof(body));
    read_answers(1);
    worker_stop(worker);
    pthread_join(thread, NULL);
    assert_memory_equal(answer + answer_bytes - sizeof(body), body, sizeof(body));
    assert_null(c->record);
    destroy_worker(worker);
    close(client_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_get, make, discard),
        cmocka_unit_test_setup_teardown(test_get_without_a_log, make, discard),
        cmocka_unit_test_setup_teardown(test_pipelined_pair, make, discard),
        cmocka_unit_test_setup_teardown(test_small_file, make, discard),
        cmocka_unit_test_setup_teardown(test_large_file, make, discard),
        cmocka_unit_test_setup_teardown(test_chunked_echo, make, discard),
        cmocka_unit_test_setup_teardown(test_post_that_is_not_repeated, make, discard),
        cmocka_unit_test_setup_teardown(test_pipeline_behind_a_post, make, discard),
        cmocka_unit_test_setup_teardown(test_the_last_answer, make, discard),
        cmocka_unit_test_setup_teardown(test_an_answer_that_is_cut, make, discard),
        cmocka_unit_test_setup_teardown(test_a_client_that_leaves, make, discard),
        cmocka_unit_test_setup_teardown(test_many_small_answers, make, discard),
        cmocka_unit_test_setup_teardown(test_a_successor_that_dies_before_it_answers, make,
                                        discard),
        cmocka_unit_test_setup_teardown(test_a_promise_that_was_not_sent, make, discard),
        cmocka_unit_test_setup_teardown(test_a_promise_that_was_sent, make, discard),
        cmocka_unit_test_setup_teardown(test_more_was_begun_than_is_there, make, discard),
        cmocka_unit_test_setup_teardown(test_a_refusal_that_was_half_sent, make, discard),
        cmocka_unit_test_setup_teardown(test_an_area_that_is_full, make, discard),
    };
    stepping_on_one_cpu();
    return cmocka_run_group_tests_name("adoption", tests, NULL, NULL);
}
