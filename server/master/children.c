#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "server/process/confinement.h"
#include "server/process/process.h"
#include "server/setup/inheritance.h"
#include "server/setup/pid_file.h"
#include "server/setup/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { START_RETRY_MS = 200 };

/* ---- Starting ---- */

/* In the process that has become ready: what it says of itself stays there, should the master not
 * look at once. */
struct birth {
    struct master *master;
    const struct child *child;
    bool goes_on; /* it has moved in, and its successor will */
    pid_t keeper_pid;
};

static void on_child_ready(void *data)
{
    const struct birth *birth = data;
    struct master *master = birth->master;
    slot_note_process_ready(&master->server->scoreboard->slots[birth->child->first_slot]);
    if (birth->child->estate != NULL) {
        estate_settled(birth->child->estate);
    }
    readiness_tell(&master->readiness,
                   &(struct readiness_news){.generation = birth->child->generation,
                                            .goes_on = birth->goes_on,
                                            .keeper_pid = birth->keeper_pid});
}

/* What the master keeps open for itself. A listening socket that is given up must not stay open in
 * those who never accept from it. */
static void close_masters_own(struct master *master)
{
    close(master->signal_fd);
    readiness_forget(&master->readiness);
    service_manager_close(&master->service_manager);
    control_forget(master->control);
    master->control = NULL;
    inheritance_close();
    pid_file_forget();
    observation_forget(master);
    if (master->upgrade.talk_fd >= 0) {
        close(master->upgrade.talk_fd);
    }
    if (lookup_fd(&master->lookup) >= 0) {
        close(lookup_fd(&master->lookup));
    }
    if (master->on_trial) {
        server_close(&master->previous);
    }
}

/* What becomes of the forked process. The confinement makes it die with its master; the check of
 * the parent closes the gap before that. Ctrl-C reaches it, too: what that means the master tells
 * it. */
static _Noreturn void run_child(struct master *master, const struct child *child, pid_t master_pid)
{
    static const int signals[] = {SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, 0};
    log_set_name("process %u", child->number); /* until its threads name themselves */
    if (child->is_heir) {
        heirs_settle(master, child);
    }
    server_own_logs(master->server);
    legacies_forget(master, child->estate);
    struct estate *estate = child->estate;
    if (!confinement_enter(master->server, &estate) || getppid() != master_pid) {
        _exit(PROCESS_EXIT_BOOT_FAILED);
    }
    close_masters_own(master);
    struct birth birth = {master, child, estate != NULL,
                          estate != NULL ? estate_keeper_pid(estate) : 0};
    struct process process = {
        .server = master->server,
        .number = child->number,
        .first_slot = child->first_slot,
        .generation = child->generation,
        .estate = estate,
        .signal_fd = signals_open(signals),
        .ready = on_child_ready,
        .ready_data = &birth,
    };
    if (process.signal_fd < 0) {
        log_write(LOG_ERROR, "cannot listen for signals: %m; raise the limit of open files");
        _exit(PROCESS_EXIT_BOOT_FAILED);
    }
    exit(master->server->run(&process));
}

/* A server that runs waits for better times; one that is only starting says what is wrong. */
static void on_start_failure(struct master *master, uint32_t number)
{
    if (master->phase == MASTER_STARTING) {
        log_write(LOG_ERROR,
                  "cannot fork process %u: %m; raise the limit of processes (ulimit -u, the "
                  "pids cgroup), or ask for fewer workers",
                  number);
        master->exit_status = 1;
        master_stop(master);
        return;
    }
    log_write(LOG_ERROR, "cannot fork process %u: %m; trying again in %d ms", number,
              START_RETRY_MS);
    master->seats[number].start_at_ms = clock_monotonic_ms() + START_RETRY_MS;
}

struct child *children_create(const struct server *server, const struct plan *plan, uint32_t number,
                              uint32_t first_slot)
{
    CHECK(first_slot + plan->slots_per_process <= server->scoreboard->slot_capacity);
    CHECK(plan->loops + plan->spare_threads <= plan->slots_per_process);
    struct child *child = memory_alloc_zeroed(1, sizeof(*child));
    child->number = number;
    child->epoch = server->epoch;
    child->plan = *plan;
    child->listener_count = server->listeners.count;
    for (size_t i = 0; i < child->listener_count; i++) {
        child->listener_ids[i] = server->listeners.list[i].id;
    }
    child->owns_sockets = server->config.accept == CONFIG_ACCEPT_REUSEPORT;
    child->drain_timeout_ms = server->config.drain_timeout_ms;
    child->slot_count = plan->slots_per_process;
    child->loop_count = plan->loops;
    child->spare_count = plan->spare_threads;
    child->first_slot = first_slot;
    child->generation = ledger_next_generation(server->ledger);
    child->started_ns = clock_monotonic_ns();
    child->kill_at_ms = clock_monotonic_ms() + server->config.start_timeout_ms;
    return child;
}

