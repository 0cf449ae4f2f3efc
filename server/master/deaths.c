#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/signal_name.h"
#include "server/crash/crash_teller.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

/* ---- The record ---- */

static void describe_cause(const struct death_record *death, const struct child *child, char *out,
                           size_t bytes)
{
    if (death->signal == 0) {
        snprintf(out, bytes, "exited with status %d", death->exit_status);
        return;
    }
    char name[SIGNAL_NAME_BYTES];
    signal_name(death->signal, name);
    snprintf(out, bytes, "was killed by %s%s", name, child->aborted ? " (by the watchdog)" : "");
}

static void describe_cost(const struct death_record *death, char *out, size_t bytes)
{
    if (death->left != 0) {
        snprintf(out, bytes,
                 "its successor is to go on with %llu requests in progress, %llu awaited on open "
                 "connections, and %llu idle connections",
                 (unsigned long long)death->in_progress, (unsigned long long)death->awaited,
                 (unsigned long long)death->idle_cut);
        return;
    }
    snprintf(out, bytes,
             "%llu requests lost (%llu in progress, %llu awaited on open connections); %llu idle "
             "connections cut",
             (unsigned long long)deaths_requests_lost(death),
             (unsigned long long)death->in_progress, (unsigned long long)death->awaited,
             (unsigned long long)death->idle_cut);
}

static void log_death(const struct death_record *death, const struct child *child)
{
    char cause[64];
    char cost[256];
    describe_cause(death, child, cause, sizeof(cause));
    describe_cost(death, cost, sizeof(cost));
    log_write(LOG_ERROR, "process %u (pid %d, generation %u) %s after %.3f s: %s", death->process,
              death->pid, death->generation, cause, (double)death->lived_ns / 1e9, cost);
    for (uint32_t i = 0; i < death->request_count; i++) {
        const struct request_copy *request = &death->requests[i];
        log_write(LOG_ERROR, "in progress in slot %u: \"%s\" from %s", request->slot, request->line,
                  request->client);
    }
}

/* Whether the next one will take these places. A successor that is already there has places of its
 * own. */
static bool leaves_places(const struct master *master, const struct child *child)
{
    const struct seat *seat =
        child->number < master->seat_count ? &master->seats[child->number] : NULL;
    return seat != NULL && seat->child == child && seat->successor == NULL;
}

/* From here on nothing is read of what the process has left behind: death has it. */
static void bury(struct master *master, const struct child *child, int wait_status, bool has_taker,
                 struct death_record *death)
{
    uint64_t now_ns = clock_monotonic_ns();
    CHECK(now_ns >= child->started_ns);
    *death = (struct death_record){
        .time_ms = clock_realtime_ms(),
        .died_ns = now_ns,
        .lived_ns = now_ns - child->started_ns,
        .pid = child->pid,
        .signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0,
        .exit_status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0,
        .process = child->number,
        .generation = child->generation,
        .first_slot = child->first_slot,
        .slot_count = child->slot_count,
        .left = has_taker,
    };
    deaths_read_crash(master->server->scoreboard, death->first_slot, death->slot_count,
                      &death->crash);
    ledger_bury(master->server->ledger, death);
}

/* ---- What follows from it ---- */

enum { SERVED_DELAY_MS = 20, STARTING_DELAY_MS = 100 };

/* Where a successor is to go on with connections, clients wait: those of all others for one whose
 * requests crash. Such a request is not tried for ever. */
static uint64_t longest_delay_ms(const struct child *child, const struct death_record *death)
{
    if (death->left != 0 && child->ready) {
        return SERVED_DELAY_MS;
    }
    return death->left != 0 && death->signal == SIGKILL ? STARTING_DELAY_MS : UINT64_MAX;
}

/* A thread that never came back has taken its requests with it: that is told as a death. */
static bool was_asked_to(const struct master *master, const struct child *child, int wait_status)
{
    return (child->retiring || master->phase == MASTER_DRAINING ||
            master->phase == MASTER_STOPPING) &&
           WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0 &&
           watchdog_stuck_threads(master, child) == 0;
}

