/* A thread is suspected when its heartbeat has stood still for stuck_after_ms, and found stuck when
 * it still does at the next look: between the two it has used its CPU (spinning) or not (blocked).
 *
 * The time is the master's own progress, not the clock's: if the master was stopped, or had no CPU,
 * so had the others, perhaps, and a look counts for no more than two intervals however late it is.
 *
 * What it is found in is told before anything is done about it: every thread of the process is
 * asked for its stack first (stuck_inquiry.h).
 *
 * A process can be killed, a thread cannot: it may hold any lock. So a process with nobody left who
 * works is aborted, and one that still works is replaced without a gap: it answers whom it can. */
#include "server/master/watchdog.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "server/master/master_internal.h"
#include "server/master/proc.h"
#include "server/master/spare_order.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LOOKS = 4, /* in stuck_after_ms */
    LONGEST_INTERVAL_MS = 1000
};

static const char *verdict_name(uint32_t verdict)
{
    CHECK(verdict <= SLOT_BLOCKED);
    static const char *const names[] = {
        [SLOT_MOVING] = "moving",
        [SLOT_STOPPED] = "stopped",
        [SLOT_SPINNING] = "spinning",
        [SLOT_BLOCKED] = "blocked",
    };
    return names[verdict];
}

static uint64_t stuck_after_ms(const struct master *master)
{
    return master->server->config.stuck_after_ms;
}

static uint64_t interval_ms(const struct master *master)
{
    uint64_t part_ms = stuck_after_ms(master) / LOOKS;
    return part_ms < LONGEST_INTERVAL_MS ? part_ms : LONGEST_INTERVAL_MS;
}

/* ---- Telling ---- */

static void describe_request(const struct worker_slot *slot, char *out, size_t bytes)
{
    struct request_copy request;
    if (slot_note_read(slot, &request)) {
        snprintf(out, bytes, "in \"%s\" from %s", request.line, request.client);
    } else {
        snprintf(out, bytes, "outside of any handler");
    }
}

/* One thread, as it is looked at. */
struct look {
    struct master *master;
    const struct child *child;
    uint32_t index; /* of its slot */
    struct worker_slot *slot;
    struct watch *watch;
};

static void tell(enum log_level level, const struct look *look, const char *what)
{
    char request[NOTE_LINE_BYTES + CLIENT_TEXT_BYTES + 16];
    describe_request(look->slot, request, sizeof(request));
    log_write(level, "watchdog: slot %u (pid %d, thread %d) %s: heartbeat %llu ms ago, %s",
              look->index, (int)look->child->pid, atomic_load(&look->slot->tid), what,
              (unsigned long long)(clock_monotonic_ms() - look->watch->heartbeat_ms), request);
}

/* ---- Finding ---- */

static bool is_stuck(const struct watch *watch)
{
    return slot_verdict_is_stuck(watch->verdict);
}

static bool has_heartbeat(const struct worker_slot *slot)
{
    uint32_t state = atomic_load(&slot->state);
    return state == SLOT_READY || state == SLOT_DRAINING;
}

static void set_verdict(const struct look *look, uint32_t verdict)
{
    CHECK(verdict <= SLOT_BLOCKED);
    look->watch->verdict = verdict;
    atomic_store(&look->slot->verdict, verdict);
}

/* Its heart beats, or it has none now. */
static void acquit(const struct look *look, uint64_t heartbeat_ms)
{
    struct watch *watch = look->watch;
    if (is_stuck(watch) && watch->generation == look->child->generation) {
        log_write(LOG_NOTICE, "watchdog: slot %u (pid %d, thread %d) moves again", look->index,
                  (int)look->child->pid, atomic_load(&look->slot->tid));
    }
    *watch = (struct watch){.generation = look->child->generation, .heartbeat_ms = heartbeat_ms};
    set_verdict(look, SLOT_MOVING);
}

/* Whoever stopped it wants it so, and has to let it go on: its time begins anew. */
static void excuse(const struct look *look)
{
    CHECK(!is_stuck(look->watch)); /* who is stuck is not looked at again */
    bool is_news = look->watch->verdict != SLOT_STOPPED;
    look->watch->still_ms = 0;
    look->watch->suspected = false;
    set_verdict(look, SLOT_STOPPED);
    if (is_news) {
        tell(LOG_WARN, look, "is stopped by a signal or a debugger and left alone");
    }
}

