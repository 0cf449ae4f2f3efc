#include "server/crash/crash_report.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "server/crash/stack_walk.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    SIGNAL_STACK_BYTES = 128 * 1024, /* untouched pages cost nothing */
    GUARD_BYTES = 4096,
    OVERFLOW_BYTES =
        64 * 1024,         /* a fault so close to the stack pointer: the stack has ended there */
    OTHERS_PATIENCE_S = 2, /* of a thread that crashes while another one reports */
    TELL_PATIENCE_S = 5
};

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { FAULT_SIGNALS = sizeof(fault_signals) / sizeof(fault_signals[0]) };

/* Of the process: signal handlers have no arguments of ours. */
static struct {
    struct crash_note *note;
    void (*tell)(void *data);
    void *tell_data;
    _Atomic int32_t reporter; /* tid of the thread that writes the note; 0: nobody crashed yet */
    _Atomic int32_t signal;   /* that it reports */
    pthread_key_t stack_key;
    bool has_stack_key;
} crash;

static _Thread_local int32_t thread_slot = -1;
static _Thread_local struct crash_landing *thread_landing;

/* ---- The end ---- */

static int32_t this_thread(void)
{
    return (int32_t)syscall(SYS_gettid);
}

static void restore_default(int number)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    sigaction(number, &action, NULL);
}

/* Leaves the signal pending, with all that the kernel said of it, for the moment when the handler
 * returns: then it ends the process at the very instruction, and a core file shows that one. */
static void end_on_return(int number, siginfo_t *info)
{
    restore_default(number);
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), this_thread(), number, info) != 0) {
        syscall(SYS_tgkill, getpid(), this_thread(), number);
    }
}

static void unblock(int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void end_now(int number)
{
    restore_default(number);
    unblock(number);
    syscall(SYS_tgkill, getpid(), this_thread(), number);
}

/* ---- The note ---- */

static bool is_stack_overflow(const siginfo_t *info, const void *context)
{
    uint64_t address = (uint64_t)(uintptr_t)info->si_addr;
    uint64_t sp = stack_walk_pointer(context);
    return (info->si_signo == SIGSEGV || info->si_signo == SIGBUS) && info->si_code > 0 &&
           sp != 0 && address + OVERFLOW_BYTES > sp && address < sp + OVERFLOW_BYTES;
}

static void note_assertion(struct crash_note *note)
{
    const char *text = check_failure() == NULL ? "" : check_failure();
    size_t length = strlen(text);
    size_t surplus = length < CRASH_ASSERTION_BYTES ? 0 : length - (CRASH_ASSERTION_BYTES - 1);
    memcpy(note->assertion, text + surplus, length - surplus + 1);
}

static void write_note(struct crash_note *note, const siginfo_t *info, const void *context)
{
    bool was_sent = info->si_code <= 0;
    note->signal = info->si_signo;
    note->code = info->si_code;
    note->pid = getpid();
    note->tid = this_thread();
    note->slot = thread_slot;
    note->sender_pid = was_sent ? info->si_pid : 0;
    note->sender_uid = was_sent ? info->si_uid : 0;
    note->address = was_sent ? 0 : (uint64_t)(uintptr_t)info->si_addr;
    note->stack_overflow = is_stack_overflow(info, context);
    note_assertion(note);
    atomic_store(&note->stack.frames_met, 0);
    atomic_store_explicit(&note->written, 1, memory_order_release);
    stack_walk(&note->stack, context);
}

/* ---- Handlers ---- */

/* What the thread did itself, unless the process is ending anyway. */
static bool may_land(int number, const siginfo_t *info)
{
    return thread_landing != NULL && info->si_code > 0 && number != SIGABRT && number != SIGILL &&
           atomic_load(&crash.reporter) == 0;
}

/* A fault on the way ends the process: there is no landing any more. The mask comes from the
 * kernel: for sigsetjmp to save it would take a system call for each request. */
static _Noreturn void land(const siginfo_t *info, const void *context)
{
    struct crash_landing *landing = thread_landing;
    thread_landing = NULL;
    write_note(landing->note, info, context);
    pthread_sigmask(SIG_SETMASK, &((const ucontext_t *)context)->uc_sigmask, NULL);
    siglongjmp(landing->point, 1);
}

/* The signal itself is blocked meanwhile: the same fault once more, in here, makes the kernel end
 * the process by it. Another fault in here comes in anew. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    if (may_land(number, info)) {
        land(info, context);
    }
    int32_t me = this_thread();
    int32_t reporter = 0;
    if (atomic_compare_exchange_strong(&crash.reporter, &reporter, me)) {
        atomic_store(&crash.signal, number);
        write_note(crash.note, info, context);
        if (crash.tell != NULL) {
            crash.tell(crash.tell_data);
        }
    } else if (reporter == me) {
        end_now(atomic_load(&crash.signal));
    } else { /* the process is about to end by the other thread's signal */
        nanosleep(&(struct timespec){.tv_sec = OTHERS_PATIENCE_S}, NULL);
    }
    end_on_return(number, info);
}

static void install_handlers(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (size_t i = 0; i < FAULT_SIGNALS; i++) {
        sigaction(fault_signals[i], &action, NULL);
    }
}

/* ---- Signal stacks ---- */

struct signal_stack {
    stack_t before; /* a sanitizer's own, which it frees itself when the thread ends */
    unsigned char *mapping;
};

/* The description lies at the top of the stack that it describes. */
static struct signal_stack *description_in(unsigned char *mapping)
{
    return (struct signal_stack *)(void *)(mapping + GUARD_BYTES + SIGNAL_STACK_BYTES);
}

static size_t mapping_bytes(void)
{
    return GUARD_BYTES + SIGNAL_STACK_BYTES + GUARD_BYTES;
}

static void free_signal_stack(void *argument)
{
    struct signal_stack *stack = argument;
    sigaltstack(&stack->before, NULL);
    munmap(stack->mapping, mapping_bytes());
}

static bool make_signal_stack(void)
{
    unsigned char *mapping = mmap(NULL, mapping_bytes(), PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (mapping == MAP_FAILED) {
        return false;
    }
    struct signal_stack *stack = description_in(mapping);
    const stack_t wanted = {.ss_sp = mapping + GUARD_BYTES, .ss_size = SIGNAL_STACK_BYTES};
    stack->mapping = mapping;
    if (mprotect(mapping, GUARD_BYTES, PROT_NONE) != 0 ||
        sigaltstack(&wanted, &stack->before) != 0) {
        munmap(mapping, mapping_bytes());
        return false;
    }
    pthread_setspecific(crash.stack_key, stack);
    return true;
}

/* ---- Public ---- */

static void enter_thread(void)
{
    if (crash.has_stack_key && pthread_getspecific(crash.stack_key) == NULL &&
        !make_signal_stack()) {
        log_write(LOG_WARN, "cannot make a signal stack: %m; an overflow of this thread's stack "
                            "would leave no story");
    }
}

void crash_report_open(struct crash_note *note, void (*tell_fn)(void *data), void *data)
{
    crash.note = note;
    crash.tell = tell_fn;
    crash.tell_data = data;
    crash.has_stack_key =
        crash.has_stack_key || pthread_key_create(&crash.stack_key, free_signal_stack) == 0;
    stack_walk_prepare();
    tzset(); /* or the first line that a handler logs would take memory for it */
    enter_thread();
    install_handlers();
}

void crash_report_enter_thread(uint32_t slot)
{
    thread_slot = (int32_t)slot;
    enter_thread();
}

void crash_report_land_at(struct crash_landing *landing)
{
    thread_landing = landing;
}
