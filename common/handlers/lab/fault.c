/* GET /fault/...: makes its worker misbehave, to see what that costs the others. Registered only
 * when the server was started with faults on. */
#include "common/base/check.h"
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/uri.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEAK_DEFAULT_BYTES = 1 << 20, LEAK_MAX_BYTES = 1 << 30, EXIT_STATUS_MAX = 255 };

#define FAULT_HANDLER(name)                                                                        \
    static void name(const struct http_request *request, struct http_response *response,           \
                     struct handler_context *context, void *data)

/* The faults are meant: no sanitizer is to report them in the kernel's place. */
#define DELIBERATE __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

DELIBERATE static void write_to_null(void)
{
    volatile int *volatile nowhere = NULL;
    *nowhere = 1; /* NOLINT(clang-analyzer-core.NullDereference) */
}

FAULT_HANDLER(fault_segv)
{
    (void)request, (void)context, (void)data;
    write_to_null();
    http_response_error(response, 500);
}

FAULT_HANDLER(fault_abort)
{
    (void)request, (void)response, (void)context, (void)data;
    abort();
}

/* A connection too many has been counted off. */
FAULT_HANDLER(fault_check)
{
    (void)request, (void)context, (void)data;
    volatile int connections_open = -1;
    CHECK(connections_open >= 0);
    http_response_error(response, 500);
}

DELIBERATE static int divide(volatile int dividend, volatile int divisor)
{
    return dividend / divisor; /* NOLINT(clang-analyzer-core.DivideZero) */
}

FAULT_HANDLER(fault_fpe)
{
    (void)request, (void)context, (void)data;
    /* Not every architecture traps a division by zero; the signal is the point. */
    if (divide(1, 0) == 0) {
        raise(SIGFPE);
    }
    http_response_error(response, 500);
}

/* Reads a page of a mapping whose file has no such page. */
DELIBERATE static int read_beyond_the_file(void)
{
    volatile const char *page;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    void *mapping = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, (off_t)1 << 40);
    close(fd);
    if (mapping == MAP_FAILED) {
        return 0;
    }
    page = mapping;
    return *page;
}

FAULT_HANDLER(fault_bus)
{
    (void)request, (void)context, (void)data;
    http_response_error(response, read_beyond_the_file() == 0 ? 500 : 503);
}

DELIBERATE static void run_no_instruction(void)
{
#if defined(__x86_64__)
    __asm__ volatile("ud2");
#else
    raise(SIGILL); /* the signal is the point */
#endif
}

FAULT_HANDLER(fault_ill)
{
    (void)request, (void)context, (void)data;
    run_no_instruction();
    http_response_error(response, 500);
}

/* Until the stack ends; the condition only keeps compilers from calling it infinite. */
DELIBERATE static int recurse(volatile int *depth) /* NOLINT(misc-no-recursion) */
{
    volatile char frame[1024];
    frame[0] = (char)*depth;
    *depth += 1;
    return *depth < 0 ? 0 : recurse(depth) + frame[0];
}

FAULT_HANDLER(fault_stack_overflow)
{
    (void)request, (void)context, (void)data;
    volatile int depth = 0;
    http_response_error(response, recurse(&depth) == 0 ? 500 : 503);
}

/* Spins: the thread uses its CPU and never comes back. */
FAULT_HANDLER(fault_hang)
{
    (void)request, (void)response, (void)context, (void)data;
    volatile bool forever = true;
    while (forever) {
    }
}

/* The simplest deadlock: a thread waits for a lock that it holds itself. Uses no CPU. */
FAULT_HANDLER(fault_deadlock)
{
    (void)request, (void)context, (void)data;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    pthread_mutex_lock(&lock);
    http_response_error(response, 500);
}

/* Memory that nobody will give back; touched, so that it counts, and mapped rather than allocated,
 * so that a leak checker reports only what is not meant. */
FAULT_HANDLER(fault_leak)
{
    (void)context, (void)data;
    uint64_t bytes;
    if (!query_uint(request, response, "bytes", LEAK_DEFAULT_BYTES, LEAK_MAX_BYTES, &bytes)) {
        return;
    }
    if (bytes > 0) {
        void *leaked =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (leaked == MAP_FAILED) {
            http_response_error(response, 503);
            return;
        }
        memset(leaked, 0x5a, bytes);
    }
    response->content_type = "text/plain; charset=utf-8";
    buffer_printf(&response->text, "leaked %llu bytes\n", (unsigned long long)bytes);
}

