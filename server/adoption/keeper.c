#include "server/adoption/keeper.h"

#include "server/adoption/keeper_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    STACK_BYTES = 1024, /* at least; the keeper needs a quarter of it */
    LEAST_PAGE_BYTES = 4096,
    STACK_ALIGNMENT = 16
};

_Static_assert(sizeof(struct keeper_loop) + STACK_ALIGNMENT + STACK_BYTES <= LEAST_PAGE_BYTES,
               "data and stack share a page");

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0
#endif

/* It ends a program that makes such a process. Its tools begin with a library of this name. */
static bool is_in_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "/vgpreload_") != NULL;
}

bool keeper_is_supported(struct error *error)
{
    const uint32_t action = SECCOMP_RET_KILL_PROCESS;
    if (!keeper_loop_is_known()) {
        return error_set(error, "connections cannot outlive a process on this architecture");
    }
    if (is_in_valgrind()) {
        return error_set(error, "connections cannot outlive a process in valgrind");
    }
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0) {
        return error_set(error, "connections cannot outlive a process without seccomp filters: %m");
    }
    return true;
}

bool keeper_pair_open(struct keeper_pair *pair, struct error *error)
{
    int ends[2];
    *pair = (struct keeper_pair){-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return error_set(error, "cannot open a keeper's sockets: %m");
    }
    *pair = (struct keeper_pair){.asking = ends[0], .keeping = ends[1]};
    return true;
}

static void close_end(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void keeper_pair_close(struct keeper_pair *pair)
{
    close_end(&pair->asking);
    close_end(&pair->keeping);
}

void keeper_fill_filter(struct sock_filter steps[KEEPER_FILTER_STEPS])
{
    enum { ALLOW = 9, KILL = 10 };
#define LOAD(offset)            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define IF_IS(step, value, yes) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes) - (step) - 1, 0)
#define UNLESS(step, value, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (no) - (step) - 1)
    const struct sock_filter filter[KEEPER_FILTER_STEPS] = {
        LOAD(offsetof(struct seccomp_data, arch)),
        UNLESS(1, ARCHITECTURE, KILL),
        LOAD(offsetof(struct seccomp_data, nr)),
        IF_IS(3, SYS_recvmsg, ALLOW),
        IF_IS(4, SYS_sendmsg, ALLOW),
        IF_IS(5, SYS_exit_group, ALLOW),
        UNLESS(6, SYS_fcntl, KILL),
        LOAD(offsetof(struct seccomp_data, args[1])), /* its lower half, which is the int */
        UNLESS(8, F_GETFD, KILL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    memcpy(steps, filter, sizeof(filter));
}

static void *registered_rseq(void)
{
    return __rseq_size == 0 ? NULL : keeper_loop_thread_pointer() + __rseq_offset;
}

static void prepare(struct keeper_loop *loop, int keeping, void *memory, size_t page_bytes)
{
    loop->keeping = keeping;
    loop->page_bytes = page_bytes;
    loop->memory = (uintptr_t)memory;
    loop->rseq = registered_rseq();
    keeper_fill_filter(loop->steps);
    loop->filter = (struct sock_fprog){.len = KEEPER_FILTER_STEPS, .filter = loop->steps};
}

/* Whoever looks for workers never takes it for one, not even before it has run. */
static long spawn_named(struct keeper_loop *loop)
{
    char own_name[16] = "";
    prctl(PR_GET_NAME, own_name);
    prctl(PR_SET_NAME, "keeper");
    long pid = keeper_loop_spawn(loop);
    prctl(PR_SET_NAME, own_name);
    return pid;
}

/* The keeper has a copy of the page, and the worker has no more use for it. */
pid_t keeper_start(struct keeper_pair *pair, struct error *error)
{
    close_end(&pair->asking);
    if (!keeper_is_supported(error)) {
        return -1;
    }
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *memory =
        mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        error_set(error, "no memory for a keeper: %m");
        return -1;
    }
    size_t begin = (page_bytes - sizeof(struct keeper_loop)) & ~(size_t)(STACK_ALIGNMENT - 1);
    struct keeper_loop *loop = (void *)(memory + begin);
    prepare(loop, pair->keeping, memory, page_bytes);
    long pid = spawn_named(loop);
    munmap(memory, page_bytes);
    if (pid < 0) {
        error_set(error, "cannot start a keeper: %s", strerror((int)-pid));
        return -1;
    }
    return (pid_t)pid;
}
