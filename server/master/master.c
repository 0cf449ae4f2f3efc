#include "server/master/master.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "server/master/commands.h"
#include "server/master/master_internal.h"
#include "server/setup/inheritance.h"
#include "server/setup/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { TELL_LOSSES_MS = 1000 /* how often it is tried, while the log cannot be written */ };

static const int master_signals[] = {SIGTERM, SIGINT,  SIGQUIT, SIGCHLD, SIGHUP,
                                     SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, 0};

/* ---- Ending ---- */

/* The service ends with this program, unless another one serves. */
static void tell_ending(struct master *master, enum inheritance_news news, const char *what)
{
    if (!inheritance_is_recalled() && master->phase != MASTER_HANDED_OVER) {
        inheritance_tell(news);
        service_manager_stopping(&master->service_manager, what);
    }
}

void master_stop(struct master *master)
{
    if (master->phase != MASTER_STOPPING) {
        log_write(LOG_NOTICE, "stopping");
        tell_ending(master, INHERITANCE_STOPS, "stopping");
        phase_enter(master, MASTER_STOPPING);
        master->kill_at_ms = clock_monotonic_ms() + STOP_PATIENCE_MS;
        listeners_close(&master->server->listeners);
        reload_abandon(master);
        upgrade_abandon(master);
        heirs_abandon(master);
        children_signal(master, SIGTERM);
    }
}

/* Who was started with another configuration keeps the time that it gives, and leaves it to who
 * goes on for it. */
static uint64_t longest_drain_ms(const struct master *master)
{
    uint64_t longest_ms = 0;
    const struct child *child;
    const struct legacy *legacy;
    TAILQ_FOREACH(child, &master->children, link)
    {
        longest_ms = child->drain_timeout_ms > longest_ms ? child->drain_timeout_ms : longest_ms;
    }
    TAILQ_FOREACH(legacy, &master->legacies, link)
    {
        longest_ms = legacy->drain_timeout_ms > longest_ms ? legacy->drain_timeout_ms : longest_ms;
    }
    return longest_ms;
}

/* Nobody will sit in the seats that are vacant. */
static void pass_on_all(struct master *master)
{
    for (uint32_t i = 0; i < master->seat_count; i++) {
        legacies_pass_on(master, &master->seats[i]);
    }
}

/* The workers hold the listening sockets, too, and take what has been queued before they close -
 * unless the old program serves there again. */
void master_drain(struct master *master)
{
    struct child *child;
    if (master->phase == MASTER_HANDED_OVER) { /* draining already; what is left is the trial */
        master->upgrade.over_ms = clock_monotonic_ms();
        return;
    }
    if (master->phase != MASTER_RUNNING) {
        master_stop(master);
        return;
    }
    pass_on_all(master);
    uint64_t deadline_ms = longest_drain_ms(master);
    log_write(LOG_NOTICE, "draining: no new connections, up to %llu ms for those that are open",
              (unsigned long long)deadline_ms);
    tell_ending(master, INHERITANCE_DRAINS, "draining");
    phase_enter(master, MASTER_DRAINING);
    master->kill_at_ms = clock_monotonic_ms() + deadline_ms + STOP_PATIENCE_MS;
    bool recalled = inheritance_is_recalled();
    listeners_close(&master->server->listeners);
    reload_abandon(master);
    upgrade_abandon(master);
    TAILQ_FOREACH(child, &master->children, link)
    {
        children_drain(master, child, !recalled);
    }
}

static void kill_last(struct master *master)
{
    if (master->kill_at_ms != 0 && clock_monotonic_ms() >= master->kill_at_ms) {
        log_write(LOG_WARN, "killing the processes that have not stopped in time");
        children_signal(master, SIGKILL);
        master->kill_at_ms = clock_monotonic_ms() + STOP_PATIENCE_MS;
    }
}

static uint64_t kill_last_due_ms(const struct master *master)
{
    return master->kill_at_ms;
}

