/* Workers that die by SIGKILL, and what a successor finds: the test is the master and the
 * successor. */
#include "server/adoption/keeper.h"

#include "common/base/clock.h"
#include "server/adoption/keeper_internal.h"
#include "tests/unit/open_descriptors.h"
#include "tests/unit/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { NEVER_OPEN = 4000, MANY = 3000, SHORT_MS = 200 };

static struct error error;
static struct keeper_pair pair;
static pid_t worker, keeper; /* 0: none */
static int to_worker;        /* a byte lets it go on */

/* What a worker tells its master when it has done its work. */
struct report {
    pid_t keeper;
    int numbers[MANY];
};

static struct report report;

/* In the worker: with its keeper, which would leave the pipes to the master open. */
static _Noreturn void give_up(int status)
{
    if (report.keeper > 0) {
        kill(report.keeper, SIGKILL);
    }
    _exit(status);
}

static void send_all(int fd, const void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t written = write(fd, (const char *)bytes + done, count - done);
        if (written <= 0) {
            give_up(3);
        }
        done += (size_t)written;
    }
}

static void receive_all(int fd, void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t got = read(fd, (char *)bytes + done, count - done);
        assert_true(got > 0);
        done += (size_t)got;
    }
}

static void wait_for_the_master(int orders)
{
    char byte;
    if (read(orders, &byte, 1) != 1) {
        _exit(0);
    }
}

enum { NOBODY = 65534 };

static bool is_to_be_nobody; /* of a test that root runs */

/* A change of user closes a process to others of that user, and lets it outlive its parent. */
static void become_nobody(void)
{
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0) {
        _exit(5);
    }
    prctl(PR_SET_DUMPABLE, 1);
}

/* The worker's own signals stay as they were. */
static void start_keeper(void)
{
    sigset_t usual, after;
    sigemptyset(&usual);
    sigaddset(&usual, SIGUSR1);
    sigprocmask(SIG_SETMASK, &usual, NULL);
    report.keeper = keeper_start(&pair, &error);
    if (report.keeper < 0) {
        fprintf(stderr, "%s\n", error.text);
        _exit(2);
    }
    sigprocmask(SIG_SETMASK, NULL, &after);
    if (sigismember(&after, SIGUSR1) != 1 || sigismember(&after, SIGUSR2) != 0) {
        give_up(6);
    }
}

