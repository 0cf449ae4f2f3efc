#include "server/process/sandbox.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct allowed_call {
    const char *name; /* not every architecture has each of them */
    const char *why;
};

/* Found with strace on the tests of every model, and completed by what other versions of the C
 * library and other architectures take in their place. Missing are execve, socket, connect, kill,
 * ptrace, every call that changes files other than by open, and all that the master did before:
 * bind, listen, setuid, setrlimit... */
static const struct allowed_call allowed_calls[] = {
    /* connections */
    {"recvfrom", "requests"},
    {"sendfile", "responses from files"},
    {"recvmsg", "connections from another process that has more"},
    {"getsockopt", "whether what another process sent is a connection"},
    {"getpeername", "whose it is"},
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
    /* files: whatever the user may open */
    {"openat2", "files beneath the document root"},
    {"openat", "the document root anew; its files where openat2 is refused; logs; the C library's "
               "own files: time zone"},
    {"readlinkat", "symbolic links below the document root where openat2 is refused"},
    {"read", "orders, wake-ups, the C library's files"},
    {"pread64", "small files into memory; what a predecessor has written to a log"},
    {"write", "logs, wake-ups"},
    {"pwritev2", "logs that are pipes"},
    {"ftruncate", "a log's last line, torn by the end of the disk"},
    {"close", "connections, files"},
    {"fstat", "freshness of files"},
    {"newfstatat", "the same: glibc has fstat call it; whether the document root is another one"},
    {"lseek", "the C library's files; whether a write to a log took place"},
    {"dup3", "reopening logs, and the document root"},
    /* memory */
    {"munmap", "malloc, stacks of threads"},
    {"mremap", "realloc"},
    {"brk", "malloc"},
    {"madvise", "stacks of threads that have ended"},
    {"getrandom", "malloc, in a new arena"},
    /* threads; no processes */
    {"futex", "locks"},
    {"set_robust_list", "glibc, in each new thread"},
    {"rseq", "the same"},
    {"sched_getaffinity", "malloc: how many arenas"},
    {"sched_yield", "locks that spin"},
    {"gettid", "the scoreboard, abort"},
    {"getpid", "the log, /whoami, abort"},
    {"getppid", "/whoami; whether the master lives"},
    {"getuid", "libevent: whether it runs with rights of a file"},
    {"geteuid", "the same"},
    {"getgid", "the same"},
    {"getegid", "the same"},
    /* signals: those that are sent have a rule of their own */
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

/* What an argument must be: (argument & mask) == value. Of an int the kernel sees 32 bits, whatever
 * else the register holds. Pointers can be compared with NULL; what they point to is out of a
 * filter's sight. */
struct condition {
    unsigned argument;
    uint64_t mask; /* 0: there is no condition */
    uint64_t value;
};

#define IS(argument, value)   {argument, UINT32_MAX, value}
#define IS_NULL(argument)     {argument, UINT64_MAX, 0}
#define LACKS(argument, bits) {argument, bits, 0}

enum {
    CONDITIONS = 2,
    THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                   CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID
};

struct limited_call {
    const char *name;
    const char *why;
    struct condition only[CONDITIONS]; /* all of them */
};

/* Calls that could do more to the master, to siblings, to other processes of the user or to the
 * network than serving needs. A name may stand here more than once: one of the lines must fit. */
static const struct limited_call limited_calls[] = {
    /* none that would block whoever it is handed over to */
    {"accept4", "new connections", {IS(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}},
    /* neither opens a connection: no address, and no data with which to begin one */
    {"sendto", "responses; that a bare server is ready", {LACKS(3, MSG_FASTOPEN), IS_NULL(4)}},
    {"sendmsg",
     "long responses from memory; connections to another process that has fewer",
     {LACKS(2, MSG_FASTOPEN)}},
    {"shutdown", "lingering close", {IS(1, SHUT_WR)}},
    {"setsockopt", "a reset instead of a close", {IS(1, SOL_SOCKET), IS(2, SO_LINGER)}},
    /* not who is sent which signal about a descriptor, and O_NONBLOCK stays: others share it */
    {"fcntl", "a connection that was handed over", {IS(1, F_SETFL), IS(2, O_NONBLOCK)}},
    {"fcntl", "whether a descriptor is free for one", {IS(1, F_DUPFD_CLOEXEC)}},
    {"fcntl", "the C library, of streams", {IS(1, F_GETFL)}},
    {"fcntl", "the same", {IS(1, F_GETFD)}},
    {"fcntl", "what the program before has left open, before it is closed", {IS(1, F_SETFD)}},
    /* others push input into a terminal */
    {"ioctl", "what a client has sent and nobody has read", {IS(1, FIONREAD)}},
    {"ioctl", "what a client has not taken yet", {IS(1, SIOCOUTQ)}},
    {"ioctl", "the C library: whether a stream is a terminal", {IS(1, TCGETS)}},
#ifdef TCGETS2
    {"ioctl", "the same, from glibc 2.42 on", {IS(1, TCGETS2)}},
#endif
    /* no new code */
    {"mmap", "malloc, stacks of threads", {LACKS(2, PROT_EXEC)}},
    {"prctl", "names of threads", {IS(0, PR_SET_NAME)}},
    /* its own alone, and only asked */
    {"prlimit64", "the size of stacks", {IS(0, 0), IS_NULL(2)}},
};

/* What takes threads, and the end of a server. */
static const struct limited_call serving_calls[] = {
    {"shutdown", "of the listening socket, in a drain", {IS(1, SHUT_RD)}},
    {"mprotect", "malloc's arenas, stacks of threads", {LACKS(2, PROT_EXEC)}},
    /* no processes; of threads no other flags than those of the C library */
    {"clone", "threads", {IS(0, THREAD_FLAGS)}},
};

/* Streams; and the scoreboard stays what it can only read. */
static const struct limited_call observing_calls[] = {
    {"setsockopt",
     "less that waits in the kernel for who does not read",
     {IS(1, SOL_SOCKET), IS(2, SO_SNDBUF)}},
    {"mprotect", "malloc, of memory that it gives back", {LACKS(2, PROT_EXEC | PROT_WRITE)}},
};

/* Those of each response: a filter tries the calls in the order of their priority. */
static const char *const frequent_calls[] = {"recvfrom", "sendto", "epoll_wait", "sendfile"};
enum { FREQUENT_PRIORITY = UINT8_MAX };

/* Calls that this architecture does not have are left out. */
static int allow(scmp_filter_ctx filter, const char *name,
                 const struct condition conditions[CONDITIONS])
{
    struct scmp_arg_cmp wanted[CONDITIONS];
    unsigned count = 0;
    int number = seccomp_syscall_resolve_name(name);
    for (size_t i = 0; i < CONDITIONS; i++) {
        const struct condition *condition = &conditions[i];
        if (condition->mask != 0) {
            wanted[count++] = SCMP_CMP(condition->argument, SCMP_CMP_MASKED_EQ, condition->mask,
                                       condition->value);
        }
    }
    return number < 0 ? 0 : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, wanted);
}

static int allow_table(scmp_filter_ctx filter)
{
    static const struct condition none[CONDITIONS];
    int result = 0;
    for (size_t i = 0; i < sizeof(allowed_calls) / sizeof(allowed_calls[0]) && result == 0; i++) {
        result = allow(filter, allowed_calls[i].name, none);
    }
    return result;
}

static int allow_limited(scmp_filter_ctx filter, const struct limited_call *calls, size_t count)
{
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        result = allow(filter, calls[i].name, calls[i].only);
    }
    return result;
}