/* Dies in the middle of what a lock of all workers guards: lock=mutex is robust between processes.
 * lock=fragile is not: a request for it afterwards (/counter?mode=fragile) hangs. */
FAULT_HANDLER(fault_die_holding_lock)
{
    (void)context;
    struct handler_environment *env = data;
    struct span lock = SPAN("mutex");
    uri_query_param(request->query, "lock", &lock);
    bool fragile = span_equal(lock, SPAN("fragile"));
    if (!fragile && !span_equal(lock, SPAN("mutex"))) {
        http_response_text(response, 400, "lock must be mutex or fragile");
        return;
    }
    if ((fragile ? shared_cell_lock_fragile : shared_cell_lock)(env->shared_cell) != 0) {
        http_response_error(response, 500);
        return;
    }
    atomic_fetch_add(&env->shared_cell->value, 1);
    raise(SIGKILL);
}

/* Faults while it holds the lock of its own process. If the process outlives that (on_fault:
 * recover), every request that wants the lock (/counter?mode=mutex) waits for ever. */
FAULT_HANDLER(fault_segv_holding_lock)
{
    (void)request, (void)context;
    struct handler_environment *env = data;
    if (shared_cell_lock(env->process_cell) == 0) {
        write_to_null();
    }
    http_response_error(response, 500);
}

/* Writes behind the end of what it has allocated, where glibc's allocator keeps the size of what it
 * has left. */
DELIBERATE static void damage_heap(void)
{
    enum { BYTES = 100000, BEYOND_BYTES = 64 };
    volatile char *memory = malloc(BYTES);
    for (size_t i = 0; memory != NULL && i < BYTES + BEYOND_BYTES; i++) {
        memory[i] = 0x5a;
    }
}

/* Damages the heap of its process, then faults. If the process outlives that (on_fault: recover),
 * a later request that does nothing wrong ends it. */
FAULT_HANDLER(fault_segv_with_damaged_heap)
{
    (void)request, (void)context, (void)data;
    damage_heap();
    write_to_null();
    http_response_error(response, 500);
}

FAULT_HANDLER(fault_exit)
{
    (void)context, (void)data;
    uint64_t status;
    if (!query_uint(request, response, "status", 1, EXIT_STATUS_MAX, &status)) {
        return;
    }
    _exit((int)status);
}

/* What code that does not belong here would do. Becomes another program, which ends well, unless
 * something stops it. */
FAULT_HANDLER(fault_exec)
{
    (void)request, (void)context, (void)data;
    execl("/bin/true", "true", (char *)NULL);
    http_response_error(response, 500);
}

void fault_register(struct router *router, struct handler_environment *env)
{
    const struct route routes[] = {
        {.path = "/fault/segv", .handler = fault_segv},
        {.path = "/fault/abort", .handler = fault_abort},
        {.path = "/fault/check", .handler = fault_check},
        {.path = "/fault/fpe", .handler = fault_fpe},
        {.path = "/fault/bus", .handler = fault_bus},
        {.path = "/fault/ill", .handler = fault_ill},
        {.path = "/fault/stack-overflow", .handler = fault_stack_overflow},
        {.path = "/fault/hang", .handler = fault_hang, .blocks = true},
        {.path = "/fault/deadlock", .handler = fault_deadlock, .blocks = true},
        {.path = "/fault/leak", .handler = fault_leak},
        {.path = "/fault/exit", .handler = fault_exit},
        {.path = "/fault/exec", .handler = fault_exec},
        {.path = "/fault/segv-damaged-heap", .handler = fault_segv_with_damaged_heap},
        {.path = "/fault/segv-holding-lock", .handler = fault_segv_holding_lock, .data = env},
        {.path = "/fault/die-holding-lock", .handler = fault_die_holding_lock, .data = env},
    };
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        struct route route = routes[i];
        route.methods = METHOD_BIT(METHOD_GET);
        router_add(router, &route);
    }
}