static _Noreturn void be_a_worker(int orders, int reports, void (*work)(int orders))
{
    if (is_to_be_nobody) {
        become_nobody();
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    start_keeper();
    if (work != NULL) {
        work(orders);
    }
    send_all(reports, &report, sizeof(report));
    for (;;) {
        wait_for_the_master(orders);
        send_all(reports, "", 1);
    }
}

static int from_worker;

/* The worker has done its work when this returns. */
static void start_worker(void (*work)(int orders))
{
    int orders[2], reports[2];
    assert_true(pair.asking >= 0 || keeper_pair_open(&pair, &error));
    assert_int_equal(pipe2(orders, O_CLOEXEC), 0);
    assert_int_equal(pipe2(reports, O_CLOEXEC), 0);
    worker = fork();
    assert_true(worker >= 0);
    if (worker == 0) {
        close(orders[1]);
        close(reports[0]);
        be_a_worker(orders[0], reports[1], work);
    }
    close(orders[0]);
    close(reports[1]);
    close(pair.keeping);
    pair.keeping = -1;
    to_worker = orders[1];
    from_worker = reports[0];
    receive_all(from_worker, &report, sizeof(report));
    keeper = report.keeper;
}

/* The keeper is ready, too. */
static void start_and_hear_of_it(void)
{
    int number;
    size_t count;
    start_worker(NULL);
    assert_true(keeper_list(pair.asking, 0, 1, &number, &count, PATIENCE_MS, &error));
}

static int ended(pid_t *pid)
{
    int status;
    assert_int_equal(waitpid(*pid, &status, 0), *pid);
    *pid = 0;
    return status;
}

static void kill_worker(void)
{
    assert_int_equal(kill(worker, SIGKILL), 0);
    int status = ended(&worker);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static int begin(void **state)
{
    (void)state;
    pair = (struct keeper_pair){-1, -1};
    worker = keeper = 0;
    to_worker = from_worker = -1;
    is_to_be_nobody = false;
    memset(&report, 0, sizeof(report));
    alarm(PATIENCE_S);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    pid_t *const pids[] = {&worker, &keeper};
    for (size_t i = 0; i < 2; i++) {
        if (*pids[i] > 0) {
            kill(*pids[i], SIGKILL);
            ended(pids[i]);
        }
    }
    keeper_pair_close(&pair);
    if (to_worker >= 0) {
        close(to_worker);
        close(from_worker);
    }
    alarm(0);
    return 0;
}

static int take_one(int number)
{
    int taken = -2;
    if (!keeper_take(pair.asking, &number, &taken, 1, PATIENCE_MS, &error)) {
        fail_msg("%s", error.text);
    }
    return taken;
}

/* ---- Connections ---- */

static int ends[2]; /* the worker's, the client's */

static void open_a_connection(void)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

static void leave_it_to_the_worker(void)
{
    close(ends[0]);
}

/* The client's end is the client's alone. */
static void hold_a_connection(int orders)
{
    (void)orders;
    close(ends[1]);
    report.numbers[0] = ends[0];
}

/* How it is to a client: the number of bytes, 0 at the end, -1 when there is nothing. */
static ssize_t client_reads(char *bytes, size_t room)
{
    return recv(ends[1], bytes, room, MSG_DONTWAIT);
}

static void test_a_connection_survives_its_worker(void **state)
{
    (void)state;
    char bytes[16];
    open_a_connection();
    start_worker(hold_a_connection);
    leave_it_to_the_worker();
    assert_int_equal(write(ends[1], "request", 7), 7);
    kill_worker();
    assert_int_equal(client_reads(bytes, sizeof(bytes)), -1);
    assert_int_equal(errno, EAGAIN);
    int taken = take_one(report.numbers[0]);
    assert_true(taken >= 0);
    assert_int_equal(fcntl(taken, F_GETFD), FD_CLOEXEC);
    assert_int_equal(read(taken, bytes, sizeof(bytes)), 7);
    assert_memory_equal(bytes, "request", 7);
    assert_int_equal(write(taken, "answer", 6), 6);
    assert_int_equal(client_reads(bytes, sizeof(bytes)), 6);
    close(taken);
    close(ends[1]);
}

static void close_when_told(int orders)
{
    hold_a_connection(orders);
    close(ends[0]);
}

static void test_a_close_in_the_worker_is_one(void **state)
{
    (void)state;
    char byte;
    open_a_connection();
    start_worker(close_when_told);
    leave_it_to_the_worker();
    assert_int_equal(client_reads(&byte, 1), 0);
    assert_int_equal(kill(keeper, 0), 0);
    kill_worker();
    assert_int_equal(take_one(report.numbers[0]), -1);
    close(ends[1]);
}

static void test_what_nobody_took_ends_with_the_last_who_could_ask(void **state)
{
    (void)state;
    char byte;
    open_a_connection();
    start_worker(hold_a_connection);
    leave_it_to_the_worker();
    kill_worker();
    assert_int_equal(client_reads(&byte, 1), -1);
    keeper_pair_close(&pair);
    assert_int_equal(ended(&keeper), 0);
    assert_int_equal(client_reads(&byte, 1), 0);
    close(ends[1]);
}

static void test_an_adopted_connection_outlives_the_keeper(void **state)
{
    (void)state;
    char byte;
    open_a_connection();
    start_worker(hold_a_connection);
    leave_it_to_the_worker();
    kill_worker();
    int taken = take_one(report.numbers[0]);
    keeper_pair_close(&pair);
    assert_int_equal(ended(&keeper), 0);
    assert_int_equal(client_reads(&byte, 1), -1);
    close(taken);
    assert_int_equal(client_reads(&byte, 1), 0);
    close(ends[1]);
}

static _Noreturn void be_a_master(int reports)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    start_and_hear_of_it();
    const pid_t children[] = {worker, keeper};
    send_all(reports, children, sizeof(children));
    for (;;) {
        pause();
    }
}

/* Somebody else still has the asking end: the test, to whom the children of the dead come. */
static void test_it_dies_with_its_master(void **state)
{
    (void)state;
    int reports[2];
    pid_t children[2];
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_true(keeper_pair_open(&pair, &error));
    assert_int_equal(pipe2(reports, O_CLOEXEC), 0);
    pid_t master = fork();
    assert_true(master >= 0);
    if (master == 0) {
        be_a_master(reports[1]);
    }
    receive_all(reports[0], children, sizeof(children));
    assert_int_equal(kill(master, SIGKILL), 0);
    ended(&master);
    ended(&children[0]);
    int status = ended(&children[1]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(reports[0]);
    close(reports[1]);
}

/* ---- Numbers ---- */

/* Each with its place as its value, and one of ten closed again: those have no number. */
static void hold_many(int orders)
{
    (void)orders;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (unsigned i = 0; i < MANY; i++) {
        report.numbers[i] = eventfd(i + 1, EFD_CLOEXEC | EFD_NONBLOCK);
        if (report.numbers[i] < 0) {
            give_up(4);
        }
    }
    for (unsigned i = 0; i < MANY; i += 10) {
        close(report.numbers[i]);
    }
}

static uint64_t value_of(int fd)
{
    uint64_t value = 0;
    return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

static void test_thousands_arrive_in_their_places(void **state)
{
    (void)state;
    static int taken[MANY];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    start_worker(hold_many);
    size_t before = open_descriptors();
    kill_worker();
    assert_true(keeper_take(pair.asking, report.numbers, taken, MANY, PATIENCE_MS, &error));
    assert_int_equal(open_descriptors(), before + MANY - MANY / 10);
    for (unsigned i = 0; i < MANY; i++) {
        if (i % 10 == 0) {
            assert_int_equal(taken[i], -1);
        } else {
            assert_int_equal(value_of(taken[i]), i + 1);
            close(taken[i]);
        }
    }
}

static void test_unknown_numbers_keep_nobody_back(void **state)
{
    (void)state;
    open_a_connection();
    start_worker(hold_a_connection);
    leave_it_to_the_worker();
    kill_worker();
    const int wanted[] = {NEVER_OPEN, report.numbers[0], -1,
                          INT32_MAX,  report.numbers[0], INT32_MIN};
    int taken[6];
    assert_true(keeper_take(pair.asking, wanted, taken, 6, PATIENCE_MS, &error));
    for (size_t i = 0; i < 6; i++) {
        bool is_open = wanted[i] == report.numbers[0];
        assert_int_equal(taken[i] >= 0, is_open);
        if (is_open) {
            close(taken[i]);
        }
    }
    assert_true(keeper_take(pair.asking, wanted, taken, 0, PATIENCE_MS, &error));
    close(ends[1]);
}

/* An io_uring, which newer kernels refuse to send; where there is none, a number without a file. */
static void hold_what_cannot_be_sent(int orders)
{
    unsigned char parameters[256] = {0};
    hold_a_connection(orders);
    long fd = syscall(SYS_io_uring_setup, 1, parameters);
    report.numbers[1] = fd < 0 ? NEVER_OPEN : (int)fd;
}

static void test_what_no_message_carries_keeps_nobody_back(void **state)
{
    (void)state;
    open_a_connection();
    start_worker(hold_what_cannot_be_sent);
    leave_it_to_the_worker();
    kill_worker();
    const int wanted[] = {report.numbers[1], report.numbers[0], NEVER_OPEN};
    int taken[3];
    assert_true(keeper_take(pair.asking, wanted, taken, 3, PATIENCE_MS, &error));
    assert_true(taken[1] >= 0);
    assert_int_equal(taken[2], -1);
    assert_int_equal(write(ends[1], "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(taken[1], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(taken[1]);
    if (taken[0] >= 0) {
        close(taken[0]); /* an older kernel */
    }
    close(ends[1]);
}

static void test_the_list_has_what_is_open(void **state)
{
    (void)state;
    static int numbers[NEVER_OPEN];
    size_t count, found = 0;
    start_worker(hold_many);
    kill_worker();
    assert_true(keeper_list(pair.asking, 0, NEVER_OPEN, numbers, &count, PATIENCE_MS, &error));
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || numbers[i] > numbers[i - 1]);
        for (size_t k = 0; k < MANY; k++) {
            assert_true(k % 10 != 0 || numbers[i] != report.numbers[k]);
            found += numbers[i] == report.numbers[k];
        }
    }
    assert_int_equal(found, MANY - MANY / 10);
    assert_true(count >= found && count < found + 32);
    int few[1];
    assert_true(keeper_list(pair.asking, 0, 1, few, &count, PATIENCE_MS, &error));
    assert_true(count <= 1);
}

/* ---- Who cannot be trusted ---- */

static void write_junk(int orders)
{
    struct keeper_answer answer = {.nonce = 1, .count = 1, .is_open = {1}};
    union keeper_control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                               .cmsg_level = SOL_SOCKET,
                                               .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &orders, sizeof(int));
    struct iovec part = {.iov_base = &answer, .iov_len = sizeof(answer)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(sizeof(int))};
    hold_a_connection(orders);
    for (answer.nonce = 0; sendmsg(pair.keeping, &message, MSG_DONTWAIT) > 0; answer.nonce++) {
        part.iov_len = answer.nonce % 3 == 0 ? 0 : sizeof(answer) - (answer.nonce % 3 == 1);
        if (send(pair.keeping, "", part.iov_len > 0, MSG_DONTWAIT) < 0) {
            break;
        }
        part.iov_len = sizeof(answer);
    }
    report.numbers[1] = (int)answer.nonce;
}

static void test_what_the_worker_wrote_is_thrown_away(void **state)
{
    (void)state;
    open_a_connection();
    start_worker(write_junk);
    leave_it_to_the_worker();
    assert_true(report.numbers[1] > 0);
    kill_worker();
    size_t before = open_descriptors();
    int taken = take_one(report.numbers[0]);
    assert_true(taken >= 0);
    assert_int_equal(open_descriptors(), before + 1);
    assert_int_equal(write(ends[1], "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(taken, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(taken);
    close(ends[1]);
}

static void flood(int orders)
{
    (void)orders;
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (send(pair.keeping, "", 0, MSG_NOSIGNAL) == 0) {
        }
        _exit(0);
    }
}

static void test_a_flood_of_junk_does_not_last_longer_than_the_deadline(void **state)
{
    (void)state;
    start_worker(flood);
    kill(keeper, SIGSTOP);
    int number = 0, taken;
    uint64_t begun_ms = clock_monotonic_ms();
    assert_false(keeper_take(pair.asking, &number, &taken, 1, SHORT_MS, &error));
    assert_true(clock_monotonic_ms() - begun_ms >= SHORT_MS);
    assert_non_null(strstr(error.text, "within 200 ms"));
}

static void test_a_request_out_of_bounds_has_no_answer(void **state)
{
    (void)state;
    struct keeper_request request = {.nonce = 1, .wish = KEEPER_GIVE, .count = KEEPER_BATCH + 1};
    open_a_connection();
    start_worker(hold_a_connection);
    leave_it_to_the_worker();
    kill_worker();
    const size_t lengths[] = {sizeof(request), 1, sizeof(request) - 1};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(send(pair.asking, &request, lengths[i], 0), lengths[i]);
    }
    request.count = UINT32_MAX;
    assert_int_equal(send(pair.asking, &request, sizeof(request), 0), sizeof(request));
    char longer[sizeof(request) + 1] = {0};
    assert_int_equal(send(pair.asking, longer, sizeof(longer), 0), sizeof(longer));
    int taken = take_one(report.numbers[0]);
    assert_true(taken >= 0);
    assert_int_equal(recv(pair.asking, longer, 1, MSG_DONTWAIT), -1);
    close(taken);
    close(ends[1]);
}

/* ---- A keeper that does not answer ---- */

static void test_a_keeper_that_is_gone_is_told(void **state)
{
    (void)state;
    start_worker(NULL);
    kill_worker();
    kill(keeper, SIGKILL);
    ended(&keeper);
    int number = 0, taken = -2;
    size_t count = 1;
    assert_false(keeper_take(pair.asking, &number, &taken, 1, PATIENCE_MS, &error));
    assert_int_equal(taken, -1);
    assert_non_null(strstr(error.text, "is gone"));
    assert_false(keeper_list(pair.asking, 0, 1, &number, &count, PATIENCE_MS, &error));
    assert_int_equal(count, 0);
}

static void test_a_stopped_keeper_is_waited_for_until_the_deadline(void **state)
{
    (void)state;
    open_a_connection();
    start_worker(hold_a_connection);
    leave_it_to_the_worker();
    kill_worker();
    size_t before = open_descriptors();
    kill(keeper, SIGSTOP);
    int status;
    assert_int_equal(waitpid(keeper, &status, WUNTRACED), keeper);
    for (int i = 0; i < 3; i++) {
        int taken;
        uint64_t begun_ms = clock_monotonic_ms();
        assert_false(keeper_take(pair.asking, report.numbers, &taken, 1, SHORT_MS, &error));
        assert_true(clock_monotonic_ms() - begun_ms >= SHORT_MS);
        assert_int_equal(taken, -1);
    }
    assert_non_null(strstr(error.text, "has not answered within 200 ms"));
    kill(keeper, SIGCONT);
    int taken = take_one(report.numbers[0]); /* and the late answers are thrown away */
    assert_true(taken >= 0);
    assert_int_equal(open_descriptors(), before + 1);
    close(taken);
    close(ends[1]);
}

static void test_signals_do_not_end_it(void **state)
{
    (void)state;
    open_a_connection();
    start_worker(hold_a_connection);
    leave_it_to_the_worker();
    kill_worker();
    for (int number = 1; number < SIGRTMAX; number++) {
        if (number != SIGKILL && number != SIGSTOP) {
            assert_int_equal(kill(keeper, number), 0);
        }
    }
    int taken = take_one(report.numbers[0]);
    assert_true(taken >= 0);
    close(taken);
    close(ends[1]);
}

static void test_too_few_descriptors_are_told(void **state)
{
    (void)state;
    static int taken[MANY];
    struct rlimit limit;
    start_worker(hold_many);
    kill_worker();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit less = {.rlim_cur = 300, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    bool is_taken = keeper_take(pair.asking, report.numbers, taken, MANY, PATIENCE_MS, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_false(is_taken);
    assert_non_null(strstr(error.text, "limit of descriptors"));
    size_t count = 0;
    for (unsigned i = 0; i < MANY; i++) {
        if (taken[i] >= 0) {
            assert_int_equal(value_of(taken[i]), i + 1);
            close(taken[i]);
            count++;
        }
    }
    assert_true(count > 200 && count < 300);
}

/* ---- What it is ---- */

/* A number from /proc/PID/status. */
static unsigned long status_of(pid_t pid, const char *field)
{
    char path[64], line[256];
    unsigned long value = 0;
    bool is_found = false;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (!is_found && fgets(line, sizeof(line), file) != NULL) {
        is_found = strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':';
        value = is_found ? strtoul(line + strlen(field) + 1, NULL, 10) : 0;
    }
    fclose(file);
    assert_true(is_found);
    return value;
}

static void test_it_is_confined(void **state)
{
    (void)state;
    start_and_hear_of_it();
    assert_int_equal(status_of(keeper, "PPid"), getpid());
    assert_int_equal(status_of(keeper, "Seccomp"), 2);
    assert_int_equal(status_of(keeper, "NoNewPrivs"), 1);
    assert_int_equal(status_of(worker, "Seccomp"), 0);
}

/* Who owns what /proc tells of a process. */
static uid_t owner_of(pid_t pid)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    assert_int_equal(stat(path, &status), 0);
    return status.st_uid;
}

static void test_its_user_does_not_reach_into_it(void **state)
{
    (void)state;
    is_to_be_nobody = true;
    start_and_hear_of_it();
    assert_int_equal(owner_of(worker), geteuid() == 0 ? NOBODY : geteuid());
    assert_int_equal(owner_of(keeper), 0);
}

/* All that is mapped is an upper limit of what is in use, and the kernel counts it exactly. */
static void test_it_has_next_to_no_memory(void **state)
{
    (void)state;
    start_and_hear_of_it();
    unsigned long mapped_kib = status_of(keeper, "VmSize"), tables_kib = status_of(keeper, "VmPTE");
    assert_in_range(mapped_kib, 1, 3 * (unsigned long)sysconf(_SC_PAGESIZE) / 1024);
    assert_in_range(mapped_kib + tables_kib, 1, 100);
}

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* Older kernels seal nothing. */
static void test_sealed_memory_does_not_keep_the_rest(void **state)
{
    (void)state;
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), bytes = 16 * page_bytes;
    unsigned char *memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    bool is_sealed = syscall(SYS_mseal, memory + 3 * page_bytes, 5 * page_bytes, 0) == 0;
    start_and_hear_of_it();
    unsigned long pages = status_of(keeper, "VmSize") * 1024 / page_bytes;
    assert_in_range(pages, 1, 3 + (is_sealed ? 5 : 0));
}

/* How a process ends that makes a call behind the keeper's filter. */
static bool is_killed_by(long number, long second)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sock_filter steps[KEEPER_FILTER_STEPS];
        struct sock_fprog filter = {.len = KEEPER_FILTER_STEPS, .filter = steps};
        keeper_fill_filter(steps);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            syscall(SYS_seccomp, 1, 0, &filter) != 0) {
            _exit(9);
        }
        syscall(number, -1L, second, 0, 0, 0);
        syscall(SYS_exit_group, 0);
    }
    int status = ended(&pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void test_what_a_keeper_does_not_need_is_deadly(void **state)
{
    (void)state;
    assert_false(is_killed_by(SYS_recvmsg, 0));
    assert_false(is_killed_by(SYS_sendmsg, 0));
    assert_false(is_killed_by(SYS_fcntl, F_GETFD));
    assert_true(is_killed_by(SYS_fcntl, F_SETFD));
    assert_true(is_killed_by(SYS_fcntl, F_DUPFD));
    const long deadly[] = {SYS_read,    SYS_write,  SYS_close, SYS_mmap,   SYS_socket,
                           SYS_connect, SYS_kill,   SYS_clone, SYS_execve, SYS_getpid,
                           SYS_ptrace,  SYS_openat, SYS_ioctl};
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
        assert_true(is_killed_by(deadly[i], 0));
    }
}

