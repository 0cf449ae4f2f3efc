/* A process is killed behind each instruction in which it accepts a connection, gives one away or
 * is given one: exactly one other has it then, and the client notices nothing.
 * TWINHTTPD_TEST_EVERY_INSTRUCTION=1 tries them all. */
#include "common/base/memory.h"
#include "common/http/file_cache.h"
#include "common/net/claims.h"
#include "common/net/durable.h"
#include "common/net/tcp_account.h"
#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include <event2/event.h>

#include "common/net/connection_internal.h"
#include "common/net/worker_internal.h"
#include "tests/unit/client_at.h"
#include "tests/unit/net/outliving.h"

enum {
    CONNECTIONS = 8,
    LOOPS = 2,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    SAMPLES = 1, /* a step costs microseconds, and there are many more */
#else
    SAMPLES = 12, /* of the instructions, unless all are asked for */
#endif
    DESCRIPTORS_MOST = 1024
};

static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
static const char body[] = "Hello, World!";

static struct router *router;
static struct scoreboard *scoreboard;
static struct listener listener;
static struct worker_options options[LOOPS];
static struct handler_context contexts[LOOPS];
static void *areas[LOOPS];
static struct claims *claims;
static int inbox[2]; /* what is sent to [0] arrives at [1], the second loop's */
static int client_fd;
static bool was_open[DESCRIPTORS_MOST];

static void say(const struct http_request *asked, struct http_response *response,
                struct handler_context *context, void *data)
{
    (void)asked;
    (void)context;
    (void)data;
    response->content_type = "text/plain";
    response->body = (struct span){body, sizeof(body) - 1};
}

/* ---- Descriptors ---- */

static void list_open(bool open[DESCRIPTORS_MOST])
{
    memset(open, 0, DESCRIPTORS_MOST * sizeof(open[0]));
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int fd = atoi(entry->d_name);
        assert_true(fd < DESCRIPTORS_MOST);
        open[fd] = entry->d_name[0] != '.' && fd != dirfd(directory);
    }
    closedir(directory);
}

static void close_what_is_new(void)
{
    bool open[DESCRIPTORS_MOST];
    list_open(open);
    for (int fd = 0; fd < DESCRIPTORS_MOST; fd++) {
        if (open[fd] && !was_open[fd] && fd != client_fd) {
            close(fd);
        }
    }
}

/* ---- The fixture ---- */

static int make(void **state)
{
    (void)state;
    struct error error;
    router = router_create();
    router_add(router, &(struct route){.methods = METHOD_BIT(METHOD_GET), .handler = say});
    scoreboard = scoreboard_create(LOOPS);
    claims = claims_create(1, LOOPS);
    assert_non_null(claims);
    for (int i = 0; i < LOOPS; i++) {
        areas[i] = outliving_map(durable_area_bytes(CONNECTIONS));
    }
    return !listen_at(&listener, "127.0.0.1:0", false, 1, &error);
}

static int discard(void **state)
{
    (void)state;
    for (int i = 0; i < LOOPS; i++) {
        munmap(areas[i], durable_area_bytes(CONNECTIONS));
    }
    claims_destroy(claims);
    listener_close(&listener);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    return 0;
}

static struct worker *make_worker(int loop, uint32_t generation)
{
    contexts[loop] =
        (struct handler_context){.slot = &scoreboard->slots[loop], .slot_index = (uint32_t)loop};
    options[loop] =
        (struct worker_options){.config = &outliving_config,
                                .router = router,
                                .context = &contexts[loop],
                                .access_log_fd = -1,
                                .max_connections = CONNECTIONS,
                                .claims = claims,
                                .giver_id = (uint32_t)loop + 1,
                                .generation = generation,
                                .durable = durable_open(areas[loop], CONNECTIONS, generation)};
    slot_enter(contexts[loop].slot, 0, generation, SLOT_LOOP);
    slot_set_state(contexts[loop].slot, SLOT_READY);
    struct worker *worker = worker_create(&options[loop]);
    assert_non_null(worker);
    return worker;
}

static void listen_with(struct worker *worker)
{
    struct loop *loop = &worker->loop;
    acceptor_close(&worker->acceptor);
    loop->options.listen_fds[0] = listener_fd(&listener, 0);
    loop->options.listen_count = 1;
    acceptor_open(&worker->acceptor, loop);
}

static void connect_client(void)
{
    client_fd = outliving_connect(&listener, 0);
    assert_int_equal(send(client_fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
}

static void begin(void)
{
    list_open(was_open);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, inbox),
                     0);
    connect_client();
}

