#include "server/supervise/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static char error[SANDBOX_ERROR_BYTES];

/* How a process ends that does something in the sandbox. */
static int status_of(enum config_seccomp mode, void (*act)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !sandbox_enter(mode, error)) {
            _exit(99);
        }
        act();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static bool is_killed(void (*act)(void))
{
    int status = status_of(CONFIG_SECCOMP_ON, act);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool ends_well(enum config_seccomp mode, void (*act)(void))
{
    int status = status_of(mode, act);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void become_a_program(void)
{
    execl("/bin/true", "true", (char *)NULL);
    _exit(1);
}

static void open_a_socket(void)
{
    if (socket(AF_INET, SOCK_STREAM, 0) < 0) {
        _exit(1);
    }
}

static void fork_a_process(void)
{
    if (fork() < 0) {
        _exit(1);
    }
}

static void signal_the_parent(void)
{
    if (kill(getppid(), 0) != 0) {
        _exit(1);
    }
}

/* As if somebody had typed it. */
static void push_input_into_a_terminal(void)
{
    char byte = 'x';
    if (ioctl(STDIN_FILENO, TIOCSTI, &byte) != 0) {
        _exit(1);
    }
}

static void count_what_is_unread(void)
{
    int ends[2], bytes;
    if (pipe2(ends, O_CLOEXEC) != 0 || write(ends[1], "abc", 3) != 3 ||
        ioctl(ends[0], FIONREAD, &bytes) != 0 || bytes != 3) {
        _exit(1);
    }
}

static void remove_a_file(void)
{
    if (unlink("/no/such/file") == 0 || errno != ENOENT) {
        _exit(1);
    }
}

static void *do_nothing(void *argument)
{
    return argument;
}

static void start_a_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, do_nothing, NULL) != 0 || pthread_join(thread, NULL) != 0) {
        _exit(1);
    }
}

static void open_a_file(void)
{
    char byte;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1 || close(fd) != 0) {
        _exit(1);
    }
}

static void (*const forbidden[])(void) = {become_a_program, open_a_socket, fork_a_process,
                                          signal_the_parent, remove_a_file};
enum { FORBIDDEN = sizeof(forbidden) / sizeof(forbidden[0]) };

static void test_what_serving_does_not_need_is_deadly(void **state)
{
    (void)state;
    for (size_t i = 0; i < FORBIDDEN; i++) {
        assert_true(is_killed(forbidden[i]));
    }
    assert_true(is_killed(push_input_into_a_terminal));
}

static void test_files_can_be_opened(void **state)
{
    (void)state;
    assert_true(ends_well(CONFIG_SECCOMP_ON, open_a_file));
    assert_true(ends_well(CONFIG_SECCOMP_ON, count_what_is_unread));
}

static void test_threads_can_be_started(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it makes calls of its own for each thread */
#endif
    assert_true(ends_well(CONFIG_SECCOMP_ON, start_a_thread));
}

static void test_abort_keeps_its_signal(void **state)
{
    (void)state;
    int status = status_of(CONFIG_SECCOMP_ON, abort);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_off_and_log_let_everything_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < FORBIDDEN; i++) {
        assert_true(ends_well(CONFIG_SECCOMP_OFF, forbidden[i]));
        assert_true(ends_well(CONFIG_SECCOMP_LOG, forbidden[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_serving_does_not_need_is_deadly),
        cmocka_unit_test(test_files_can_be_opened),
        cmocka_unit_test(test_threads_can_be_started),
        cmocka_unit_test(test_abort_keeps_its_signal),
        cmocka_unit_test(test_off_and_log_let_everything_pass),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