bool master_is_over(const struct master *master)
{
    bool is_empty = TAILQ_EMPTY(&master->children) && TAILQ_EMPTY(&master->legacies);
    return is_empty && (phase_is_ending(master) || upgrade_is_passed(master));
}

/* ---- Signals ---- */

void master_reopen_logs(struct master *master)
{
    bool reachable = server_renew_logs(master->server);
    if (master->on_trial) { /* which of them goes on is not known yet */
        reachable = server_renew_logs(&master->previous) && reachable;
    }
    if (reachable) {
        children_signal(master, SIGUSR1);
    } else {
        rolling_replace_all(master);
    }
    observation_reopen_logs(master, reachable);
    log_write(LOG_NOTICE, "the logs are open again");
}

static void act_on_signal(struct master *master, int number)
{
    struct error error; /* is in the log, too */
    switch (number) {
    case SIGCHLD:
        deaths_reap(master);
        break;
    case SIGTERM:
    case SIGINT:
        master_stop(master);
        break;
    case SIGQUIT:
        master_drain(master);
        break;
    case SIGUSR1:
        master_reopen_logs(master);
        break;
    case SIGHUP:
    case SIGUSR2:
    case SIGTTIN:
    case SIGTTOU:
        orders_give(master, number, &error);
        break;
    default:
        break;
    }
}

static void act_on_signals(struct master *master)
{
    int number;
    while ((number = signals_next(master->signal_fd)) != 0) {
        act_on_signal(master, number);
    }
}

/* ---- Duties ---- */

static void serve_control(struct master *master)
{
    control_serve(master->control);
}

static uint64_t serve_control_due_ms(const struct master *master)
{
    return control_due_ms(master->control);
}

static void run_tellers(struct master *master)
{
    tellers_run(&master->tellers);
}

static uint64_t run_tellers_due_ms(const struct master *master)
{
    return tellers_due_ms(&master->tellers);
}

struct duty {
    void (*run)(struct master *master);
    uint64_t (*due_ms)(const struct master *master); /* 0: never; NULL: it follows on news alone */
};

/* In this order: first what others have to say, then what follows from it. */
static const struct duty duties[] = {
    {act_on_signals, NULL},
    {children_check_readiness, NULL},
    {upgrade_hear, NULL},
    {serve_control, serve_control_due_ms},
    {observation_hear, observation_hear_due_ms},
    {reload_proceed, reload_due_ms},
    {children_kill_late, children_kill_due_ms},
    {kill_last, kill_last_due_ms},
    {upgrade_check_deadline, upgrade_due_ms},
    {orders_take_up, NULL},
    {listening_check_if_due, listening_due_ms},
    {children_start_due, children_start_due_ms},
    {watchdog_run, watchdog_due_ms},
    {recycling_run, recycling_due_ms},
    {keepers_run, keepers_due_ms},
    {rolling_advance, rolling_due_ms},
    {heirs_start_due, heirs_start_due_ms}, /* also of what nobody has moved into just now */
    {run_tellers, run_tellers_due_ms},     /* behind all that is urgent */
    {observation_run, observation_due_ms}, /* the last two: they tell what has come of all this */
    {posterity_run, posterity_due_ms},
};

enum { DUTIES = sizeof(duties) / sizeof(duties[0]) };

void master_work(struct master *master)
{
    for (size_t i = 0; i < DUTIES; i++) {
        duties[i].run(master);
    }
    books_check(master);
}

uint64_t master_earlier_ms(uint64_t due_ms, uint64_t other_ms)
{
    return due_ms == 0 || (other_ms != 0 && other_ms < due_ms) ? other_ms : due_ms;
}

uint64_t master_due_ms(const struct master *master)
{
    uint64_t due_ms = 0;
    for (size_t i = 0; i < DUTIES; i++) {
        due_ms = master_earlier_ms(due_ms, duties[i].due_ms != NULL ? duties[i].due_ms(master) : 0);
    }
    return due_ms;
}

