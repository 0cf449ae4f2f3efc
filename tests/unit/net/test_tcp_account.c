/* The account is held against what this program itself has read and written: over loopback, and
 * with a kernel that is made up, where packets come at every moment that there is. */
#include "common/net/tcp_account.h"

#include "tests/unit/failing_call.h"
#include "tests/unit/patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/sockios.h>
#include <linux/tcp.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL_BUFFER_BYTES = 4096, ROUNDS = 500, STEPS = 60, SEED = 20 };

/* As the kernel numbers them. */
enum {
    ESTABLISHED = 1,
    FIN_WAIT1 = 4,
    FIN_WAIT2 = 5,
    CLOSE = 7,
    CLOSE_WAIT = 8,
    LAST_ACK = 9,
    CLOSING = 11
};

/* A connection, and what its server has read and written. */
static int server_fd, client_fd;
static uint64_t read_bytes, written_bytes;
static char bytes[1 << 16];

/* A kernel that is made up: counts beyond all that a test could send, and packets at any moment. */
struct pretence {
    uint64_t data;        /* of the client, which has come */
    uint64_t acked;       /* of what the server has written, with its FIN */
    uint64_t forged_fins; /* behind the end that was read */
    bool client_fin;      /* has come */
    bool server_fin;      /* was written */
    bool is_reset;
    int other_state;  /* 0: the one that follows from the above */
    socklen_t length; /* of TCP_INFO */
    int moments;      /* so far at which a packet could come */
    void (*moment)(void);
};
static struct pretence *pretence; /* NULL: the kernel itself answers */
static struct failing_call failing_getsockopt, failing_ioctl;

static int pretended_state(void)
{
    static const int states[2][2] = {{ESTABLISHED, CLOSE_WAIT}, {FIN_WAIT1, CLOSING}};
    bool is_acked = pretence->server_fin && pretence->acked == written_bytes + 1;
    if (pretence->other_state != 0) {
        return pretence->other_state;
    }
    if (pretence->is_reset || (is_acked && pretence->client_fin)) {
        return CLOSE;
    }
    return is_acked ? FIN_WAIT2 : states[pretence->server_fin][pretence->client_fin];
}

static void pretend_a_moment(void)
{
    pretence->moments++;
    if (pretence->moment != NULL) {
        pretence->moment();
    }
}

/* The kernel reads the state before it locks the socket to read the counts. */
static void pretend_info(struct tcp_info *info, socklen_t *length)
{
    pretend_a_moment();
    *info = (struct tcp_info){.tcpi_state = (uint8_t)pretended_state()};
    pretend_a_moment();
    info->tcpi_bytes_received = pretence->data + pretence->client_fin + pretence->forged_fins;
    info->tcpi_bytes_acked = pretence->acked;
    bool is_acked = pretence->acked == written_bytes + pretence->server_fin;
    info->tcpi_unacked = !is_acked && pretence->moments % 2 == 0;
    info->tcpi_notsent_bytes = !is_acked && pretence->moments % 2 == 1;
    *length = pretence->length;
}

WRAPPED(int, getsockopt, int fd, int level, int name, void *value, socklen_t *length)
{
    if (fails_now(&failing_getsockopt)) {
        return -1;
    }
    if (pretence != NULL && level == IPPROTO_TCP && name == TCP_INFO) {
        pretend_info(value, length);
        return 0;
    }
    return __real_getsockopt(fd, level, name, value, length);
}

WRAPPED(int, ioctl, int fd, unsigned long request, int *value)
{
    if (fails_now(&failing_ioctl)) {
        return -1;
    }
    if (pretence == NULL) {
        return __real_ioctl(fd, request, value);
    }
    pretend_a_moment();
    *value = request == SIOCINQ ? (int)(pretence->data - read_bytes)
                                : (int)(written_bytes + pretence->server_fin - pretence->acked);
    return 0;
}

WRAPPED(ssize_t, recv, int fd, void *data, size_t length, int flags)
{
    if (pretence == NULL || (flags & MSG_PEEK) == 0) {
        return __real_recv(fd, data, length, flags);
    }
    pretend_a_moment();
    if (pretence->data > read_bytes || pretence->client_fin || pretence->is_reset) {
        return pretence->data > read_bytes;
    }
    errno = EAGAIN;
    return -1;
}

