#include "server/supervise/master.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/signal_name.h"
#include "server/supervise/respawn.h"
#include "server/supervise/stop_signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STOP_PATIENCE_MS = 1000, /* after SIGTERM, and after the drain deadline: then SIGKILL */
    FORK_RETRY_MS = 200
};

static const int master_signals[] = {SIGTERM, SIGINT,  SIGQUIT, SIGCHLD,
                                     SIGHUP,  SIGUSR1, SIGUSR2, 0};
static const int child_signals[] = {SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, 0};

enum master_phase { MASTER_STARTING, MASTER_RUNNING, MASTER_DRAINING, MASTER_STOPPING };

/* The place of one serving process. */
struct child {
    pid_t pid; /* 0: none */
    uint32_t generation;
    uint64_t started_ns;
    bool ready;
    uint64_t start_at_ms; /* when pid is 0: not before this */
    struct respawn respawn;
    struct death_record *last_death; /* whose recovery is still to be noted; NULL: none */
    uint64_t died_ns;                /* of that death: its record may be another's by now */
};

struct master {
    struct server *server;
    process_run_fn run;
    void (*announce)(struct server *server);
    enum master_phase phase;
    int exit_status;
    int signal_fd;
    int ready_fd;        /* eventfd: a child has become ready */
    uint64_t kill_at_ms; /* when draining or stopping */
    uint32_t count;
    struct child *children;
};

/* ---- Stopping ---- */

static void signal_children(struct master *master, int number)
{
    for (uint32_t i = 0; i < master->count; i++) {
        if (master->children[i].pid != 0) {
            kill(master->children[i].pid, number);
        }
    }
}

static void stop(struct master *master)
{
    if (master->phase != MASTER_STOPPING) {
        log_write(LOG_NOTICE, "stopping");
        master->phase = MASTER_STOPPING;
        master->kill_at_ms = clock_monotonic_ms() + STOP_PATIENCE_MS;
        listener_close(&master->server->listener);
        signal_children(master, SIGTERM);
    }
}

/* The workers hold the listening sockets, too, and take what has been queued before they close. */
static void drain(struct master *master)
{
    if (master->phase != MASTER_RUNNING) {
        stop(master);
        return;
    }
    uint64_t deadline_ms = master->server->config->drain_timeout_ms;
    log_write(LOG_NOTICE, "draining: no new connections, up to %llu ms for those that are open",
              (unsigned long long)deadline_ms);
    master->phase = MASTER_DRAINING;
    master->kill_at_ms = clock_monotonic_ms() + deadline_ms + STOP_PATIENCE_MS;
    listener_close(&master->server->listener);
    atomic_store(&master->server->scoreboard->draining, true);
    signal_children(master, SIGQUIT);
}

static void kill_late_children(struct master *master)
{
    if (master->kill_at_ms != 0 && clock_monotonic_ms() >= master->kill_at_ms) {
        log_write(LOG_WARN, "killing the processes that have not stopped in time");
        signal_children(master, SIGKILL);
        master->kill_at_ms = clock_monotonic_ms() + STOP_PATIENCE_MS;
    }
}

/* ---- Starting ---- */

static void on_child_ready(void *data)
{
    struct master *master = data;
    ssize_t ignored = write(master->ready_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored;
}

/* What becomes of the forked process. PR_SET_PDEATHSIG makes it die with its master, however that
 * dies; the check of the parent closes the gap before it is set. */
static _Noreturn void run_child(struct master *master, uint32_t number, pid_t master_pid)
{
    log_set_name("process %u", number); /* until its threads name themselves */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != master_pid) {
        _exit(PROCESS_EXIT_BOOT_FAILED);
    }
    close(master->signal_fd);
    struct process process = {
        .server = master->server,
        .number = number,
        .generation = master->children[number].generation,
        .signal_fd = stop_signals_open(child_signals),
        .ready = on_child_ready,
        .ready_data = master,
    };
    if (process.signal_fd < 0) {
        log_write(LOG_ERROR, "cannot listen for signals: %m; raise the limit of open files");
        _exit(PROCESS_EXIT_BOOT_FAILED);
    }
    exit(master->run(&process));
}

/* A server that runs waits for better times; one that is only starting says what is wrong. */
static void on_fork_failure(struct master *master, uint32_t number)
{
    if (master->phase == MASTER_STARTING) {
        log_write(LOG_ERROR,
                  "cannot fork worker process %u: %m; raise the limit of processes (ulimit -u, the "
                  "pids cgroup), or ask for fewer workers",
                  number);
        master->exit_status = 1;
        stop(master);
        return;
    }
    log_write(LOG_ERROR, "cannot fork worker process %u: %m; trying again in %d ms", number,
              FORK_RETRY_MS);
    master->children[number].start_at_ms = clock_monotonic_ms() + FORK_RETRY_MS;
}

