#include "server/prefork/prefork.h"

#include <event2/event.h>
#include <event2/event_struct.h>

struct prefork {
    struct process *process;
    struct worker *worker;
    struct event signal_event;
};

static void on_signal(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct prefork *prefork = argument;
    process_pass_signals(prefork->process, &prefork->worker, 1);
}

static void watch_signals(struct prefork *prefork)
{
    event_assign(&prefork->signal_event, worker_event_base(prefork->worker),
                 prefork->process->signal_fd, EV_READ | EV_PERSIST, on_signal, prefork);
    event_add(&prefork->signal_event, NULL);
}

int prefork_run(struct process *process)
{
    struct handler_context context;
    struct prefork prefork = {.process = process};
    process_open(process);
    process_enter(process, 0, SLOT_LOOP, &context);
    prefork.worker = process_create_worker(process, &context, 0, &(struct worker_dispatch){0});
    if (prefork.worker == NULL) {
        return PROCESS_EXIT_BOOT_FAILED;
    }
    watch_signals(&prefork);
    slot_set_state(context.slot, SLOT_READY);
    process->ready(process->ready_data);
    worker_run(prefork.worker);
    slot_set_state(context.slot, SLOT_ENDED);
    event_del(&prefork.signal_event);
    worker_destroy(prefork.worker);
    process_leave(&context);
    process_close(process);
    return 0;
}