static struct tcp_info kernel_info(void)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof(info);
    assert_int_equal(getsockopt(server_fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    return info;
}

/* A socket that is bound to a port of loopback, whose address it leaves. */
static int bind_somewhere(int family, struct sockaddr_storage *address, socklen_t *length)
{
    *address = (struct sockaddr_storage){.ss_family = (sa_family_t)family};
    if (family == AF_INET) {
        ((struct sockaddr_in *)address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else {
        ((struct sockaddr_in6 *)address)->sin6_addr = in6addr_loopback;
    }
    int fd = socket(family, SOCK_STREAM, 0);
    *length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    assert_int_equal(bind(fd, (void *)address, *length), 0);
    assert_int_equal(getsockname(fd, (void *)address, length), 0);
    return fd;
}

static void set(int fd, int option, int value)
{
    assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)), 0);
}

/* Both ends do not block, and hold little. */
static void connect_both(int family)
{
    struct sockaddr_storage address;
    socklen_t length;
    int listen_fd = bind_somewhere(family, &address, &length);
    set(listen_fd, SO_OOBINLINE, 1);
    set(listen_fd, SO_SNDBUF, SMALL_BUFFER_BYTES);
    set(listen_fd, SO_RCVBUF, SMALL_BUFFER_BYTES);
    assert_int_equal(listen(listen_fd, 1), 0);
    client_fd = socket(family, SOCK_STREAM, 0);
    set(client_fd, SO_SNDBUF, SMALL_BUFFER_BYTES);
    set(client_fd, SO_RCVBUF, SMALL_BUFFER_BYTES);
    assert_int_equal(connect(client_fd, (void *)&address, length), 0);
    server_fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK);
    assert_true(server_fd >= 0);
    close(listen_fd);
    read_bytes = written_bytes = 0;
}

static void close_both(void)
{
    if (client_fd >= 0) {
        close(client_fd);
    }
    close(server_fd);
}

static void close_with_reset(int fd)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(fd);
}

/* Waits for what the network brings. */
static void await(bool (*has_come)(void))
{
    for (int waited_ms = 0; !has_come(); waited_ms++) {
        assert_true(waited_ms < PATIENCE_MS);
        poll(NULL, 0, 1);
    }
}

static bool server_write(size_t count)
{
    ssize_t n = send(server_fd, bytes, count, MSG_NOSIGNAL);
    written_bytes += n > 0 ? (uint64_t)n : 0;
    return n > 0;
}

static bool server_read(size_t count)
{
    ssize_t n = recv(server_fd, bytes, count, 0);
    read_bytes += n > 0 ? (uint64_t)n : 0;
    return n > 0;
}

static int awaited_state;
static uint64_t awaited_received;

static bool is_in_awaited_state(void)
{
    return kernel_info().tcpi_state == awaited_state;
}

static bool has_received(void)
{
    return kernel_info().tcpi_bytes_received >= awaited_received;
}

static bool is_acknowledged(void)
{
    int queued = -1;
    return ioctl(server_fd, SIOCOUTQ, &queued) == 0 && queued == 0;
}

/* Until only the client's window holds it up. */
static void server_fill(void)
{
    for (int silent_ms = 0; silent_ms < 3; silent_ms++) {
        while (server_write(sizeof(bytes))) {
            silent_ms = 0;
        }
        poll(NULL, 0, 1);
    }
}

static void client_send(const char *from, size_t count, int flags)
{
    awaited_received = kernel_info().tcpi_bytes_received + count;
    assert_int_equal(send(client_fd, from, count, flags), count);
    await(has_received);
}

static void client_end(void)
{
    awaited_received = kernel_info().tcpi_bytes_received + 1;
    assert_int_equal(shutdown(client_fd, SHUT_WR), 0);
    await(has_received);
}