static void convict(const struct look *look, uint32_t verdict)
{
    char what[32];
    CHECK(slot_verdict_is_stuck(verdict) && !is_stuck(look->watch));
    set_verdict(look, verdict);
    ledger_count_incident(look->master->server->ledger);
    snprintf(what, sizeof(what), "is stuck, %s", verdict_name(verdict));
    tell(LOG_ERROR, look, what);
}

/* Either it is about to be reaped, or there is no /proc, which would tell more. */
static bool examine_unseen(const struct look *look)
{
    if (!look->watch->unseen) {
        look->watch->unseen = true;
        return false;
    }
    convict(look, SLOT_BLOCKED);
    return true;
}

/* True: it has just been found stuck. */
static bool examine(const struct look *look)
{
    struct watch *watch = look->watch;
    struct proc_thread thread;
    if (!proc_thread_read(look->child->pid, atomic_load(&look->slot->tid), &thread)) {
        return examine_unseen(look);
    }
    if (atomic_load(&look->slot->heartbeat_ms) != watch->heartbeat_ms) {
        return false; /* it has moved just now, and may rest already */
    }
    if (thread.state == 'T' || thread.state == 't') {
        excuse(look);
        return false;
    }
    if (!watch->suspected) {
        watch->suspected = true;
        watch->cpu_ticks = thread.cpu_ticks;
        return false;
    }
    if (thread.state == 'R' && thread.cpu_ticks == watch->cpu_ticks) {
        return false; /* it would run, and gets no CPU */
    }
    convict(look, thread.cpu_ticks > watch->cpu_ticks ? SLOT_SPINNING : SLOT_BLOCKED);
    return true;
}

static bool look_at_slot(struct master *master, const struct child *child, uint32_t index,
                         uint64_t step_ms)
{
    CHECK(index < master->server->scoreboard->slot_capacity);
    CHECK(child->ready);
    struct watch *watch = &master->watchdog.watches[index];
    const struct look look = {master, child, index, &master->server->scoreboard->slots[index],
                              watch};
    uint64_t heartbeat_ms = atomic_load(&look.slot->heartbeat_ms);
    set_verdict(&look, watch->verdict);
    if (!has_heartbeat(look.slot) || watch->generation != child->generation ||
        watch->heartbeat_ms != heartbeat_ms) {
        acquit(&look, heartbeat_ms);
        return false;
    }
    watch->still_ms += step_ms;
    return watch->still_ms >= stuck_after_ms(master) && !is_stuck(watch) && examine(&look);
}

bool watchdog_is_stuck(const struct master *master, uint32_t slot)
{
    CHECK(slot < master->server->scoreboard->slot_capacity);
    return is_stuck(&master->watchdog.watches[slot]) &&
           has_heartbeat(&master->server->scoreboard->slots[slot]);
}

uint32_t watchdog_stuck_threads(const struct master *master, const struct child *child)
{
    uint32_t stuck = 0;
    for (uint32_t i = child->first_slot; i < child->first_slot + child->slot_count; i++) {
        stuck += watchdog_is_stuck(master, i);
    }
    return stuck;
}

/* ---- Acting ---- */

static void abort_child(struct master *master, struct child *child, const char *why)
{
    if (child->aborted) {
        return;
    }
    log_write(LOG_ERROR, "watchdog: aborting process %u (pid %d): %s", child->number,
              (int)child->pid, why);
    CHECK(child->ready);
    child->aborted = true;
    child->kill_at_ms = clock_monotonic_ms() + STOP_PATIENCE_MS;
    children_order(master, child, SIGABRT);
}

static uint32_t count_threads(const struct master *master, const struct child *child)
{
    uint32_t threads = 0;
    for (uint32_t i = child->first_slot; i < child->first_slot + child->slot_count; i++) {
        threads += atomic_load(&master->server->scoreboard->slots[i].state) != SLOT_SPARE;
    }
    return threads;
}

static bool has_stuck_loop(const struct master *master, const struct child *child)
{
    for (uint32_t i = child->first_slot; i < child->first_slot + child->loop_count; i++) {
        if (watchdog_is_stuck(master, i)) {
            return true;
        }
    }
    return false;
}

/* Shared memory may hold any number: that counts as many. */
static bool has_more_to_answer(const struct master *master, const struct child *child,
                               uint32_t stuck)
{
    for (uint32_t i = child->first_slot; i < child->first_slot + child->loop_count; i++) {
        uint64_t busy = atomic_load(&master->server->scoreboard->slots[i].connections_busy);
        if (busy > stuck) {
            return true;
        }
        stuck -= (uint32_t)busy;
    }
    return false;
}

/* Who ends anyway, and has only its stuck requests left, or a loop whose connections nobody else
 * in it can answer, had better leave them to an heir. */
