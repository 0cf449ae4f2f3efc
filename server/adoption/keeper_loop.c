/* What runs in a keeper. It has neither libc nor globals: keeper_run leaves all memory but the page
 * of its code and the page of its stack and data. So everything behind the clone is one function in
 * a section of its own: what it uses is inlined. CMakeLists.txt has this file compiled so that no
 * compiler adds calls, tables or checks that lie elsewhere. */
#include "server/adoption/keeper_internal.h"
#include "server/adoption/raw_call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#if RAW_CALL_IS_KNOWN

#define ADDRESS(pointer) ((long)(uintptr_t)(pointer))

enum {
    RSEQ_LEAST_BYTES = 32, /* the C library registers so many or more: it depends on the kernel */
    RSEQ_MOST_BYTES = 512,
    SIGNAL_SET_BYTES = 8 /* the kernel's */
};

/* No address space ends beyond it. */
#define HIGHEST_END ((uintptr_t)1 << 56)

/* The linker names the ends of a section. */
extern const unsigned char code_begin[] __asm__("__start_keeper_text")
    __attribute__((visibility("hidden")));
extern const unsigned char code_end[] __asm__("__stop_keeper_text")
    __attribute__((visibility("hidden")));

RAW_INLINE _Noreturn void end(int status)
{
    for (;;) {
        raw_call(SYS_exit_group, status, 0, 0, 0, 0);
    }
}

/* ---- Apart from the worker ---- */

/* Nobody of the same user may reach into it, as it can read from every client. */
RAW_INLINE bool become_a_keeper(void)
{
    static const char name[] = "keeper";
    raw_call(SYS_prctl, PR_SET_NAME, ADDRESS(name), 0, 0, 0);
    return raw_call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
           raw_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 &&
           raw_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* The kernel would write to its memory. It wants the size that was registered, which the C library
 * does not tell. */
RAW_INLINE bool leave_rseq(void *rseq)
{
    long result = rseq == NULL ? 0 : -EINVAL;
    for (long bytes = RSEQ_LEAST_BYTES; result == -EINVAL && bytes <= RSEQ_MOST_BYTES; bytes++) {
        result = raw_call(SYS_rseq, ADDRESS(rseq), bytes, RSEQ_FLAG_UNREGISTER, RSEQ_SIG, 0);
    }
    return result == 0;
}

/* What is sealed stays: the kernel may have sealed what it maps itself (EPERM). Everything around
 * it goes, in halves, and beyond the end of the address space there is nothing (EINVAL). */
RAW_INLINE void unmap(uintptr_t from, uintptr_t to, uintptr_t page_bytes)
{
    uintptr_t bytes = to - from;
    while (from < to) {
        bytes = bytes < to - from ? bytes : to - from;
        long result = raw_call(SYS_munmap, (long)from, (long)bytes, 0, 0, 0);
        if (result == 0) {
            from += bytes;
            bytes *= 2;
        } else if (bytes > page_bytes) {
            bytes = (bytes / 2 + page_bytes - 1) & ~(page_bytes - 1);
        } else if (result == -EPERM) {
            from += page_bytes;
        } else {
            return;
        }
    }
}

RAW_INLINE void leave_memory(const struct keeper_loop *loop)
{
    uintptr_t page_bytes = loop->page_bytes;
    uintptr_t code = (uintptr_t)code_begin & ~(page_bytes - 1);
    uintptr_t after_code = ((uintptr_t)code_end + page_bytes - 1) & ~(page_bytes - 1);
    uintptr_t memory = loop->memory, after_memory = memory + page_bytes;
    bool is_code_first = code < memory;
    unmap(0, is_code_first ? code : memory, page_bytes);
    unmap(is_code_first ? after_code : after_memory, is_code_first ? memory : code, page_bytes);
    unmap(is_code_first ? after_memory : after_code, HIGHEST_END, page_bytes);
}

RAW_INLINE bool enter_sandbox(const struct keeper_loop *loop)
{
    return raw_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, ADDRESS(&loop->filter), 0, 0) == 0;
}

/* ---- Requests ---- */

/* The length of the next message; 0: nobody is left who could ask. Descriptors that come along are
 * dropped by the kernel, as there is no room for them. */
RAW_INLINE long receive(struct keeper_loop *loop)
{
    struct iovec part = {.iov_base = &loop->request, .iov_len = sizeof(loop->request)};
    struct msghdr message;
    message.msg_name = NULL;
    message.msg_namelen = 0;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = NULL;
    message.msg_controllen = 0;
    message.msg_flags = 0;
    return raw_call(SYS_recvmsg, loop->keeping, ADDRESS(&message), MSG_TRUNC, 0, 0);
}

