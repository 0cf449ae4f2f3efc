#include "server/process/process.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/scoreboard/crash_story.h"
#include "server/balance/shares.h"
#include "server/crash/crash_report.h"
#include "server/crash/crash_teller.h"
#include "server/crash/stack_report.h"
#include "server/setup/signals.h"

#include <signal.h>

void process_tell_crash(const struct process *process, const struct crash_story *story)
{
    char who[CRASH_WHO_BYTES];
    crash_name_process(process->number, who);
    if (process->server->config.seccomp == CONFIG_SECCOMP_ON) { /* may not fork */
        crash_log(story, who);
    } else {
        crash_teller_run(story, who);
    }
}

/* In the signal handler of a process that has no master to do it. */
static void tell_crash(void *data)
{
    const struct process *process = data;
    const struct server *server = process->server;
    struct crash_story story;
    deaths_read_crash(server->scoreboard, process->first_slot, server->plan.slots_per_process,
                      &story);
    process_tell_crash(process, &story);
}

void process_open(struct process *process)
{
    const struct server *server = process->server;
    crash_report_open(&server->scoreboard->slots[process->first_slot].crash,
                      server->config.bare ? tell_crash : NULL, process);
    stack_report_open();
    int error = shared_cell_init(&process->cell, SHARED_CELL_THREADS);
    if (error != 0) {
        log_write(LOG_WARN, "cannot make a lock: error %d; /counter will not work", error);
    }
    /* What the master opened may be long out of date; no thread shall begin with it. */
    document_root_follow(server->root, clock_monotonic_ms());
    process->environment = (struct handler_environment){
        .scoreboard = server->scoreboard,
        .process_cell = &process->cell,
        .shared_cell = server->shared_cell,
        .bench = server_has_bench(server),
        .faults = server->config.faults,
    };
    process->router = router_create();
    handlers_register(process->router, &process->environment);
}

void process_close(struct process *process)
{
    if (process->estate != NULL) {
        estate_leave(process->estate);
    }
    router_destroy(process->router);
    process->router = NULL;
}

static enum file_etag etag_of(enum config_etag setting)
{
    static const enum file_etag kinds[] = {
        [CONFIG_ETAG_PORTABLE] = FILE_ETAG_PORTABLE,
        [CONFIG_ETAG_INODE] = FILE_ETAG_INODE,
        [CONFIG_ETAG_OFF] = FILE_ETAG_OFF,
    };
    return kinds[setting];
}

void process_enter(struct process *process, uint32_t slot_in_process, enum slot_role role,
                   struct handler_context *context)
{
    const struct server *server = process->server;
    uint32_t index = process->first_slot + slot_in_process;
    *context = (struct handler_context){
        .slot = &server->scoreboard->slots[index],
        .slot_index = index,
        .files = file_cache_create(server->root, server->plan.file_cache_entries,
                                   etag_of(server->config.etag)),
        .gzip = server->config.gzip,
    };
    log_set_name("slot %u", index);
    slot_enter(context->slot, process->number, process->generation, role);
    crash_report_enter_thread(index);
    stack_report_enter_thread(context->slot);
}

void process_leave(struct handler_context *context)
{
    file_cache_destroy(context->files);
    context->files = NULL;
}

/* The server has given the address up, and does not leave the socket to a service manager. */
static bool may_shut_down(const void *data, size_t listen_index)
{
    const struct process *process = data;
    return !process->server->listeners.list[listen_index].is_passed &&
           (atomic_load(&process->given_up) >> listen_index & 1) != 0;
}