bool children_fork(struct master *master, struct child *child)
{
    pid_t master_pid = getpid();
    CHECK(child->kill_at_ms != 0); /* until it is ready */
    confinement_hide(master->server->config.seccomp);
    fflush(NULL); /* or buffered output would be written twice */
    child->pid = fork();
    if (child->pid == 0) {
        run_child(master, child, master_pid);
    }
    int saved_errno = errno;
    if (child->estate != NULL) {
        estate_forked(child->estate, child->pid > 0);
    }
    if (child->pid < 0) {
        observation_changing(master);
        ledger_retire(master->server->ledger, child->first_slot, child->slot_count);
        errno = saved_errno;
        return false;
    }
    if (child->inherits != 0) {
        ledger_name_heir(master->server->ledger, child->inherits - 1, child->first_slot,
                         child->slot_count);
    }
    TAILQ_INSERT_TAIL(&master->children, child, link);
    return true;
}

void children_start(struct master *master, uint32_t number, struct child **place)
{
    const struct server *server = master->server;
    CHECK(number < master->seat_count);
    struct seat *seat = &master->seats[number];
    CHECK(place == &seat->child || place == &seat->successor);
    CHECK(*place == NULL);
    observation_changing(master);
    uint32_t first_slot = ledger_claim(server->ledger, server->plan.slots_per_process);
    if (first_slot == LEDGER_FULL) {
        log_write(LOG_WARN, "no room for process %u: its predecessors are still draining", number);
        seat->start_at_ms = clock_monotonic_ms() + START_RETRY_MS;
        return;
    }
    struct child *child = children_create(server, &server->plan, number, first_slot);
    child->estate = legacies_claim(master, seat, child, place == &seat->child);
    if (!children_fork(master, child)) {
        on_start_failure(master, number);
        legacies_give_back(master, child);
        free(child);
        return;
    }
    *place = child;
}

void children_start_due(struct master *master)
{
    if (!phase_starts_processes(master)) {
        return;
    }
    uint64_t now_ms = clock_monotonic_ms();
    for (uint32_t i = 0; i < master->seat_count && master->phase != MASTER_STOPPING; i++) {
        struct seat *seat = &master->seats[i];
        if (seat->child == NULL && seat->successor == NULL && now_ms >= seat->start_at_ms) {
            children_start(master, i, &seat->child);
            seat->outdated = false; /* whoever comes next is a new one anyway */
        }
    }
}

uint64_t children_start_due_ms(const struct master *master)
{
    uint64_t due_ms = 0;
    for (uint32_t i = 0; i < master->seat_count && phase_starts_processes(master); i++) {
        const struct seat *seat = &master->seats[i];
        if (seat->child == NULL && seat->successor == NULL) {
            due_ms = master_earlier_ms(due_ms, seat->start_at_ms != 0 ? seat->start_at_ms : 1);
        }
    }
    return due_ms;
}

/* ---- Readiness ---- */

/* The process has noted when that was, where anybody may have written since. */
static uint64_t ready_since_ns(const struct master *master, const struct child *child)
{
    const struct worker_slot *slot = &master->server->scoreboard->slots[child->first_slot];
    uint64_t ready_ns = atomic_load(&slot->ready_ns);
    uint64_t now_ns = clock_monotonic_ns();
    return ready_ns > child->started_ns && ready_ns < now_ns ? ready_ns : now_ns;
}

/* What the log says of the connections that a death has left. */
static void describe_adoption(const struct master *master, uint64_t number, char *out, size_t bytes)
{
    struct death_record death;
    if (!deaths_copy(master->server->scoreboard, number, &death) || death.left == 0) {
        out[0] = '\0';
        return;
    }
    snprintf(out, bytes, ", and has taken over %llu connections; %llu are lost",
             (unsigned long long)death.adoption.of[ADOPTION_CONNECTIONS],
             (unsigned long long)death.adoption.of[ADOPTION_LOST]);
}

