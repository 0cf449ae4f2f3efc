#include "server/process/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct error error;

static enum sandbox_purpose purpose; /* of the next */

/* How a process ends that does something in the sandbox. */
static int status_of(enum config_seccomp mode, void (*act)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !sandbox_enter(mode, purpose, &error)) {
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

static void send_little_at_once(void)
{
    const int bytes = 65536;
    if (setsockopt(STDIN_FILENO, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) != 0 &&
        errno != ENOTSOCK) {
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

/* ---- Calls by their arguments ---- */

enum { NO_FD = -1, ARGUMENTS = 6 };
#define ABOVE_AN_INT (INT64_C(1) << 32)

struct call {
    const char *what;
    long number;
    int64_t arguments[ARGUMENTS];
};

static const struct call *next_call;
static struct sockaddr_in somewhere = {.sin_family = AF_INET};
static struct rlimit limit;
static struct msghdr message;

/* Whether it succeeds is not asked. */
static void make_call(void)
{
    const int64_t *a = next_call->arguments;
    syscall(next_call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define ADDRESS(object) (int64_t)(intptr_t)&(object)

/* What a process that is not the server's any more would try: to reach the master, its siblings,
 * other processes of the user, or the network. */
static const struct call dangerous_calls[] = {
    {"connect by sending", SYS_sendto, {NO_FD, 0, 0, MSG_FASTOPEN, 0, 0}},
    {"connect by sending, the flag among others",
     SYS_sendto,
     {NO_FD, 0, 0, MSG_FASTOPEN | MSG_NOSIGNAL, 0, 0}},
    {"send to an address", SYS_sendto, {NO_FD, 0, 0, 0, ADDRESS(somewhere), sizeof(somewhere)}},
    {"connect by a message", SYS_sendmsg, {NO_FD, ADDRESS(message), MSG_FASTOPEN}},
    {"send many messages", SYS_sendmmsg, {NO_FD, 0, 0, MSG_FASTOPEN}},
    {"connect", SYS_connect, {NO_FD, ADDRESS(somewhere), sizeof(somewhere)}},
    {"make a listening socket an ordinary one", SYS_shutdown, {NO_FD, SHUT_RDWR}},
    {"have others block in a connection", SYS_accept4, {NO_FD, 0, 0, SOCK_CLOEXEC}},
    {"bind to a device", SYS_setsockopt, {NO_FD, SOL_SOCKET, SO_BINDTODEVICE, 0, 0}},
    {"connect when something is sent", SYS_setsockopt, {NO_FD, IPPROTO_TCP, 30, 0, 0}},
    {"have somebody signalled", SYS_fcntl, {NO_FD, F_SETOWN, 1}},
    {"the same, with more bits than the kernel sees",
     SYS_fcntl,
     {NO_FD, F_SETOWN | ABOVE_AN_INT, 1}},
    {"have a thread signalled", SYS_fcntl, {NO_FD, F_SETOWN_EX, 0}},
    {"by a signal that kills", SYS_fcntl, {NO_FD, F_SETSIG, SIGKILL}},
    {"have others block", SYS_fcntl, {NO_FD, F_SETFL, 0}},
    {"hold a file of others", SYS_fcntl, {NO_FD, F_SETLEASE, F_WRLCK}},
    {"lock a file", SYS_fcntl, {NO_FD, F_SETLK, 0}},
    {"have others block, otherwise", SYS_ioctl, {NO_FD, FIONBIO, 0}},
    {"limit somebody", SYS_prlimit64, {1, RLIMIT_AS, ADDRESS(limit), 0}},
    {"look at somebody's limits", SYS_prlimit64, {1, RLIMIT_AS, 0, ADDRESS(limit)}},
    {"limit itself", SYS_prlimit64, {0, RLIMIT_AS, ADDRESS(limit), 0}},
    {"open itself to others", SYS_prctl, {PR_SET_DUMPABLE, 1}},
    {"outlive the master", SYS_prctl, {PR_SET_PDEATHSIG, 0}},
    {"let itself be traced", SYS_prctl, {PR_SET_PTRACER, -1}},
    {"make memory for code",
     SYS_mmap,
     {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, NO_FD, 0}},
    {"make code of memory", SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}},
    {"make a process that shares memory", SYS_clone, {CLONE_VM | CLONE_VFORK | SIGCHLD, 0}},
    {"make a thread in a world of its own",
     SYS_clone,
     {CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWUSER, 0}},
    {"trace the parent", SYS_ptrace, {PTRACE_ATTACH, 1}},
    {"write to somebody's memory", SYS_process_vm_writev, {1, 0, 0, 0, 0, 0}},
    {"read somebody's memory", SYS_process_vm_readv, {1, 0, 0, 0, 0, 0}},
    {"send a signal", SYS_kill, {1, 0}},
    {"send a signal to a thread", SYS_tgkill, {1, 1, 0}},
    {"send a signal to any thread", SYS_tkill, {1, 0}},
    {"send a signal with a value", SYS_rt_sigqueueinfo, {1, SIGTERM, 0}},
#ifdef SYS_pidfd_open
    {"have a handle of a process", SYS_pidfd_open, {1, 0}},
#endif
#ifdef SYS_pidfd_getfd
    {"take a descriptor", SYS_pidfd_getfd, {NO_FD, 0, 0}},
#endif
    {"make calls in a ring", SYS_io_uring_setup, {1, 0}},
    {"load a program into the kernel", SYS_bpf, {0, 0, 0}},
    {"handle faults of memory", SYS_userfaultfd, {0}},
    {"measure others", SYS_perf_event_open, {0, 1, -1, NO_FD, 0}},
    {"use keys", SYS_keyctl, {0}},
    {"change the kind of process", SYS_personality, {0}},
    {"enter somebody's world", SYS_setns, {NO_FD, 0}},
    {"make a world of its own", SYS_unshare, {CLONE_NEWUSER}},
    {"mount", SYS_mount, {0, 0, 0, 0, 0}},
    {"give away a file", SYS_fchmod, {NO_FD, 0777}},
    {"cut a file by its name", SYS_truncate, {0, 0}},
    {"list a folder", SYS_getdents64, {NO_FD, 0, 0}},
};

static void test_arguments_that_serving_does_not_need_are_deadly(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(dangerous_calls) / sizeof(dangerous_calls[0]); i++) {
        next_call = &dangerous_calls[i];
        if (!is_killed(make_call)) {
            fail_msg("it may %s", next_call->what);
        }
    }
}

/* The same calls as serving makes them. */
static const struct call needed_calls[] = {
    {"answer", SYS_sendto, {NO_FD, 0, 0, MSG_NOSIGNAL | MSG_MORE, 0, 0}},
    {"hand a connection over", SYS_sendmsg, {NO_FD, ADDRESS(message), MSG_DONTWAIT | MSG_NOSIGNAL}},
    {"end a connection", SYS_shutdown, {NO_FD, SHUT_WR}},
    {"end listening", SYS_shutdown, {NO_FD, SHUT_RD}},
    {"accept", SYS_accept4, {NO_FD, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC}},
    {"reset a connection", SYS_setsockopt, {NO_FD, SOL_SOCKET, SO_LINGER, 0, 0}},
    {"copy a descriptor", SYS_fcntl, {NO_FD, F_DUPFD_CLOEXEC, 0}},
    {"ask for a limit", SYS_prlimit64, {0, RLIMIT_STACK, 0, ADDRESS(limit)}},
    {"make memory",
     SYS_mmap,
     {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NO_FD, 0}},
};

static void test_arguments_that_serving_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(needed_calls) / sizeof(needed_calls[0]); i++) {
        next_call = &needed_calls[i];
        if (!ends_well(CONFIG_SECCOMP_ON, make_call)) {
            fail_msg("it may not %s", next_call->what);
        }
    }
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

static void change_what_it_can_only_read(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || mprotect(page, 4096, PROT_READ | PROT_WRITE) != 0) {
        _exit(1);
    }
}

static void shut_the_socket_down(void)
{
    shutdown(STDIN_FILENO, SHUT_RD);
}

/* It starts no threads, and the scoreboard stays as it is. */
static void test_what_observing_does_not_need_is_deadly(void **state)
{
    (void)state;
    purpose = SANDBOX_TO_OBSERVE;
    for (size_t i = 0; i < FORBIDDEN; i++) {
        assert_true(is_killed(forbidden[i]));
    }
    assert_true(is_killed(change_what_it_can_only_read));
    assert_true(is_killed(shut_the_socket_down));
    assert_true(is_killed(start_a_thread));
    assert_true(ends_well(CONFIG_SECCOMP_ON, open_a_file));
    assert_true(ends_well(CONFIG_SECCOMP_ON, send_little_at_once));
    purpose = SANDBOX_TO_SERVE;
    assert_true(is_killed(send_little_at_once));
    assert_true(ends_well(CONFIG_SECCOMP_ON, change_what_it_can_only_read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_serving_does_not_need_is_deadly),
        cmocka_unit_test(test_arguments_that_serving_does_not_need_are_deadly),
        cmocka_unit_test(test_arguments_that_serving_needs),
        cmocka_unit_test(test_files_can_be_opened),
        cmocka_unit_test(test_threads_can_be_started),
        cmocka_unit_test(test_what_observing_does_not_need_is_deadly),
        cmocka_unit_test(test_abort_keeps_its_signal),
        cmocka_unit_test(test_off_and_log_let_everything_pass),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