static void schedule_respawn(struct seat *seat, const struct child *child,
                             const struct death_record *death)
{
    /* who has never been ready counts as dead at once, however long its start took */
    const uint64_t lived_ms = child->ready ? death->lived_ns / 1000000 : 0;
    CHECK(seat->child == NULL && death->died_ns != 0);
    uint64_t now_ms = death->died_ns / 1000000;
    uint64_t delay_ms = respawn_delay_ms(&seat->respawn, lived_ms, now_ms, death->died_ns);
    uint64_t longest_ms = longest_delay_ms(child, death);
    delay_ms = delay_ms < longest_ms ? delay_ms : longest_ms;
    seat->start_at_ms = now_ms + delay_ms;
    if (delay_ms > STARTING_DELAY_MS) {
        log_write(LOG_WARN, "process %u keeps dying at once: the next one starts in %llu ms",
                  death->process, (unsigned long long)delay_ms);
    }
}

/* The seat forgets its dead; with death it is to be filled again. The recovery is a matter of the
 * heir, if there is to be one. */
static void leave_seat(struct master *master, const struct child *child,
                       const struct death_record *death, const struct loss *loss)
{
    if (child->number >= master->seat_count) { /* the seat itself is gone */
        return;
    }
    struct seat *seat = &master->seats[child->number];
    CHECK(!child->retiring || (seat->child != child && seat->successor != child));
    if (seat->successor == child) {
        seat->successor = NULL;
        rolling_fail(master, seat);
    } else if (seat->child == child) {
        seat->child = NULL;
        if (death != NULL) {
            schedule_respawn(seat, child, death);
            seat->loss = *loss;
        }
    }
}

static void on_death(struct master *master, struct child *child, int wait_status)
{
    struct death_record death;
    const enum legacy_way way = legacies_way(master, child);
    bury(master, child, wait_status, way != LEGACY_IS_CUT, &death);
    log_death(&death, child);
    const struct loss loss = {death.number, death.died_ns};
    const struct loss none = {0};
    if (way != LEGACY_IS_CUT) {
        const struct worker_end end = blame_end(master, child, &death);
        estate_bereaved(child->estate, &end);
    }
    legacies_leave(master, child, way, &loss);
    if (!leaves_places(master, child)) { /* they would stay on show as dead */
        ledger_retire(master->server->ledger, child->first_slot, child->slot_count);
    }
    leave_seat(master, child, &death, way == LEGACY_TO_HEIR ? &none : &loss);
    if (death.crash.told) {
        crash_teller_add(&master->tellers, &death);
    }
    master->listening_checked_ms = 0; /* its successors inherit what it may have spoilt */
    if (child->ready) {
        return;
    }
    if (master->phase == MASTER_STARTING) {
        log_write(LOG_ERROR, "a process cannot start: giving up; the reason stands above");
        master->exit_status = 1;
        master_stop(master);
    } else if (reload_is_decided_by(master, child)) {
        reload_go_back(master);
    }
}

static void on_end(struct master *master, struct child *child, int wait_status)
{
    CHECK(!TAILQ_EMPTY(&master->children));
    CHECK(child->pid > 0 && child->generation != 0);
    observation_changing(master);
    TAILQ_REMOVE(&master->children, child, link);
    if (was_asked_to(master, child, wait_status)) {
        ledger_retire(master->server->ledger, child->first_slot, child->slot_count);
        leave_seat(master, child, NULL, NULL);
        estate_destroy(child->estate);
    } else {
        on_death(master, child, wait_status);
    }
    free(child);
}

static struct child *find_child(struct master *master, pid_t pid)
{
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->pid == pid) {
            return child;
        }
    }
    return NULL;
}

void deaths_reap(struct master *master)
{
    int wait_status;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        children_check_readiness(master); /* who has been ready before it died was */
        struct child *child = find_child(master, pid);
        if (child != NULL) {
            on_end(master, child, wait_status);
        } else if (!tellers_reap(&master->tellers, pid, wait_status) &&
                   !lookup_is_over(&master->lookup, pid) &&
                   !observation_is_over(master, pid, wait_status) &&
                   !upgrade_is_over(master, pid, wait_status)) {
            keepers_reap(master, pid, wait_status); /* by what a process has said */
        }
    }
}
