#include "server/supervise/sandbox.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct allowed_call {
    const char *name; /* not every architecture has each of them */
    const char *why;
};

/* Found with strace on the tests of every model, and completed by what other versions of the C
 * library and other architectures take in their place. Missing are execve, socket, connect, kill,
 * ptrace, every call that changes files other than by open, and all that the master did before:
 * bind, listen, setuid... */
static const struct allowed_call allowed_calls[] = {
    /* connections */
    {"accept4", "new ones"},
    {"recvfrom", "requests"},
    {"sendto", "responses; that a bare server is ready"},
    {"sendfile", "responses from files"},
    {"sendmsg", "long responses from memory; connections to another process that has fewer"},
    {"recvmsg", "connections from another process that has more"},
    {"shutdown", "lingering close"},
    {"setsockopt", "a reset instead of a close"},
    /* event loop */
    {"epoll_create1", "libevent, once for each loop"},
    {"epoll_ctl", "libevent"},
    {"epoll_wait", "libevent"},
    {"epoll_pwait", "libevent, where there is no epoll_wait"},
    {"eventfd2", "waking a loop"},
    {"pipe2", "libevent's notification of itself"},
    {"poll", "the main thread of a thread pool"},
    {"ppoll", "the same, where there is no poll"},
    {"signalfd4", "orders from the master"},
    /* files */
    {"openat2", "files beneath the document root"},
    {"openat", "the document root anew; its files where openat2 is refused; logs; the C library's "
               "own files: time zone, shared objects"},
    {"readlinkat", "symbolic links below the document root where openat2 is refused"},
    {"read", "orders, wake-ups, the C library's files"},
    {"pread64", "small files into memory"},
    {"write", "logs, wake-ups"},
    {"close", "connections, files"},
    {"fstat", "freshness of files"},
    {"newfstatat", "the same: glibc has fstat call it; whether the document root is another one"},
    {"lseek", "the C library's files"},
    {"dup3", "reopening logs, and the document root"},
    {"fcntl", "the size of the table of descriptors"},
    /* memory */
    {"mmap", "malloc, stacks of threads, shared objects"},
    {"munmap", "the same"},
    {"mremap", "realloc"},
    {"mprotect", "malloc's arenas, stacks of threads"},
    {"brk", "malloc"},
    {"madvise", "stacks of threads that have ended"},
    {"getrandom", "malloc, in a new arena"},
    /* threads: clone has a rule of its own */
    {"futex", "locks"},
    {"set_robust_list", "glibc, in each new thread"},
    {"rseq", "the same"},
    {"sched_getaffinity", "malloc: how many arenas"},
    {"sched_yield", "locks that spin"},
    {"prctl", "dying with the master; core dumps"},
    {"prlimit64", "the size of stacks"},
    {"gettid", "the scoreboard, abort"},
    {"getpid", "the log, /whoami, abort"},
    {"getppid", "/whoami; whether the master lives"},
    {"getuid", "libevent: whether it runs with rights of a file"},
    {"geteuid", "the same"},
    {"getgid", "the same"},
    {"getegid", "the same"},
    /* signals: tgkill has a rule of its own */
    {"rt_sigaction", "abort; handlers for crashes"},
    {"rt_sigprocmask", "abort, every new thread"},
    {"rt_sigreturn", "the end of a handler"},
    {"sigaltstack", "handlers for the end of a stack"},
    {"alarm", "the patience of a crash handler"},
    {"setitimer", "the same, where there is no alarm"},
    {"restart_syscall", "the kernel's own, after SIGCONT"},
    /* time */
    {"clock_gettime", "CPU time; where there is no vDSO, every clock"},
    {"gettimeofday", "where there is no vDSO"},
    {"clock_nanosleep", "/sleep"},
    /* the end */
    {"exit", "of a thread"},
    {"exit_group", "of the process"},
};

/* Calls that this architecture does not have are left out. */
static int allow(scmp_filter_ctx filter, const char *name, const struct scmp_arg_cmp *condition)
{
    int number = seccomp_syscall_resolve_name(name);
    return number < 0 ? 0
                      : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, condition != NULL,
                                               condition);
}

/* Threads, no processes. The flags of clone3 lie in memory, out of a filter's sight: told that it
 * does not exist, the C library takes clone. */
static int allow_threads(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
    int result = allow(filter, "clone", &thread);
    return result != 0 ? result
                       : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* Signals to this process (abort, raise; a crash handler that passes the signal on), to no other
 * one of the same user. */
static int allow_own_signals(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp self = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0);
    int result = allow(filter, "tgkill", &self);
    return result != 0 ? result : allow(filter, "rt_tgsigqueueinfo", &self);
}

/* What is still in the kernel of a connection. Others push input into a terminal. */
static int allow_counting(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp unread = SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, FIONREAD);
    const struct scmp_arg_cmp unsent = SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, SIOCOUTQ);
    int result = allow(filter, "ioctl", &unread);
    return result != 0 ? result : allow(filter, "ioctl", &unsent);
}

static int fill(scmp_filter_ctx filter)
{
    int result = 0;
    for (size_t i = 0; i < sizeof(allowed_calls) / sizeof(allowed_calls[0]) && result == 0; i++) {
        result = allow(filter, allowed_calls[i].name, NULL);
    }
    if (result == 0) {
        result = allow_counting(filter);
    }
    if (result == 0) {
        result = allow_threads(filter);
    }
    return result != 0 ? result : allow_own_signals(filter);
}

bool sandbox_enter(enum config_seccomp mode, char error[SANDBOX_ERROR_BYTES])
{
    if (mode == CONFIG_SECCOMP_OFF) {
        return true;
    }
    scmp_filter_ctx filter =
        seccomp_init(mode == CONFIG_SECCOMP_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
    int result = filter == NULL ? -ENOMEM : fill(filter);
    if (result == 0) {
        result = seccomp_load(filter);
    }
    if (result != 0) {
        snprintf(error, SANDBOX_ERROR_BYTES,
                 "cannot filter system calls: %s; use --seccomp off if this kernel does not allow "
                 "it",
                 strerror(-result));
    }
    seccomp_release(filter);
    return result == 0;
}