static void test_it_is_supported_here(void **state)
{
    (void)state;
    assert_true(keeper_is_supported(&error));
}

static void test_a_pair_that_cannot_be_opened(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool is_open = keeper_pair_open(&pair, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_false(is_open);
    assert_true(pair.asking == -1 && pair.keeping == -1);
    assert_non_null(strstr(error.text, strerror(EMFILE)));
}

/* A worker in valgrind. */
static void test_it_is_not_started_in_valgrind(void **state)
{
    (void)state;
    assert_true(keeper_pair_open(&pair, &error));
    assert_int_equal(setenv("LD_PRELOAD", "/usr/libexec/valgrind/vgpreload_core-amd64-linux.so", 1),
                     0);
    pid_t pid = keeper_start(&pair, &error);
    unsetenv("LD_PRELOAD");
    assert_int_equal(pid, -1);
    assert_non_null(strstr(error.text, "valgrind"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_is_supported_here),
        TEST(test_a_pair_that_cannot_be_opened),
        TEST(test_it_is_not_started_in_valgrind),
        TEST(test_a_connection_survives_its_worker),
        TEST(test_a_close_in_the_worker_is_one),
        TEST(test_what_nobody_took_ends_with_the_last_who_could_ask),
        TEST(test_an_adopted_connection_outlives_the_keeper),
        TEST(test_it_dies_with_its_master),
        TEST(test_thousands_arrive_in_their_places),
        TEST(test_unknown_numbers_keep_nobody_back),
        TEST(test_what_no_message_carries_keeps_nobody_back),
        TEST(test_the_list_has_what_is_open),
        TEST(test_what_the_worker_wrote_is_thrown_away),
        TEST(test_a_flood_of_junk_does_not_last_longer_than_the_deadline),
        TEST(test_a_request_out_of_bounds_has_no_answer),
        TEST(test_a_keeper_that_is_gone_is_told),
        TEST(test_a_stopped_keeper_is_waited_for_until_the_deadline),
        TEST(test_signals_do_not_end_it),
        TEST(test_too_few_descriptors_are_told),
        TEST(test_it_is_confined),
        TEST(test_its_user_does_not_reach_into_it),
        TEST(test_it_has_next_to_no_memory),
        TEST(test_sealed_memory_does_not_keep_the_rest),
        TEST(test_what_a_keeper_does_not_need_is_deadly),
    };
    return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