RAW_INLINE long send_answer(struct keeper_loop *loop, size_t descriptors)
{
    struct iovec part = {.iov_base = &loop->answer, .iov_len = sizeof(loop->answer)};
    struct msghdr message;
    message.msg_name = NULL;
    message.msg_namelen = 0;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = descriptors > 0 ? &loop->control : NULL;
    message.msg_controllen = descriptors > 0 ? CMSG_LEN(descriptors * sizeof(int)) : 0;
    message.msg_flags = 0;
    loop->control.header.cmsg_level = SOL_SOCKET;
    loop->control.header.cmsg_type = SCM_RIGHTS;
    loop->control.header.cmsg_len = message.msg_controllen;
    long sent;
    do {
        sent = raw_call(SYS_sendmsg, loop->keeping, ADDRESS(&message), MSG_NOSIGNAL, 0, 0);
    } while (sent == -EINTR);
    return sent;
}

/* All of them, as if they were open: they mostly are, and a look at each would cost a call. */
RAW_INLINE size_t trust(struct keeper_loop *loop, uint32_t count)
{
    int *descriptors = (int *)(void *)CMSG_DATA(&loop->control.header);
    for (uint32_t i = 0; i < count; i++) {
        loop->answer.is_open[i] = true;
        descriptors[i] = loop->request.numbers[i];
    }
    return count;
}

/* Sees which are open, as one that is not would keep the others from being sent. Returns how many
 * are to be sent. */
RAW_INLINE size_t look(struct keeper_loop *loop, uint32_t count)
{
    int *descriptors = (int *)(void *)CMSG_DATA(&loop->control.header);
    size_t given = 0;
    for (uint32_t i = 0; i < count; i++) {
        int number = loop->request.numbers[i];
        bool is_open = raw_call(SYS_fcntl, number, F_GETFD, 0, 0, 0) >= 0;
        loop->answer.is_open[i] = is_open;
        if (is_open && loop->request.wish == KEEPER_GIVE) {
            descriptors[given++] = number;
        }
    }
    return given;
}

RAW_INLINE bool answer(struct keeper_loop *loop, uint32_t count)
{
    loop->answer.nonce = loop->request.nonce;
    loop->answer.count = count;
    loop->answer.error = 0;
    bool trusts = loop->request.wish == KEEPER_GIVE;
    size_t given = trusts ? trust(loop, count) : look(loop, count);
    long sent = send_answer(loop, given);
    if (sent == -EBADF && trusts) {
        given = look(loop, count);
        sent = send_answer(loop, given);
    }
    if (sent < 0 && given > 0) {
        loop->answer.error = (int32_t)-sent;
        sent = send_answer(loop, 0);
    }
    return sent >= 0;
}

RAW_INLINE _Noreturn void serve(struct keeper_loop *loop)
{
    for (;;) {
        long bytes = receive(loop);
        if (bytes == 0) {
            end(0);
        }
        if (bytes < 0 && bytes != -EINTR) {
            end(1);
        }
        uint32_t count = loop->request.count;
        if (bytes == (long)sizeof(loop->request) && count <= KEEPER_BATCH && !answer(loop, count)) {
            end(1);
        }
    }
}

/* ---- The process ---- */

static _Noreturn void keeper_run(struct keeper_loop *loop)
    __attribute__((section("keeper_text"), aligned(4096), noinline, used)) RAW_NOT_COUNTED;

static void keeper_run(struct keeper_loop *loop)
{
    if (!become_a_keeper() || !leave_rseq(loop->rseq)) {
        end(1);
    }
    leave_memory(loop);
    if (!enter_sandbox(loop)) {
        end(1);
    }
    serve(loop);
}

/* The stack begins below the loop. Signals are blocked before, so that no handler of the worker
 * ever runs in the keeper. */
RAW_NOT_COUNTED long keeper_loop_spawn(struct keeper_loop *loop)
{
    uint64_t all = UINT64_MAX, before;
    raw_call(SYS_rt_sigprocmask, SIG_SETMASK, ADDRESS(&all), ADDRESS(&before), SIGNAL_SET_BYTES, 0);
    long pid = raw_call(SYS_clone, CLONE_FILES | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        RAW_RUN_ON_STACK(loop, keeper_run, loop);
        __builtin_unreachable();
    }
    raw_call(SYS_rt_sigprocmask, SIG_SETMASK, ADDRESS(&before), 0, SIGNAL_SET_BYTES, 0);
    return pid;
}

bool keeper_loop_is_known(void)
{
    return true;
}

char *keeper_loop_thread_pointer(void)
{
    return raw_thread_pointer();
}

#else

long keeper_loop_spawn(struct keeper_loop *loop)
{
    (void)loop;
    return -ENOSYS;
}

bool keeper_loop_is_known(void)
{
    return false;
}

char *keeper_loop_thread_pointer(void)
{
    return NULL;
}

#endif