static void start_child(struct master *master, uint32_t number)
{
    struct child *child = &master->children[number];
    struct scoreboard *scoreboard = master->server->scoreboard;
    pid_t master_pid = getpid();
    child->generation = atomic_fetch_add(&scoreboard->generation, 1) + 1;
    child->started_ns = clock_monotonic_ns();
    child->ready = false;
    fflush(NULL); /* or buffered output would be written twice */
    pid_t pid = fork();
    if (pid == 0) {
        run_child(master, number, master_pid);
    }
    if (pid < 0) {
        on_fork_failure(master, number);
        return;
    }
    child->pid = pid;
}

static void start_due_children(struct master *master)
{
    if (master->phase != MASTER_STARTING && master->phase != MASTER_RUNNING) {
        return;
    }
    uint64_t now_ms = clock_monotonic_ms();
    for (uint32_t i = 0; i < master->count && master->phase != MASTER_STOPPING; i++) {
        if (master->children[i].pid == 0 && now_ms >= master->children[i].start_at_ms) {
            start_child(master, i);
        }
    }
}

/* ---- Readiness ---- */

static bool is_ready(const struct master *master, uint32_t number, uint64_t *ready_ns)
{
    const struct scoreboard *scoreboard = master->server->scoreboard;
    const struct child *child = &master->children[number];
    *ready_ns = 0;
    for (uint32_t i = 0; i < scoreboard->slots_per_process; i++) {
        const struct worker_slot *slot =
            &scoreboard->slots[number * scoreboard->slots_per_process + i];
        uint64_t slot_ready_ns = atomic_load(&slot->ready_ns);
        if (atomic_load(&slot->generation) != child->generation ||
            atomic_load(&slot->state) != SLOT_READY) {
            return false;
        }
        *ready_ns = slot_ready_ns > *ready_ns ? slot_ready_ns : *ready_ns;
    }
    return true;
}

static void note_recovery(struct child *child, uint32_t number, uint64_t ready_ns)
{
    struct death_record *death = child->last_death;
    if (death == NULL) {
        return;
    }
    child->last_death = NULL;
    uint64_t recovery_ns = ready_ns > child->died_ns ? ready_ns - child->died_ns : 1;
    if (death->died_ns == child->died_ns) {
        death->recovery_ns = recovery_ns;
    }
    log_write(LOG_NOTICE,
              "worker %u (pid %d, generation %u) is ready %.3f ms after the death of its "
              "predecessor",
              number, (int)child->pid, child->generation, (double)recovery_ns / 1e6);
}

static void check_readiness(struct master *master)
{
    bool all = true;
    for (uint32_t i = 0; i < master->count; i++) {
        struct child *child = &master->children[i];
        uint64_t ready_ns;
        if (child->pid != 0 && !child->ready && is_ready(master, i, &ready_ns)) {
            child->ready = true;
            note_recovery(child, i, ready_ns);
        }
        all = all && child->ready;
    }
    if (all && master->phase == MASTER_STARTING) {
        master->phase = MASTER_RUNNING;
        master->announce(master->server);
    }
}

/* ---- Deaths ---- */

static struct child *find_child(struct master *master, pid_t pid)
{
    for (uint32_t i = 0; i < master->count; i++) {
        if (master->children[i].pid == pid) {
            return &master->children[i];
        }
    }
    return NULL;
}

static void describe_cause(const struct death_record *death, char *out, size_t bytes)
{
    if (death->signal == 0) {
        snprintf(out, bytes, "exited with status %d", death->exit_status);
        return;
    }
    char name[SIGNAL_NAME_BYTES];
    signal_name(death->signal, name);
    snprintf(out, bytes, "was killed by %s", name);
}

static void log_death(const struct death_record *death)
{
    char cause[64];
    describe_cause(death, cause, sizeof(cause));
    log_write(LOG_ERROR,
              "worker %u (pid %d, generation %u) %s after %.3f s: %llu requests lost (%llu in "
              "progress, %llu awaited on open connections); %llu idle connections cut",
              death->process, death->pid, death->generation, cause, (double)death->lived_ns / 1e9,
              (unsigned long long)death_requests_lost(death),
              (unsigned long long)death->in_progress, (unsigned long long)death->awaited,
              (unsigned long long)death->idle_cut);
    for (uint32_t i = 0; i < death->request_count; i++) {
        const struct request_copy *request = &death->requests[i];
        log_write(LOG_ERROR, "in progress in worker %u: \"%s\" from %s", request->slot,
                  request->line, request->client);
    }
}

