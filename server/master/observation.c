#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/signal_name.h"
#include "server/master/commands.h"
#include "server/observe/carried.h"
#include "server/observe/observer.h"
#include "server/process/confinement.h"
#include "server/process/descriptor_table.h"
#include "server/process/process.h"
#include "server/setup/inheritance.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LEAVING_MS = 3000, /* more than it takes its time for */
    FAREWELL_MS = 500, /* at the end of the server */
    RETRY_MS = 200,
    AWAIT_MS = 2500, /* for what another observer has to do first */
    AWAIT_STEP_MS = 5
};

/* ---- Whether there is to be one ---- */

/* The old program of an upgrade observes until the new one serves; then that does, unless the old
 * one serves again. */
static bool is_wanted(const struct master *master)
{
    const bool is_successor = master->phase == MASTER_STARTING && inheritance_is_offered();
    return reload_in_force(master)->observing.count > 0 && !is_successor &&
           master->phase != MASTER_HANDED_OVER &&
           !(phase_is_ending(master) && inheritance_is_recalled());
}

/* Who asks one observer and then another would see counters go back: what the first has from a
 * moment ago is less than what the second has told. So one that leaves accepts nobody any more, and
 * the old program's has told its last, before the next one begins. Clients that connect meanwhile
 * wait. */
static bool is_another_at_work(const struct observation *observation)
{
    return !carried_is_handed_over(observation->carried) ||
           (observation->leaving != 0 &&
            bulletin_retired_pid(observation->bulletin) != (int32_t)observation->leaving);
}

/* False: the start is put off, but not for long. */
static bool others_have_made_way(struct observation *observation)
{
    const uint64_t now_ms = clock_monotonic_ms();
    if (!is_another_at_work(observation)) {
        observation->await_until_ms = 0;
        return true;
    }
    if (observation->await_until_ms == 0) {
        observation->await_until_ms = now_ms + AWAIT_MS;
    }
    if (now_ms >= observation->await_until_ms) {
        return true;
    }
    observation->start_at_ms = now_ms + AWAIT_STEP_MS;
    return false;
}

/* One after the other: who leaves may still have somebody to answer. */
static bool is_to_follow(const struct master *master)
{
    const struct observation *observation = &master->observation;
    return observation->epoch != reload_in_force(master)->epoch && observation->leaving == 0;
}

/* ---- The bulletin ---- */

static enum bulletin_phase phase_of(const struct master *master)
{
    static const enum bulletin_phase phases[] = {
        [MASTER_STARTING] = BULLETIN_STARTING,       [MASTER_RUNNING] = BULLETIN_RUNNING,
        [MASTER_HANDED_OVER] = BULLETIN_HANDED_OVER, [MASTER_DRAINING] = BULLETIN_DRAINING,
        [MASTER_STOPPING] = BULLETIN_STOPPING,
    };
    return phases[master->phase];
}

static enum bulletin_state state_of(const struct child *child)
{
    return child->retiring ? BULLETIN_CHILD_RETIRING
           : child->ready  ? BULLETIN_CHILD_READY
                           : BULLETIN_CHILD_STARTING;
}

static void list_processes(const struct master *master, struct bulletin_copy *draft)
{
    const struct child *child;
    draft->process_count = 0;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (draft->process_count == BULLETIN_PROCESSES) {
            break;
        }
        draft->processes[draft->process_count++] = (struct bulletin_process){
            .pid = (int32_t)child->pid,
            .number = child->number,
            .generation = child->generation,
            .first_slot = child->first_slot,
            .slot_count = child->slot_count,
            .state = state_of(child),
            .inherits = child->inherits != 0,
            .started_ns = child->started_ns,
        };
    }
}

static void post(struct master *master)
{
    struct observation *observation = &master->observation;
    struct bulletin_copy *draft = observation->draft;
    draft->beat_ms = clock_monotonic_ms();
    draft->master_pid = (int32_t)getpid();
    draft->phase = phase_of(master);
    draft->wanted = master->seat_count;
    draft->observer_deaths = observation->deaths;
    ledger_get_totals(master->server->ledger, &draft->totals);
    list_processes(master, draft);
    bulletin_post(observation->bulletin, draft);
    observation->beat_at_ms = draft->beat_ms + BULLETIN_BEAT_MS;
}