/* ---- The loop ---- */

static int time_to_wait_ms(const struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t due_ms = master_due_ms(master);
    if (due_ms == 0) {
        return -1;
    }
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}

void master_tell_serving(struct master *master)
{
    char status[SERVICE_MANAGER_STATUS_BYTES];
    server_describe(master->server, status, sizeof(status));
    service_manager_ready(&master->service_manager, status);
}

static void wait_for_news(struct master *master)
{
    struct pollfd watched[] = {
        {.fd = master->signal_fd, .events = POLLIN},
        {.fd = readiness_fd(&master->readiness), .events = POLLIN},
        {.fd = master->upgrade.talk_fd, .events = POLLIN}, /* -1 is passed over */
        {.fd = control_fd(master->control), .events = POLLIN},
        /* the last ones: mostly there are none */
        observation_poll(master),
        observation_poll_leaving(master),
        {.fd = lookup_fd(&master->lookup), .events = POLLIN},
    };
    nfds_t count = sizeof(watched) / sizeof(watched[0]);
    while (watched[count - 1].fd < 0) { /* RLIMIT_NOFILE bounds it */
        count--;
    }
    service_manager_beat(&master->service_manager);
    int wait_ms = service_manager_wait_ms(&master->service_manager, time_to_wait_ms(master));
    if (!log_tell_losses() && (wait_ms < 0 || wait_ms > TELL_LOSSES_MS)) {
        wait_ms = TELL_LOSSES_MS;
    }
    if (poll(watched, count, wait_ms) < 0 && errno != EINTR) {
        log_write(LOG_ERROR, "poll: %m");
        master_stop(master);
    }
}

static void loop(struct master *master)
{
    master_work(master);
    while (!master_is_over(master)) {
        wait_for_news(master);
        master_work(master);
    }
}

/* ---- Life ---- */

bool master_open(struct master *master)
{
    TAILQ_INIT(&master->children);
    TAILQ_INIT(&master->legacies);
    tellers_open(&master->tellers, master->server->scoreboard);
    master->upgrade.talk_fd = -1;
    master->signal_fd = signals_open(master_signals);
    if (master->signal_fd < 0 || !readiness_open(&master->readiness)) {
        log_write(LOG_ERROR, "cannot listen for signals: %m; raise the limit of open files");
        return false;
    }
    if (!control_start(master) || !observation_open(master)) {
        return false;
    }
    posterity_open(master);
    service_manager_open(&master->service_manager);
    watchdog_open(master);
    blame_open(master);
    rolling_resize(master, master->server->plan.processes);
    return true;
}

void master_close(struct master *master)
{
    posterity_close(master);
    observation_close(master);
    if (master->on_trial) {
        server_close(&master->previous);
    }
    if (master->upgrade.talk_fd >= 0) {
        close(master->upgrade.talk_fd);
    }
    service_manager_close(&master->service_manager);
    control_destroy(master->control);
    watchdog_close(master);
    tellers_close(&master->tellers);
    readiness_close(&master->readiness);
    heirs_abandon(master);
    for (uint32_t i = 0; i < master->seat_count; i++) {
        legacies_destroy(master, master->seats[i].legacy);
    }
    free(master->seats);
    close(master->signal_fd);
}

int master_run(struct server *server, const struct server_origin *origin, announce_fn announce)
{
    struct master master = {
        .server = server, .last_epoch = server->epoch, .origin = origin, .announce = announce};
    log_set_name("master");
    ledger_name_master(server->ledger, (int32_t)getpid());
    if (!master_open(&master)) {
        return 1;
    }
    loop(&master);
    if (master.phase == MASTER_HANDED_OVER) {
        inheritance_tell(INHERITANCE_DRAINS); /* whose successor has got one */
    }
    master_close(&master);
    return master.exit_status;
}