static bool has_waited_enough(const struct master *master, const struct child *child,
                              uint32_t stuck)
{
    return child->drain_until_ms != 0 && legacies_way(master, child) == LEGACY_TO_HEIR &&
           (has_stuck_loop(master, child) || !has_more_to_answer(master, child, stuck));
}

static void replace(struct master *master, struct child *child, const char *why)
{
    uint32_t stuck = watchdog_stuck_threads(master, child);
    uint32_t threads = count_threads(master, child);
    CHECK(stuck <= child->slot_count);
    if (stuck == threads || has_waited_enough(master, child, stuck)) {
        abort_child(master, child,
                    stuck == threads ? "nobody in it works"
                                     : "an heir goes on with what is stuck in it");
    } else if (rolling_request(master, child)) {
        log_write(
            LOG_ERROR, "watchdog: replacing process %u (pid %d): %u of its %u threads stuck%s%s",
            child->number, (int)child->pid, stuck, threads, why[0] != '\0' ? ", and " : "", why);
    }
}

static void act(struct master *master, struct child *child)
{
    enum config_stuck on_stuck = master->server->config.on_stuck;
    const char *why = "";
    if (on_stuck == CONFIG_STUCK_SPARE) { /* also to take some away again */
        why = spare_order(master, child);
    }
    if (why != NULL && on_stuck != CONFIG_STUCK_REPORT &&
        watchdog_stuck_threads(master, child) > 0) {
        replace(master, child, why);
    }
}

static void decide(struct master *master)
{
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->ready && !stuck_inquiry_is_open(master, child)) {
            act(master, child);
        }
    }
}

/* What others may have written over would stay so for the life of the process. */
static void restate(const struct master *master, const struct child *child)
{
    const struct ledger_process process = {
        .pid = child->pid,
        .number = child->number,
        .generation = child->generation,
        .first_slot = child->first_slot,
        .slot_count = child->slot_count,
        .loop_count = child->loop_count,
        .draining = child->retiring || master->phase == MASTER_DRAINING,
    };
    struct worker_slot *first = &master->server->scoreboard->slots[child->first_slot];
    ledger_restate_process(master->server->ledger, &process);
    atomic_store(&first->spares_wanted, child->spares_wanted);
}

static void look_at_child(struct master *master, struct child *child, uint64_t step_ms)
{
    bool news = false;
    restate(master, child);
    for (uint32_t i = child->first_slot; i < child->first_slot + child->slot_count; i++) {
        news = look_at_slot(master, child, i, step_ms) || news;
    }
    if (news) {
        stuck_inquiry_begin(master, child);
    }
}

static uint64_t min_ms(uint64_t one_ms, uint64_t other_ms)
{
    return one_ms < other_ms ? one_ms : other_ms;
}

static bool is_time_to_look(const struct master *master)
{
    return stuck_after_ms(master) != 0 && clock_monotonic_ms() >= master->watchdog.next_look_ms;
}

static void look(struct master *master)
{
    struct watchdog *watchdog = &master->watchdog;
    uint64_t now_ms = clock_monotonic_ms();
    struct child *child;
    CHECK(now_ms >= watchdog->looked_ms);
    uint64_t step_ms = min_ms(now_ms - watchdog->looked_ms, 2 * interval_ms(master));
    watchdog->looked_ms = now_ms;
    watchdog->next_look_ms = now_ms + interval_ms(master);
    ledger_restate(master->server->ledger);
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->ready) {
            look_at_child(master, child, step_ms);
        }
    }
}

void watchdog_run(struct master *master)
{
    bool is_time = is_time_to_look(master);
    if (is_time) {
        look(master);
    }
    if (stuck_inquiries_run(master) || is_time) {
        decide(master);
    }
}

uint64_t watchdog_due_ms(const struct master *master)
{
    uint64_t answers_ms = stuck_inquiries_due_ms(master);
    if (stuck_after_ms(master) == 0) {
        return answers_ms;
    }
    uint64_t look_ms = master->watchdog.next_look_ms;
    return answers_ms != 0 ? min_ms(answers_ms, look_ms) : look_ms;
}

/* ---- Life ---- */

void watchdog_open(struct master *master)
{
    uint32_t slots = master->server->scoreboard->slot_capacity;
    CHECK(master->watchdog.watches == NULL && slots > 0);
    master->watchdog.watches = memory_alloc_zeroed(slots, sizeof(struct watch));
}

void watchdog_close(struct master *master)
{
    stuck_inquiries_close(master);
    free(master->watchdog.watches);
}