static struct death_record *bury(struct master *master, struct child *child, int wait_status)
{
    uint64_t now_ns = clock_monotonic_ns();
    struct death_record cause = {
        .time_ms = clock_realtime_ms(),
        .died_ns = now_ns,
        .lived_ns = now_ns - child->started_ns,
        .pid = child->pid,
        .signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0,
        .exit_status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0,
        .process = (uint32_t)(child - master->children),
        .generation = child->generation,
    };
    return scoreboard_bury(master->server->scoreboard, &cause);
}

static bool is_orderly_end(const struct master *master, int wait_status)
{
    return (master->phase == MASTER_DRAINING || master->phase == MASTER_STOPPING) &&
           WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
}

static void on_death(struct master *master, struct child *child, int wait_status)
{
    bool booted = child->ready;
    if (is_orderly_end(master, wait_status)) {
        child->pid = 0;
        return;
    }
    struct death_record *death = bury(master, child, wait_status);
    child->pid = 0;
    child->ready = false;
    log_death(death);
    if (master->phase == MASTER_STARTING && !booted) {
        log_write(LOG_ERROR, "a worker cannot start: giving up; the reason stands above");
        master->exit_status = 1;
        stop(master);
        return;
    }
    child->last_death = death;
    child->died_ns = death->died_ns;
    uint64_t delay_ms = respawn_delay_ms(&child->respawn, death->lived_ns / 1000000);
    child->start_at_ms = clock_monotonic_ms() + delay_ms;
    if (delay_ms > 0) {
        log_write(LOG_WARN, "worker %u keeps dying at once: the next one starts in %llu ms",
                  death->process, (unsigned long long)delay_ms);
    }
}

/* Reaps everything: as PID 1 the master also inherits strangers. */
static void reap(struct master *master)
{
    int wait_status;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        struct child *child = find_child(master, pid);
        if (child != NULL) {
            on_death(master, child, wait_status);
        }
    }
}

/* ---- The loop ---- */

static void act_on_signals(struct master *master)
{
    int number;
    while ((number = stop_signals_next(master->signal_fd)) != 0) {
        switch (number) {
        case SIGCHLD:
            reap(master);
            break;
        case SIGTERM:
        case SIGINT:
            stop(master);
            break;
        case SIGQUIT:
            drain(master);
            break;
        default: {
            char name[SIGNAL_NAME_BYTES];
            signal_name(number, name);
            log_write(LOG_NOTICE, "%s has no effect on this server", name);
            break;
        }
        }
    }
}

/* Milliseconds until something is due; -1: nothing is. */
static int time_to_wait_ms(const struct master *master)
{
    uint64_t due_ms = UINT64_MAX;
    if (master->phase == MASTER_DRAINING || master->phase == MASTER_STOPPING) {
        due_ms = master->kill_at_ms;
    } else {
        for (uint32_t i = 0; i < master->count; i++) {
            const struct child *child = &master->children[i];
            if (child->pid == 0 && child->start_at_ms < due_ms) {
                due_ms = child->start_at_ms;
            }
        }
    }
    if (due_ms == UINT64_MAX) {
        return -1;
    }
    uint64_t now_ms = clock_monotonic_ms();
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}

static bool has_children(const struct master *master)
{
    for (uint32_t i = 0; i < master->count; i++) {
        if (master->children[i].pid != 0) {
            return true;
        }
    }
    return false;
}

static bool is_over(const struct master *master)
{
    return (master->phase == MASTER_DRAINING || master->phase == MASTER_STOPPING) &&
           !has_children(master);
}

static void loop(struct master *master)
{
    struct pollfd watched[] = {
        {.fd = master->signal_fd, .events = POLLIN},
        {.fd = master->ready_fd, .events = POLLIN},
    };
    while (true) {
        start_due_children(master);
        if (is_over(master)) {
            return;
        }
        if (poll(watched, 2, time_to_wait_ms(master)) < 0 && errno != EINTR) {
            log_write(LOG_ERROR, "poll: %m");
            stop(master);
        }
        act_on_signals(master);
        uint64_t count;
        if (read(master->ready_fd, &count, sizeof(count)) > 0) {
            check_readiness(master);
        }
        kill_late_children(master);
    }
}

int master_run(struct server *server, process_run_fn run, void (*announce)(struct server *server))
{
    struct master master = {.server = server, .run = run, .announce = announce};
    log_set_name("master");
    atomic_store(&server->scoreboard->master_pid, (int32_t)getpid());
    master.count = server->plan.processes;
    master.signal_fd = stop_signals_open(master_signals);
    master.ready_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (master.signal_fd < 0 || master.ready_fd < 0) {
        log_write(LOG_ERROR, "cannot listen for signals: %m; raise the limit of open files");
        return 1;
    }
    master.children = memory_alloc_zeroed(master.count, sizeof(*master.children));
    loop(&master);
    free(master.children);
    close(master.signal_fd);
    close(master.ready_fd);
    return master.exit_status;
}
