#include "server/crash/stack_report.h"

#include "server/crash/stack_walk.h"

#include <errno.h>
#include <string.h>

static _Thread_local struct worker_slot *thread_slot;

/* The signal of a stranger finds no question that is open. */
static void on_inquiry(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    int saved_errno = errno;
    struct stack_inquiry *inquiry = thread_slot != NULL ? &thread_slot->inquiry : NULL;
    uint32_t asked = inquiry != NULL ? atomic_load(&inquiry->asked) : 0;
    if (inquiry != NULL && asked != atomic_load(&inquiry->answered)) {
        atomic_store(&inquiry->stack.frames_met, 0);
        stack_walk(&inquiry->stack, context);
        atomic_store_explicit(&inquiry->answered, asked, memory_order_release);
    }
    errno = saved_errno;
}

/* A system call in which the thread waits is begun again. Those that the kernel never begins again
 * (epoll_wait, poll, clock_nanosleep) are called in loops that take EINTR for no news. */
void stack_report_open(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_inquiry;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    stack_walk_prepare();
    sigaction(STACK_SIGNAL, &action, NULL);
}

void stack_report_enter_thread(struct worker_slot *slot)
{
    thread_slot = slot;
}