struct worker *process_create_worker(struct process *process, struct handler_context *context,
                                     uint32_t loop, const struct worker_dispatch *dispatch)
{
    const struct server *server = process->server;
    size_t loop_index = (size_t)process->number * server->plan.loops + loop;
    uint32_t inbox_id = inboxes_id(&server->inboxes, (uint32_t)loop_index);
    atomic_store(&context->slot->inbox, inbox_id);
    struct worker_options options = {
        .config = &server->config,
        .router = process->router,
        .context = context,
        .listen_count = server->listeners.count,
        .may_shut_down = may_shut_down,
        .may_shut_down_data = process,
        .access_log_fd = server->access_log_fd,
        .max_connections = server->plan.max_connections,
        .may_accept = server->config.accept == CONFIG_ACCEPT_SHARED ? shares_may_accept : NULL,
        .may_accept_data = server->scoreboard,
        .rebalance = inbox_id != 0 ? inboxes_tick : NULL,
        .rebalance_data = &server->inboxes,
        .inbox_fd = inboxes_find(&server->inboxes, inbox_id),
        .claims = server->inboxes.claims,
        .giver_id = inbox_id,
        .generation = process->generation,
        .dispatch = *dispatch,
    };
    if (process->estate != NULL) {
        options.durable = estate_open_loop(process->estate, loop);
        options.durable_lines = estate_open_lines(process->estate, loop);
        options.access_log_turn = server->owns_access_log ? estate_log_turn(process->estate) : NULL;
    }
    for (size_t i = 0; i < options.listen_count; i++) {
        options.listen_fds[i] = listener_fd(&server->listeners.list[i], loop_index);
    }
    struct worker *worker = worker_create(&options);
    if (worker != NULL && process->estate != NULL) {
        estate_adopt(process->estate, loop, worker);
    }
    return worker;
}

static enum process_order order_of(int number)
{
    switch (number) {
    case SIGTERM:
    case SIGINT:
        return PROCESS_STOP;
    case SIGQUIT:
        return PROCESS_DRAIN;
    case SIGUSR2:
        return PROCESS_RETIRE;
    default:
        return PROCESS_SERVE;
    }
}

/* While nobody writes: the position that tells what was written is that of a description. */
static void reopen_logs(struct process *process)
{
    pthread_mutex_t *turn = process->estate != NULL ? estate_log_turn(process->estate) : NULL;
    if (turn != NULL) {
        pthread_mutex_lock(turn);
    }
    server_reopen_logs(process->server);
    if (turn != NULL) {
        pthread_mutex_unlock(turn);
    }
}

static enum process_order strongest_order(struct process *process)
{
    enum process_order strongest = PROCESS_SERVE;
    uint32_t given_up = 0;
    int number;
    while ((number = signals_next_order(process->signal_fd, &given_up)) != 0) {
        enum process_order order = order_of(number);
        strongest = order > strongest ? order : strongest;
        if (number == SIGUSR1) {
            reopen_logs(process);
        }
    }
    atomic_fetch_or(&process->given_up, given_up);
    return strongest;
}

static bool is_all_given_up(const struct process *process)
{
    uint32_t all = PROCESS_LISTENERS(process->server->listeners.count);
    return (atomic_load(&process->given_up) & all) == all;
}

/* Who drains takes the server for ended, which is for the whole server to decide: one process alone
 * leaves its clients the time to go to the others. */
static enum process_order allowed_order(const struct process *process, enum process_order order)
{
    bool may_drain = is_all_given_up(process);
    return order == PROCESS_DRAIN && !may_drain ? PROCESS_RETIRE : order;
}

enum process_order process_pass_signals(struct process *process, struct worker **workers,
                                        size_t count)
{
    static void (*const pass[])(struct worker *) = {
        [PROCESS_RETIRE] = worker_retire,
        [PROCESS_DRAIN] = worker_drain,
        [PROCESS_STOP] = worker_stop,
    };
    const struct server *server = process->server;
    enum process_order order = allowed_order(process, strongest_order(process));
    if (order == PROCESS_RETIRE || order == PROCESS_DRAIN) {
        scoreboard_mark_draining(server->scoreboard, process->first_slot,
                                 server->plan.slots_per_process);
    }
    for (size_t i = 0; i < count && order != PROCESS_SERVE; i++) {
        pass[order](workers[i]);
    }
    return order;
}