static int allow_all_limited(scmp_filter_ctx filter, enum sandbox_purpose purpose)
{
    int result =
        allow_limited(filter, limited_calls, sizeof(limited_calls) / sizeof(limited_calls[0]));
    if (result != 0) {
        return result;
    }
    return purpose == SANDBOX_TO_SERVE
               ? allow_limited(filter, serving_calls,
                               sizeof(serving_calls) / sizeof(serving_calls[0]))
               : allow_limited(filter, observing_calls,
                               sizeof(observing_calls) / sizeof(observing_calls[0]));
}

/* The flags of clone3 lie in memory, out of a filter's sight: told that it does not exist, the C
 * library takes clone. */
static int hide_clone3(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* Signals to this process (abort, raise; a crash handler that passes the signal on), to no other
 * one of the same user. */
static int allow_own_signals(scmp_filter_ctx filter)
{
    const struct condition self[CONDITIONS] = {IS(0, (uint64_t)getpid())};
    int result = allow(filter, "tgkill", self);
    return result != 0 ? result : allow(filter, "rt_tgsigqueueinfo", self);
}

static int put_frequent_first(scmp_filter_ctx filter)
{
    int result = 0;
    for (size_t i = 0; i < sizeof(frequent_calls) / sizeof(frequent_calls[0]) && result == 0; i++) {
        int number = seccomp_syscall_resolve_name(frequent_calls[i]);
        result = number < 0 ? 0 : seccomp_syscall_priority(filter, number, FREQUENT_PRIORITY);
    }
    return result;
}

static int fill(scmp_filter_ctx filter, enum sandbox_purpose purpose)
{
    static int (*const parts[])(scmp_filter_ctx) = {allow_table, hide_clone3, allow_own_signals,
                                                    put_frequent_first};
    int result = allow_all_limited(filter, purpose);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && result == 0; i++) {
        result = parts[i](filter);
    }
    return result;
}

bool sandbox_enter(enum config_seccomp mode, enum sandbox_purpose purpose, struct error *error)
{
    if (mode == CONFIG_SECCOMP_OFF) {
        return true;
    }
    scmp_filter_ctx filter =
        seccomp_init(mode == CONFIG_SECCOMP_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
    int result = filter == NULL ? -ENOMEM : fill(filter, purpose);
    if (result == 0) {
        result = seccomp_load(filter);
    }
    if (result != 0) {
        error_set(error,
                  "cannot filter system calls: %s; use --seccomp off if this kernel does not allow "
                  "it",
                  strerror(-result));
    }
    seccomp_release(filter);
    return result == 0;
}