/* Which marks a state stands for. */
static void expect_marks(const struct tcp_account *account, int state)
{
    assert_int_equal(account->client_has_finished, state == CLOSE_WAIT || state == LAST_ACK ||
                                                       state == CLOSING || state == CLOSE);
    assert_int_equal(account->server_has_finished, state == FIN_WAIT1 || state == FIN_WAIT2 ||
                                                       state == LAST_ACK || state == CLOSING ||
                                                       state == CLOSE);
    assert_int_equal(account->is_over, state == CLOSE);
}

/* Returns whether the connection goes on. */
static bool expect_counts(void)
{
    struct tcp_account account;
    assert_true(tcp_account_ask(server_fd, &account));
    assert_in_range(account.read_bytes, read_bytes, read_bytes + account.is_over);
    assert_in_range(account.written_bytes, written_bytes, written_bytes + account.is_over);
    return !account.is_over;
}

/* A letter is a step:
 *   w server writes 100 bytes and they are acknowledged   W server writes until nothing more fits
 *   r server reads 10 bytes   e server reads to the end   s server ends its stream
 *   c client sends 70 bytes   u client sends an urgent byte   f client ends its stream
 *   x client resets */
struct situation {
    const char *steps;
    int state;
};

static const struct situation situations[] = {
    {"", ESTABLISHED},
    {"w", ESTABLISHED},
    {"c", ESTABLISHED},
    {"cr", ESTABLISHED},
    {"crrrrrrr", ESTABLISHED},
    {"wcrwcr", ESTABLISHED},
    {"W", ESTABLISHED},
    {"WcrW", ESTABLISHED},
    /* Urgent bytes lie between the others. */
    {"u", ESTABLISHED},
    {"cuc", ESTABLISHED},
    {"cucrrrrrrr", ESTABLISHED},
    {"cucrrrrrrrr", ESTABLISHED},
    {"ucrruc", ESTABLISHED},
    /* The client ends first. */
    {"f", CLOSE_WAIT},
    {"cf", CLOSE_WAIT},
    {"cfr", CLOSE_WAIT},
    {"cfrrrrrrr", CLOSE_WAIT},
    {"cfe", CLOSE_WAIT},
    {"cfewW", CLOSE_WAIT},
    {"cfwre", CLOSE_WAIT},
    {"cuf", CLOSE_WAIT},
    {"Wf", CLOSE_WAIT},
    {"Wcfs", LAST_ACK},
    {"Wcfes", LAST_ACK},
    /* The server ends first. */
    {"s", FIN_WAIT2},
    {"ws", FIN_WAIT2},
    {"wscr", FIN_WAIT2},
    {"Ws", FIN_WAIT1},
    {"Wscr", FIN_WAIT1},
    {"Wsf", CLOSING},
    {"Wscfr", CLOSING},
    {"Wscfe", CLOSING},
    /* Both have ended, or one has reset. */
    {"sf", CLOSE},
    {"wcrsf", CLOSE},
    {"wcfes", CLOSE},
    {"x", CLOSE},
    {"wcrx", CLOSE},
    {"Wcx", CLOSE},
    {"Wcfx", CLOSE},
    {"cWsx", CLOSE},
};

static void step(char letter)
{
    switch (letter) {
    case 'w':
        assert_true(server_write(100));
        await(is_acknowledged);
        break;
    case 'W':
        server_fill();
        break;
    case 'r':
        assert_true(server_read(10));
        break;
    case 'e':
        while (server_read(sizeof(bytes))) {
        }
        break;
    case 's':
        assert_int_equal(shutdown(server_fd, SHUT_WR), 0);
        break;
    case 'c':
        client_send(bytes, 70, 0);
        break;
    case 'u':
        client_send("!", 1, MSG_OOB);
        break;
    case 'f':
        client_end();
        break;
    default:
        close_with_reset(client_fd);
        client_fd = -1;
    }
}

static void try_situation(int family, const struct situation *situation)
{
    connect_both(family);
    for (const char *letter = situation->steps; *letter != '\0'; letter++) {
        step(*letter);
        expect_counts();
    }
    awaited_state = situation->state;
    await(is_in_awaited_state);
    struct tcp_account account;
    assert_true(tcp_account_ask(server_fd, &account));
    expect_marks(&account, situation->state);
    expect_counts();
    close_both();
}