static void end(void)
{
    close_what_is_new();
    close(client_fd);
    for (int i = 0; i < LOOPS; i++) {
        memset(areas[i], 0, 4096 + CONNECTIONS * 128);
    }
}

/* ---- The one that dies ---- */

/* Its descriptors are this process's: they outlive it. */
static pid_t fork_with_one_table(void)
{
    return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
}

static void stop_here(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    kill(getpid(), SIGSTOP);
}

/* Kills it behind so many instructions. False: it had done what it could before. */
static bool die_after(void (*live)(void), uint64_t instructions, uint64_t *made)
{
    int status;
    pid_t pid = fork_with_one_table();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        live();
        _exit(0);
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

/* ---- The ones that go on ---- */

static bool is_recorded(const struct durable *durable, uint32_t generation, int fd)
{
    int fds[CONNECTIONS];
    size_t count = durable_descriptors(durable, generation, fds);
    for (size_t i = 0; i < count; i++) {
        if (fds[i] == fd) {
            return true;
        }
    }
    return false;
}

static bool is_the_one(int fd, const struct durable_expected *expected)
{
    struct tcp_account account;
    uint64_t cookie = 0;
    socklen_t bytes = sizeof(cookie);
    if (fd == client_fd || !tcp_account_ask(fd, &account)) {
        return false;
    }
    getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes);
    return expected->cookie == 0 ? account.read_bytes == 0 && account.written_bytes == 0
                                 : cookie == expected->cookie;
}

/* What the dead process has left in its table, and no record tells of. */
static int find_expected(const struct durable *durable, struct durable_expected *expected)
{
    bool open[DESCRIPTORS_MOST];
    if (!durable_expected(durable, expected)) {
        return -1;
    }
    list_open(open);
    for (int fd = 0; fd < DESCRIPTORS_MOST; fd++) {
        if (open[fd] && !was_open[fd] && !is_recorded(durable, expected->generation, fd) &&
            is_the_one(fd, expected)) {
            return fd;
        }
    }
    return -1;
}

static struct worker *succeed(int loop, uint32_t generation)
{
    struct worker *worker = make_worker(loop, generation);
    struct durable *durable = options[loop].durable;
    struct durable_record *records[CONNECTIONS];
    struct durable_expected expected;
    int fds[CONNECTIONS];
    int expected_fd = find_expected(durable, &expected);
    size_t cursor = 0, count = 0;
    uint32_t of_generation;
    while ((records[count] = durable_next(durable, &cursor, &of_generation, &fds[count])) != NULL) {
        count++;
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(connection_adopt(&worker->loop, records[i], dup(fds[i]), &outliving_killed));
        close(fds[i]);
    }
    if (expected_fd >= 0) {
        connection_adopt_expected(&worker->loop, dup(expected_fd), &expected);
        close(expected_fd);
    }
    return worker;
}

static void read_answers(int wanted)
{
    char text[4096];
    size_t bytes = 0;
    for (int got = 0; got < wanted;) {
        ssize_t n = recv(client_fd, text + bytes, sizeof(text) - bytes, 0);
        if (n <= 0) {
            fail_msg("after %d of %d answers: %s", got, wanted, n == 0 ? "the end" : "nothing");
        }
        bytes += (size_t)n;
        got = 0;
        for (const char *at = text;
             (at = memmem(at, (size_t)(text + bytes - at), body, sizeof(body) - 1)) != NULL; at++) {
            got++;
        }
        assert_true(got <= wanted);
    }
}

static void stop(struct worker *worker, int loop)
{
    worker_destroy(worker);
    durable_close(options[loop].durable);
}

static void serve(struct worker **workers, int answers)
{
    pthread_t threads[LOOPS];
    for (int i = 0; i < LOOPS; i++) {
        if (workers[i] != NULL) {
            assert_int_equal(pthread_create(&threads[i], NULL, outliving_run, workers[i]), 0);
        }
    }
    read_answers(answers);
    for (int i = 0; i < LOOPS; i++) {
        if (workers[i] != NULL) {
            worker_stop(workers[i]);
            pthread_join(threads[i], NULL);
            stop(workers[i], i);
        }
    }
    close_what_is_new(); /* what nobody recorded goes with the dead process's table */
    char more;
    assert_int_equal(recv(client_fd, &more, 1, 0), 0); /* nothing but the end */
}