static void note_recovery(struct master *master, struct loss *loss, const struct child *child,
                          uint64_t ready_ns)
{
    if (loss->died_ns == 0) {
        return;
    }
    uint64_t recovery_ns = ready_ns > loss->died_ns ? ready_ns - loss->died_ns : 1;
    char adoption[128];
    ledger_note_recovery(master->server->ledger, loss->death, recovery_ns);
    describe_adoption(master, loss->death, adoption, sizeof(adoption));
    *loss = (struct loss){0};
    log_write(LOG_NOTICE,
              "process %u (pid %d, generation %u) is ready %.3f ms after the death of its "
              "predecessor%s",
              child->number, (int)child->pid, child->generation, (double)recovery_ns / 1e6,
              adoption);
}

/* The process has gone on with what its predecessor left; or could not move in, so that this is
 * lost, and what it has itself will be. */
static void settle(struct master *master, struct child *child, bool went_on)
{
    if (child->estate == NULL) {
        return;
    }
    ledger_settle(master->server->ledger, child->first_slot, went_on);
    if (went_on) {
        estate_settled(child->estate);
    } else {
        estate_destroy(child->estate);
        child->estate = NULL;
    }
}

static void on_ready(struct master *master, struct child *child, uint64_t ready_ns,
                     const struct readiness_news *news)
{
    CHECK(!child->ready && child->kill_at_ms != 0);
    child->ready = true;
    keepers_learn(child, news->keeper_pid);
    child->kill_at_ms = child->retiring ? child->drain_until_ms + STOP_PATIENCE_MS : 0;
    settle(master, child, news->goes_on != 0);
    if (child->is_heir) {
        note_recovery(master, &child->loss, child, ready_ns);
        return;
    }
    if (reload_is_decided_by(master, child)) {
        reload_commit(master); /* may move the seats */
    }
    if (child->number >= master->seat_count) {
        return;
    }
    struct seat *seat = &master->seats[child->number];
    note_recovery(master, &seat->loss, child, ready_ns);
    if (seat->successor == child) {
        rolling_succeed(master, seat);
    }
}

static bool all_seats_ready(const struct master *master)
{
    for (uint32_t i = 0; i < master->seat_count; i++) {
        if (master->seats[i].child == NULL || !master->seats[i].child->ready) {
            return false;
        }
    }
    return true;
}

static void tell_predecessor(const struct server *server)
{
    for (uint32_t i = 0; i < ENDPOINTS_MOST; i++) {
        if ((server->left_to_old >> i & 1) != 0) {
            inheritance_tell(INHERITANCE_LEAVES + i);
        }
    }
    inheritance_tell(server->inherited ? INHERITANCE_SERVES : INHERITANCE_ELSEWHERE);
}

static struct child *find_unready(struct master *master, uint32_t generation)
{
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->generation == generation && !child->ready) {
            return child;
        }
    }
    return NULL;
}

void children_check_readiness(struct master *master)
{
    struct readiness_news news;
    while (readiness_next(&master->readiness, &news)) {
        struct child *child = find_unready(master, news.generation);
        if (child != NULL) {
            on_ready(master, child, ready_since_ns(master, child), &news);
        }
    }
    if (master->phase == MASTER_STARTING && all_seats_ready(master)) {
        CHECK(!master->on_trial && master->upgrade.pid == 0); /* orders wait for the start */
        phase_enter(master, MASTER_RUNNING);
        control_publish(master->control);
        observation_tell(master);
        master->announce(master->server, observation_token(master), ANNOUNCE_SERVER);
        master_tell_serving(master);
        pid_file_claim();
        tell_predecessor(master->server);
    }
}

/* ---- Ending ---- */

/* What else is to be known goes with the signal: other processes can neither add to it nor take it
 * away, as they could in memory that all share. */
static int send_order(const struct child *child, int number, uint32_t bits)
{
    const union sigval value = {.sival_int = (int)bits};
    return bits == 0 ? kill(child->pid, number) : sigqueue(child->pid, number, value);
}

static void order(struct master *master, const struct child *child, int number, uint32_t bits)
{
    if (send_order(child, number, bits) == 0 || errno == ESRCH || master->powerless) {
        return;
    }
    master->powerless = true;
    log_write(LOG_ERROR,
              "cannot send a signal to process %u (pid %d): %m; let the master have CAP_KILL",
              child->number, (int)child->pid);
}