static void test_every_situation(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(situations) / sizeof(situations[0]); i++) {
        try_situation(AF_INET, &situations[i]);
        try_situation(AF_INET6, &situations[i]);
    }
}

/* What is unread can be read, and is counted then. */
static void test_reading_after_a_reset(void **state)
{
    (void)state;
    connect_both(AF_INET);
    step('c');
    step('x');
    awaited_state = CLOSE;
    await(is_in_awaited_state);
    assert_true(server_read(30));
    assert_false(expect_counts());
    assert_false(server_write(1));
    close_both();
}

static void test_its_process_has_died(void **state)
{
    (void)state;
    connect_both(AF_INET);
    step('c');
    pid_t pid = fork();
    if (pid == 0) {
        bool done = server_read(30) && server_write(50);
        kill(done ? getpid() : 0, SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    read_bytes = 30;
    written_bytes = 50;
    assert_true(expect_counts());
    close_both();
}

/* Both ends at random, at the same time. */

static unsigned next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(*random >> 33);
}

/* Mostly little, so that many packets come. */
static size_t random_count(uint64_t *random)
{
    return 1 + next_random(random) % (1U << next_random(random) % 15);
}

static void client_step(uint64_t *random)
{
    static char own[1 << 15];
    switch (next_random(random) % 16) {
    case 0:
        sched_yield();
        break;
    case 1:
        send(client_fd, "!", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 2:
        if (next_random(random) % 8 == 0) {
            shutdown(client_fd, SHUT_WR);
        }
        break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        recv(client_fd, own, random_count(random), MSG_DONTWAIT);
        break;
    default:
        send(client_fd, own, random_count(random), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static void *run_client(void *seed)
{
    uint64_t random = *(uint64_t *)seed;
    for (int i = 0; i < STEPS; i++) {
        client_step(&random);
    }
    if (next_random(&random) % 2 == 0) {
        close_with_reset(client_fd);
        client_fd = -1;
    }
    return NULL;
}

static void server_step(uint64_t *random)
{
    switch (next_random(random) % 16) {
    case 0:
        if (next_random(random) % 8 == 0) {
            shutdown(server_fd, SHUT_WR);
        }
        break;
    case 1:
        sched_yield();
        break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        server_read(random_count(random));
        break;
    default:
        server_write(random_count(random));
    }
}

static void exercise(uint64_t seed)
{
    uint64_t random = seed;
    uint64_t client_seed = ~seed;
    pthread_t client;
    connect_both(seed % 2 == 0 ? AF_INET : AF_INET6);
    assert_int_equal(pthread_create(&client, NULL, run_client, &client_seed), 0);
    bool goes_on = true;
    for (int i = 0; goes_on && i < STEPS; i++) {
        server_step(&random);
        goes_on = expect_counts();
    }
    pthread_join(client, NULL);
    expect_counts();
    close_both();
}

static void test_random_traffic(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        exercise(SEED + round);
    }
}

/* With the kernel that is made up. */

static uint64_t moments_random;

static void begin_pretence(struct pretence *of)
{
    connect_both(AF_INET);
    of->length = sizeof(struct tcp_info);
    pretence = of;
}

static void end_pretence(void)
{
    pretence = NULL;
    close_both();
}

static void bring_data(void)
{
    pretence->data += pretence->client_fin ? 0 : 1 + next_random(&moments_random) % 1000;
}

static void bring_ack(void)
{
    uint64_t unacked = written_bytes + pretence->server_fin - pretence->acked;
    pretence->acked += next_random(&moments_random) % (unacked + 1);
}

static void bring_anything(void)
{
    if (pretended_state() == CLOSE) {
        return;
    }
    switch (next_random(&moments_random) % 8) {
    case 0:
    case 1:
        bring_data();
        break;
    case 2:
    case 3:
        bring_ack();
        break;
    case 4:
        pretence->client_fin |= next_random(&moments_random) % 4 == 0;
        break;
    case 5:
        pretence->is_reset |= next_random(&moments_random) % 100 == 0;
        break;
    default:
        break;
    }
}

static void test_packets_at_every_moment(void **state)
{
    (void)state;
    const uint64_t far = (uint64_t)5 << 32;
    struct pretence pretended = {.moment = bring_anything};
    begin_pretence(&pretended);
    moments_random = SEED;
    for (int round = 0; round < 10000; round++) {
        read_bytes = round % 2 == 0 ? 0 : far + next_random(&moments_random);
        written_bytes = round % 3 == 0 ? 0 : far + next_random(&moments_random);
        pretended.data = read_bytes + next_random(&moments_random) % 2000;
        pretended.acked =
            written_bytes - (written_bytes > 0 ? next_random(&moments_random) % 9999 : 0);
        pretended.client_fin = pretended.is_reset = false;
        pretended.server_fin = round % 5 == 0;
        expect_counts();
    }
    end_pretence();
}

/* Moments: before the first counts two, and of each round one before either queue, two before its
 * counts. */
enum { MOMENTS_OF_FIRST_COUNTS = 2, MOMENTS_OF_A_ROUND = 4 };
enum { ROUND_QUIET_BEFORE_QUEUES = 3, ROUND_QUIET_BEHIND_QUEUES = 7 };

static void bring_unless_quiet(void)
{
    int at = pretence->moments - MOMENTS_OF_FIRST_COUNTS - 1;
    int round = at / MOMENTS_OF_A_ROUND;
    int moment = at % MOMENTS_OF_A_ROUND;
    bool is_quiet = (round == ROUND_QUIET_BEFORE_QUEUES && moment < 2) ||
                    (round == ROUND_QUIET_BEHIND_QUEUES && moment > 0);
    if (!is_quiet) {
        pretence->data++;
        pretence->acked++;
    }
}

static void test_one_quiet_interval_of_each_kind_does(void **state)
{
    (void)state;
    struct pretence pretended = {.data = 100, .moment = bring_unless_quiet};
    begin_pretence(&pretended);
    read_bytes = 50;
    written_bytes = 1000;
    assert_true(expect_counts());
    assert_int_equal(pretended.moments, MOMENTS_OF_FIRST_COUNTS +
                                            (ROUND_QUIET_BEHIND_QUEUES + 1) * MOMENTS_OF_A_ROUND);
    end_pretence();
}

/* Two moments of the counts, and one of the look for what is unread. */
static void test_a_connection_at_rest_is_asked_twice(void **state)
{
    (void)state;
    struct pretence pretended = {.data = 70, .acked = 300};
    begin_pretence(&pretended);
    read_bytes = 70;
    written_bytes = 300;
    failing_ioctl = fail_next(0, 0);
    assert_true(expect_counts());
    assert_int_equal(pretended.moments, MOMENTS_OF_FIRST_COUNTS + 1);
    assert_int_equal(failing_ioctl.calls, 0);
    end_pretence();
}

static void bring_always(void)
{
    pretence->data++;
}

static void test_packets_that_never_end(void **state)
{
    (void)state;
    struct pretence pretended = {.moment = bring_always};
    struct tcp_account account;
    begin_pretence(&pretended);
    assert_false(tcp_account_ask(server_fd, &account));
    assert_int_equal(errno, EAGAIN);
    pretended.moment = NULL;
    assert_true(expect_counts());
    end_pretence();
}

/* A second FIN comes when what was read is known already, and what was written is not. */
static void bring_a_forged_fin(void)
{
    pretence->acked += pretence->moments < 20;
    pretence->forged_fins = pretence->moments >= 10;
}

static void test_a_client_that_forges_a_fin(void **state)
{
    (void)state;
    struct pretence pretended = {.data = 10, .client_fin = true, .moment = bring_a_forged_fin};
    begin_pretence(&pretended);
    read_bytes = 10;
    written_bytes = 1000;
    assert_true(expect_counts());
    assert_true(pretended.moments > 20);
    end_pretence();
}

/* What it does not answer. */

static void expect_error(int fd, int error)
{
    struct tcp_account account;
    errno = 0;
    assert_false(tcp_account_ask(fd, &account));
    assert_int_equal(errno, error);
}

static void test_what_is_not_tcp(void **state)
{
    (void)state;
    const int sockets[][3] = {{AF_INET, SOCK_DGRAM, 0},
                              {AF_INET6, SOCK_DGRAM, 0},
                              {AF_UNIX, SOCK_STREAM, 0},
                              {AF_INET, SOCK_STREAM, IPPROTO_MPTCP}};
    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
        int fd = socket(sockets[i][0], sockets[i][1], sockets[i][2]);
        if (fd >= 0) { /* not every kernel has every one */
            expect_error(fd, EPROTOTYPE);
            close(fd);
        }
    }
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    expect_error(ends[0], ENOTSOCK);
    close(ends[0]);
    close(ends[1]);
    expect_error(ends[0], EBADF);
}

static void test_what_is_not_connected(void **state)
{
    (void)state;
    struct sockaddr_storage address;
    socklen_t length;
    int fd = bind_somewhere(AF_INET, &address, &length);
    set(fd, SO_OOBINLINE, 1);
    expect_error(fd, ENOTCONN);
    assert_int_equal(listen(fd, 1), 0);
    expect_error(fd, ENOTCONN);
    close(fd);
    int refused_fd = socket(AF_INET, SOCK_STREAM, 0);
    set(refused_fd, SO_OOBINLINE, 1);
    assert_int_equal(connect(refused_fd, (void *)&address, length), -1);
    expect_error(refused_fd, ENOTCONN);
    close(refused_fd);
}

/* SYN_SENT, SYN_RECV, LISTEN, NEW_SYN_RECV, and one that no kernel has yet. */
static void test_states_without_a_connection(void **state)
{
    (void)state;
    static const int states[] = {2, 3, 10, 12, 99};
    struct pretence pretended = {0};
    begin_pretence(&pretended);
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        pretended.other_state = states[i];
        expect_error(server_fd, ENOTCONN);
    }
    end_pretence();
}

/* Else urgent bytes would be counted as read that recv() leaves out. */
static void test_urgent_bytes_must_be_inline(void **state)
{
    (void)state;
    connect_both(AF_INET);
    set(server_fd, SO_OOBINLINE, 0);
    expect_error(server_fd, EINVAL);
    close_both();
}

static void test_a_kernel_without_counts(void **state)
{
    (void)state;
    struct pretence pretended = {0};
    begin_pretence(&pretended);
    pretended.length = offsetof(struct tcp_info, tcpi_bytes_received);
    expect_error(server_fd, ENOTSUP);
    pretended.length += sizeof(uint64_t);
    assert_true(expect_counts());
    end_pretence();
}

/* Of a connection in state, with something unread: every call in turn. */
static void expect_every_failure(int state)
{
    struct pretence pretended = {.data = 10, .other_state = state};
    begin_pretence(&pretended);
    for (int i = 0; i < 4; i++) {
        failing_getsockopt = fail_after(i, 1, ENOBUFS);
        expect_error(server_fd, ENOBUFS);
        assert_int_equal(failing_getsockopt.failures, 0);
    }
    for (int i = 0; i < 2; i++) {
        failing_ioctl = fail_after(i, 1, ENOMEM);
        expect_error(server_fd, ENOMEM);
        assert_int_equal(failing_ioctl.failures, 0);
    }
    expect_counts();
    end_pretence();
}

static void test_calls_that_fail(void **state)
{
    (void)state;
    expect_every_failure(ESTABLISHED);
    expect_every_failure(CLOSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_situation),
        cmocka_unit_test(test_reading_after_a_reset),
        cmocka_unit_test(test_its_process_has_died),
        cmocka_unit_test(test_random_traffic),
        cmocka_unit_test(test_packets_at_every_moment),
        cmocka_unit_test(test_one_quiet_interval_of_each_kind_does),
        cmocka_unit_test(test_a_connection_at_rest_is_asked_twice),
        cmocka_unit_test(test_packets_that_never_end),
        cmocka_unit_test(test_a_client_that_forges_a_fin),
        cmocka_unit_test(test_what_is_not_tcp),
        cmocka_unit_test(test_what_is_not_connected),
        cmocka_unit_test(test_states_without_a_connection),
        cmocka_unit_test(test_urgent_bytes_must_be_inline),
        cmocka_unit_test(test_a_kernel_without_counts),
        cmocka_unit_test(test_calls_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