static void try_all(bool (*try_at)(uint64_t instructions, uint64_t *made))
{
    uint64_t all, made;
    assert_false(try_at(UINT64_MAX, &all));
    uint64_t step = outliving_step(all, SAMPLES);
    for (uint64_t i = (uint64_t)getpid() % step; i < all; i += step) { /* others in each run */
        try_at(i, &made);
    }
    print_message("%llu instructions, each %lluth\n", (unsigned long long)all,
                  (unsigned long long)step);
}

/* ---- Tests ---- */

static void accept_and_answer(void)
{
    struct worker *worker = make_worker(0, 1);
    listen_with(worker);
    stop_here();
    event_base_loop(worker_event_base(worker), EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static bool try_accept_at(uint64_t instructions, uint64_t *made)
{
    begin();
    bool died = die_after(accept_and_answer, instructions, made);
    struct worker *worker = succeed(0, 2);
    listen_with(worker);
    serve((struct worker *[]){worker, NULL}, 1);
    end();
    return died;
}

static void test_accept(void **state)
{
    (void)state;
    try_all(try_accept_at);
}

static struct worker *make_giver(void)
{
    struct worker *worker = make_worker(0, 1);
    struct client_address client = client_at("127.0.0.1", 1);
    connection_create(&worker->loop, outliving_accept(&listener), &client);
    return worker;
}

static void give(void)
{
    struct worker *worker = make_giver();
    stop_here();
    worker_hand_over(worker, inbox[0], 1);
}

static bool try_give_at(uint64_t instructions, uint64_t *made, bool receiver_first)
{
    struct worker *workers[LOOPS];
    begin();
    bool died = die_after(give, instructions, made);
    workers[1] = make_worker(1, 2);
    if (receiver_first) {
        assert_true(worker_take_over(workers[1], inbox[1]));
    }
    workers[0] = succeed(0, 3);
    if (!receiver_first) {
        assert_true(worker_take_over(workers[1], inbox[1]));
    }
    assert_int_equal(workers[0]->loop.connection_count + workers[1]->loop.connection_count, 1);
    assert_int_equal(send(client_fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    serve(workers, 2);
    end();
    return died;
}

static bool try_give_to_a_quick_one_at(uint64_t instructions, uint64_t *made)
{
    return try_give_at(instructions, made, true);
}

static bool try_give_to_a_slow_one_at(uint64_t instructions, uint64_t *made)
{
    return try_give_at(instructions, made, false);
}

static void test_hand_over(void **state)
{
    (void)state;
    try_all(try_give_to_a_quick_one_at);
    try_all(try_give_to_a_slow_one_at);
}

static void receive(void)
{
    struct worker *worker = make_worker(1, 2);
    stop_here();
    worker_take_over(worker, inbox[1]);
}

static bool try_receive_at(uint64_t instructions, uint64_t *made)
{
    begin();
    struct worker *giver = make_giver();
    assert_int_equal(worker_hand_over(giver, inbox[0], 1), 1);
    bool died = die_after(receive, instructions, made);
    struct worker *workers[LOOPS] = {giver, succeed(1, 3)};
    assert_true(worker_take_over(workers[1], inbox[1]));
    assert_int_equal(workers[1]->loop.connection_count, 1);
    assert_int_equal(send(client_fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    serve(workers, 2);
    end();
    return died;
}

static void test_take_over(void **state)
{
    (void)state;
    try_all(try_receive_at);
}

/* It goes on behind what was read and written elsewhere. */
static void test_what_has_moved_is_adopted(void **state)
{
    (void)state;
    begin();
    struct worker *giver = make_giver();
    struct worker *receiver = make_worker(1, 2);
    assert_int_equal(worker_hand_over(giver, inbox[0], 1), 1);
    assert_true(worker_take_over(receiver, inbox[1]));
    struct connection *c = TAILQ_FIRST(&receiver->loop.places[PLACE_IN_USE]);
    assert_non_null(c->record);
    assert_int_equal(c->read_bytes, sizeof(request) - 1);
    assert_int_equal(c->sent_bytes, c->put_bytes);
    assert_true(c->sent_bytes > sizeof(body));
    stop(giver, 0);
    stop(receiver, 1);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_accept, make, discard),
        cmocka_unit_test_setup_teardown(test_hand_over, make, discard),
        cmocka_unit_test_setup_teardown(test_take_over, make, discard),
        cmocka_unit_test_setup_teardown(test_what_has_moved_is_adopted, make, discard),
    };
    stepping_on_one_cpu();
    return cmocka_run_group_tests_name("in_between", tests, NULL, NULL);
}
