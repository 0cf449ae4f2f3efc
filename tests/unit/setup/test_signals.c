#include "server/setup/signals.h"

#include "tests/unit/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static int block(void **state)
{
    (void)state;
    signals_block();
    return 0;
}

static void test_blocked(void **state)
{
    (void)state;
    static const int understood[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    static const int others[] = {SIGSEGV, SIGABRT, SIGFPE, SIGALRM, SIGBUS};
    sigset_t set;
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    for (size_t i = 0; i < sizeof(understood) / sizeof(understood[0]); i++) {
        assert_int_equal(sigismember(&set, understood[i]), 1);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(sigismember(&set, others[i]), 0);
    }
    struct sigaction action;
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_IGN);
}

static void test_delivers_what_was_asked_for(void **state)
{
    (void)state;
    static const int asked[] = {SIGTERM, SIGQUIT, 0};
    int fd = signals_open(asked);
    assert_true(fd >= 0);
    assert_int_not_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(signals_next(fd), 0); /* does not wait */
    assert_int_equal(raise(SIGQUIT), 0);
    assert_int_equal(raise(SIGUSR2), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0); /* merged, as signals are */
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&waiting, 1, PATIENCE_MS), 1);
    int first = signals_next(fd), second = signals_next(fd);
    assert_true((first == SIGQUIT && second == SIGTERM) || (first == SIGTERM && second == SIGQUIT));
    assert_int_equal(signals_next(fd), 0);
    close(fd);
    static const int rest[] = {SIGUSR2, 0};
    fd = signals_open(rest);
    assert_int_equal(signals_next(fd), SIGUSR2);
    assert_int_equal(signals_next(fd), 0);
    close(fd);
    assert_int_equal(signals_next(-1), 0);
}

/* Children and threads inherit the block: a signal waits for whoever reads it. */
static void test_inherited(void **state)
{
    (void)state;
    int ready[2], status;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const int asked[] = {SIGTERM, 0};
        int fd = signals_open(asked);
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ssize_t ignored = write(ready[1], "r", 1);
        (void)ignored;
        _exit(poll(&waiting, 1, PATIENCE_MS) == 1 && signals_next(fd) == SIGTERM ? 7 : 1);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    close(ready[0]);
    close(ready[1]);
}

static int status_of(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Also one that has come before; others, and all of them afterwards, wait as they did. */
static void test_an_end_at_once(void **state)
{
    (void)state;
    static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        pid_t child = fork();
        if (child == 0) {
            raise(numbers[i]);
            signals_end_at_once();
            _exit(1);
        }
        assert_int_equal(status_of(child), 0);
    }
    pid_t child = fork();
    if (child == 0) {
        static const int asked[] = {SIGTERM, 0};
        signals_end_at_once();
        raise(SIGHUP);
        signals_wait_again();
        raise(SIGTERM);
        _exit(signals_next(signals_open(asked)) == SIGTERM ? 7 : 1);
    }
    assert_int_equal(status_of(child), 7);
}

static void expect_reset(void)
{
    static const struct itimerval later = {.it_value = {.tv_sec = 3600}};
    static const int ignored[] = {SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGUSR1, SIGURG};
    struct itimerval timer;
    struct sigaction action;
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    setitimer(ITIMER_REAL, &later, NULL);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        signal(ignored[i], SIG_IGN);
    }
    signals_reset();
    bool good = getitimer(ITIMER_REAL, &timer) == 0 && timer.it_value.tv_sec == 0;
    sigprocmask(SIG_BLOCK, NULL, &set);
    for (int number = 1; number < SIGRTMIN; number++) {
        good = good && sigismember(&set, number) <= 0;
    }
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        good = good && sigaction(ignored[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL;
    }
    _exit(good ? 7 : 1);
}

static void test_what_was_inherited_is_undone(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        expect_reset();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

/* Sends it to the child, once it waits for it. */
static int bits_that_arrive(bool from_the_parent)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const int asked[] = {SIGUSR2, 0};
        uint32_t bits = 4;
        int fd = signals_open(asked);
        if (!from_the_parent) {
            sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 3});
        }
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        bool came = poll(&waiting, 1, PATIENCE_MS) == 1 && signals_next_order(fd, &bits) == SIGUSR2;
        _exit(came ? (int)bits : 99);
    }
    if (from_the_parent) {
        assert_int_equal(sigqueue(child, SIGUSR2, (union sigval){.sival_int = 3}), 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* What goes with a signal is the parent's word, and nobody else's. */
static void test_bits(void **state)
{
    (void)state;
    assert_int_equal(bits_that_arrive(true), 7);
    assert_int_equal(bits_that_arrive(false), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocked),        cmocka_unit_test(test_delivers_what_was_asked_for),
        cmocka_unit_test(test_inherited),      cmocka_unit_test(test_bits),
        cmocka_unit_test(test_an_end_at_once), cmocka_unit_test(test_what_was_inherited_is_undone),
    };
    return cmocka_run_group_tests_name("stop_signals", tests, block, NULL);
}