void observation_tell(struct master *master)
{
    if (master->observation.bulletin != NULL) {
        post(master);
    }
}

void observation_changing(struct master *master)
{
    if (master->observation.bulletin != NULL) {
        bulletin_begin(master->observation.bulletin);
    }
}

/* Once, when the first observer is to be started; its token stays the same then. */
static bool make_bulletin(struct observation *observation)
{
    if (observation->bulletin == NULL) {
        observation->bulletin = bulletin_create();
        if (observation->bulletin == NULL) {
            log_write(LOG_ERROR, "cannot make memory for an observer: %m; trying again in %d ms",
                      RETRY_MS);
            observation->start_at_ms = clock_monotonic_ms() + RETRY_MS;
            return false;
        }
        observation->draft = memory_alloc_zeroed(1, sizeof(*observation->draft));
    }
    return true;
}

/* ---- The observer's process ---- */

static void forget_all_but(const struct server *server, int petition_fd)
{
    const int kept[] = {server->error_log_fd, server->observing.list[0].fds[0], petition_fd};
    descriptor_table_keep(kept, sizeof(kept) / sizeof(kept[0]));
}

static _Noreturn void run_observer(struct master *master, int petition_fd, pid_t master_pid)
{
    struct server *server = master->on_trial ? &master->previous : master->server;
    const struct observer_start start = {server, master->observation.bulletin,
                                         master->observation.carried, petition_fd, master_pid};
    log_set_name("observer");
    prctl(PR_SET_NAME, "observer"); /* so ps and top tell it from a serving process */
    server_use_log(server);
    server_own_logs(server);
    if (master->on_trial) {
        inboxes_close(&master->server->inboxes);
    }
    server_forget_shared(server);
    forget_all_but(server, petition_fd);
    server->access_log_fd = -1; /* it has none: the number will be another's */
    exit(observer_run(&start));
}

/* The ends of the socket for commands; -1 without. */
static bool open_petitions(const struct server *server, int ends[2])
{
    ends[0] = ends[1] = -1;
    return !server->config.observe_control ||
           socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0;
}