void children_order(struct master *master, const struct child *child, int number)
{
    order(master, child, number, 0);
}

static bool has_sockets(const struct child *child, uint32_t listener_id)
{
    for (size_t i = 0; i < child->listener_count; i++) {
        if (child->listener_ids[i] == listener_id) {
            return true;
        }
    }
    return false;
}

/* Whether new processes, here or of a new program, serve at these sockets. */
static bool is_kept(const struct master *master, uint32_t listener_id)
{
    const struct listeners *listeners = &master->server->listeners;
    const struct listener *listener = listeners_find(listeners, listener_id);
    return listener != NULL &&
           (master->upgrade.addresses_left >> (listener - listeners->list) & 1) == 0;
}

/* Whether nobody serves there any more, once this process retires. */
static bool leaves_address(const struct master *master, const struct child *child,
                           uint32_t listener_id)
{
    const struct child *other;
    if (is_kept(master, listener_id)) {
        return false;
    }
    TAILQ_FOREACH(other, &master->children, link)
    {
        if (!other->retiring && !child->owns_sockets && has_sockets(other, listener_id)) {
            return false;
        }
    }
    return true;
}

void children_retire(struct master *master, struct child *child)
{
    struct scoreboard *scoreboard = master->server->scoreboard;
    if (child->retiring) {
        return;
    }
    CHECK(master->phase != MASTER_STARTING); /* or it would not be in the seat that is waited for */
    child->retiring = true;
    child->drain_until_ms = clock_monotonic_ms() + child->drain_timeout_ms;
    child->kill_at_ms = child->drain_until_ms + STOP_PATIENCE_MS;
    scoreboard_mark_draining(scoreboard, child->first_slot, child->slot_count);
    uint32_t given_up = 0;
    for (size_t i = 0; i < child->listener_count; i++) {
        given_up |= (uint32_t)leaves_address(master, child, child->listener_ids[i]) << i;
    }
    order(master, child, SIGUSR2, given_up);
}

/* Twice: of two signals of one number that wait, only the first would tell what goes with it, and
 * the terminal may have sent that. An heir, which has given up everything, retires without more if
 * others serve. */
void children_drain(struct master *master, struct child *child, bool gives_up)
{
    CHECK(master->phase == MASTER_DRAINING && child->listener_count <= ENDPOINTS_MOST);
    uint32_t given_up = gives_up ? PROCESS_LISTENERS(child->listener_count) : 0;
    if (child->drain_until_ms == 0) {
        child->drain_until_ms = clock_monotonic_ms() + child->drain_timeout_ms;
    }
    scoreboard_mark_draining(master->server->scoreboard, child->first_slot, child->slot_count);
    order(master, child, SIGUSR2, given_up);
    if (gives_up || !child->is_heir) {
        order(master, child, SIGQUIT, given_up);
    }
}

static void discard(struct master *master, struct child *child)
{
    CHECK(!child->ready); /* else the configuration would be in force */
    child->retiring = true;
    child->drain_until_ms = clock_monotonic_ms() + child->drain_timeout_ms;
    child->kill_at_ms = child->drain_until_ms + STOP_PATIENCE_MS;
    children_order(master, child, SIGKILL);
    if (child->number < master->seat_count) {
        struct seat *seat = &master->seats[child->number];
        seat->child = seat->child == child ? NULL : seat->child;
        seat->successor = seat->successor == child ? NULL : seat->successor;
    }
}

void children_discard(struct master *master, uint32_t epoch)
{
    struct child *child;
    CHECK(epoch != master->server->epoch); /* what is in force is not discarded */
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->epoch == epoch && !child->retiring) {
            discard(master, child);
        }
    }
}

void children_signal(struct master *master, int number)
{
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        children_order(master, child, number);
    }
}

void children_kill_late(struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->kill_at_ms != 0 && now_ms >= child->kill_at_ms) {
            log_write(LOG_WARN, "killing process %u (pid %d), which has not %s in time",
                      child->number, (int)child->pid,
                      child->ready || child->retiring ? "ended" : "become ready");
            children_order(master, child, SIGKILL);
            child->kill_at_ms = now_ms + STOP_PATIENCE_MS;
        }
    }
}

uint64_t children_kill_due_ms(const struct master *master)
{
    uint64_t due_ms = 0;
    const struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        due_ms = master_earlier_ms(due_ms, child->kill_at_ms);
    }
    return due_ms;
}