static pid_t fork_observer(struct master *master, const int ends[2])
{
    const pid_t master_pid = getpid();
    struct bulletin *bulletin = master->observation.bulletin;
    confinement_hide(reload_in_force(master)->config.seccomp);
    fflush(NULL); /* or buffered output would be written twice */
    pid_t pid = bulletin_share(bulletin, true) ? fork() : -1;
    if (pid == 0) {
        run_observer(master, ends[1], master_pid);
    }
    const int cause = errno;
    bulletin_share(bulletin, false);
    errno = cause;
    return pid;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

/* Should the last one have shut the socket down, it is opened anew. */
static void mend_socket(struct master *master)
{
    struct server *server = master->on_trial ? &master->previous : master->server;
    enum listener_health health;
    struct error what;
    struct error error;
    if (!listeners_check(&server->observing, 0, false, &health, &what, &error)) {
        log_write(LOG_ERROR, "%s", error.text);
    } else if (health != LISTENER_SOUND) {
        log_write(LOG_ERROR, "%s by the last observer: that was undone", what.text);
    }
}

static void start(struct master *master)
{
    struct observation *observation = &master->observation;
    const struct server *server = reload_in_force(master);
    int ends[2];
    CHECK(observation->pid == 0 && server->observing.count == 1);
    mend_socket(master);
    post(master); /* it has something to say from the beginning */
    pid_t pid = open_petitions(server, ends) ? fork_observer(master, ends) : -1;
    if (pid < 0) {
        log_write(LOG_ERROR, "cannot start the observer: %m; trying again in %d ms", RETRY_MS);
        close_fd(ends[0]);
        close_fd(ends[1]);
        observation->start_at_ms = clock_monotonic_ms() + RETRY_MS;
        return;
    }
    close_fd(ends[1]);
    if (ends[0] >= 0) {
        observation->petitions = control_peer_create(ends[0], control_answer_request, master);
    }
    observation->pid = pid;
    observation->epoch = server->epoch;
    observation->started_ms = clock_monotonic_ms();
    observation->killed = false;
}

/* ---- Its end ---- */

static void forget(struct observation *observation)
{
    control_peer_destroy(observation->petitions);
    observation->petitions = NULL;
    observation->pid = 0;
}

static void forget_leaving(struct observation *observation)
{
    control_peer_destroy(observation->leaving_petitions);
    observation->leaving_petitions = NULL;
    observation->leaving = 0;
}

/* It is not waited for: it is reaped as a stranger. */
static void kill_leaving(struct observation *observation)
{
    if (observation->leaving != 0) {
        kill(observation->leaving, SIGKILL);
        forget_leaving(observation);
    }
}

/* It answers who is connected, and what it has asked for is answered, too; then it goes. Another
 * one is there, or none is to be. */
static void dismiss(struct master *master)
{
    struct observation *observation = &master->observation;
    kill_leaving(observation);
    observation->leaving = observation->pid;
    observation->leaving_petitions = observation->petitions;
    observation->kill_at_ms = clock_monotonic_ms() + LEAVING_MS;
    observation->await_until_ms = 0;
    observation->petitions = NULL;
    kill(observation->pid, SIGUSR2);
    forget(observation);
}

static void see_off(struct observation *observation)
{
    if (observation->leaving == 0) {
        return;
    }
    if (!control_peer_serve(observation->leaving_petitions)) {
        control_peer_destroy(observation->leaving_petitions);
        observation->leaving_petitions = NULL;
    }
    if (clock_monotonic_ms() >= observation->kill_at_ms) {
        log_write(LOG_WARN, "killing the observer (pid %d) that has not left in time",
                  (int)observation->leaving);
        kill_leaving(observation);
    }
}

static void schedule(struct master *master, int wait_status)
{
    struct observation *observation = &master->observation;
    char what[SIGNAL_END_BYTES];
    const uint64_t now_ms = clock_monotonic_ms();
    const uint64_t delay_ms = respawn_delay_ms(
        &observation->respawn, now_ms - observation->started_ms, now_ms, clock_monotonic_ns());
    signal_describe_end(wait_status, what);
    log_write(LOG_ERROR, "the observer (pid %d) %s; the next one starts in %llu ms",
              (int)observation->pid, what, (unsigned long long)delay_ms);
    observation->start_at_ms = now_ms + delay_ms;
}

bool observation_is_over(struct master *master, pid_t pid, int wait_status)
{
    struct observation *observation = &master->observation;
    if (pid != 0 && pid == observation->leaving) {
        forget_leaving(observation);
        return true;
    }
    if (pid == 0 || pid != observation->pid) {
        return false;
    }
    observation->deaths++;
    schedule(master, wait_status);
    forget(observation);
    return true;
}

/* ---- Turns ---- */

struct pollfd observation_poll(const struct master *master)
{
    return control_peer_poll(master->observation.petitions);
}

struct pollfd observation_poll_leaving(const struct master *master)
{
    return control_peer_poll(master->observation.leaving_petitions);
}

/* Who breaks the rules is ended, and its successor may do better. */
void observation_hear(struct master *master)
{
    struct observation *observation = &master->observation;
    if (!control_peer_serve(observation->petitions)) {
        control_peer_destroy(observation->petitions);
        observation->petitions = NULL;
    }
}

uint64_t observation_hear_due_ms(const struct master *master)
{
    return control_peer_due_ms(master->observation.petitions);
}

void observation_answer_waiting(struct master *master, struct span answer)
{
    control_peer_answer_waiting(master->observation.petitions, answer);
    control_peer_answer_waiting(master->observation.leaving_petitions, answer);
}

/* One that hangs is of no use to anybody, and in nobody's way: that is seen to at leisure. Its own
 * word is clamped by when it was started. */
static void kill_stuck(struct master *master)
{
    struct observation *observation = &master->observation;
    const uint64_t patience_ms = reload_in_force(master)->config.stuck_after_ms;
    const uint64_t now_ms = clock_monotonic_ms();
    if (observation->pid == 0 || observation->killed || patience_ms == 0) {
        return;
    }
    uint64_t heard_ms = bulletin_acknowledged_ms(observation->bulletin);
    if (heard_ms < observation->started_ms || heard_ms > now_ms) {
        heard_ms = observation->started_ms;
    }
    if (now_ms - heard_ms >= patience_ms) {
        log_write(LOG_ERROR, "killing the observer (pid %d), which has not been heard for %llu ms",
                  (int)observation->pid, (unsigned long long)(now_ms - heard_ms));
        kill(observation->pid, SIGKILL);
        observation->killed = true;
    }
}

static void see_to_observer(struct master *master)
{
    struct observation *observation = &master->observation;
    const bool wanted = is_wanted(master);
    if (observation->pid != 0 && (!wanted || is_to_follow(master))) {
        dismiss(master);
    }
    if (wanted && observation->pid == 0 && clock_monotonic_ms() >= observation->start_at_ms &&
        others_have_made_way(observation) && make_bulletin(observation)) {
        start(master);
    }
}

void observation_run(struct master *master)
{
    struct observation *observation = &master->observation;
    kill_stuck(master);
    see_to_observer(master);
    see_off(observation);
    observation_tell(master);
}

uint64_t observation_due_ms(const struct master *master)
{
    const struct observation *observation = &master->observation;
    uint64_t due_ms = observation->leaving != 0 ? observation->kill_at_ms : 0;
    due_ms = master_earlier_ms(due_ms, control_peer_due_ms(observation->leaving_petitions));
    if (observation->pid != 0) {
        due_ms = master_earlier_ms(due_ms, observation->beat_at_ms);
    } else if (is_wanted(master)) {
        due_ms =
            master_earlier_ms(due_ms, observation->start_at_ms != 0 ? observation->start_at_ms : 1);
    }
    return due_ms;
}

void observation_reopen_logs(struct master *master, bool reachable)
{
    struct observation *observation = &master->observation;
    if (observation->pid != 0 && reachable) {
        kill(observation->pid, SIGUSR1);
    } else {
        observation->epoch = 0; /* another one is to follow */
    }
}

const char *observation_token(const struct master *master)
{
    const struct observation *observation = &master->observation;
    return observation->bulletin != NULL && reload_in_force(master)->config.observe_control
               ? bulletin_token(observation->bulletin)
               : NULL;
}

static bool is_same_text(const char *one, const char *other)
{
    return one == NULL ? other == NULL : other != NULL && strcmp(one, other) == 0;
}

void observation_announce(struct master *master, const struct server *predecessor)
{
    const struct config *config = &master->server->config;
    if (config->observe_control != predecessor->config.observe_control ||
        !is_same_text(config->observe, predecessor->config.observe)) {
        if (config->observe != NULL) {
            make_bulletin(&master->observation);
        }
        master->announce(master->server, observation_token(master), ANNOUNCE_OBSERVER);
    }
}

/* ---- Life ---- */

/* The bulletin is not there: it is not shared with serving processes. */
void observation_forget(struct master *master)
{
    struct observation *observation = &master->observation;
    listeners_close(&master->server->observing);
    control_peer_destroy(observation->petitions);
    control_peer_destroy(observation->leaving_petitions);
    observation->petitions = observation->leaving_petitions = NULL;
}

static void take_carried(struct observation *observation)
{
    const int fd = inheritance_take_counted();
    struct counted_page *before = fd >= 0 ? counted_page_open(fd) : NULL;
    observation->carried = carried_create();
    carried_begin(observation->carried, before);
    if (fd >= 0 && before == NULL) {
        log_write(LOG_WARN,
                  "what the old program has counted is of no use (%m): counters begin at 0");
    }
}

bool observation_open(struct master *master)
{
    take_carried(&master->observation);
    return reload_in_force(master)->observing.count == 0 || make_bulletin(&master->observation);
}

/* Whether it has ended within a moment. */
static bool ends_soon(pid_t pid)
{
    for (int i = 0; i < FAREWELL_MS && waitpid(pid, NULL, WNOHANG) == 0; i++) {
        poll(NULL, 0, 1);
    }
    return kill(pid, 0) != 0; /* reaped */
}

/* It has been told to. */
static void await_end(pid_t pid)
{
    if (pid != 0 && !ends_soon(pid)) {
        kill(pid, SIGKILL);
        ends_soon(pid);
    }
}

void observation_close(struct master *master)
{
    struct observation *observation = &master->observation;
    if (observation->pid != 0) {
        kill(observation->pid, SIGTERM);
    }
    await_end(observation->leaving);
    await_end(observation->pid);
    forget_leaving(observation);
    forget(observation);
    bulletin_destroy(observation->bulletin);
    free(observation->draft);
    carried_close(observation->carried);
}
