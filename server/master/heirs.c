/* Heirs: processes that only finish what another has left, which died while it retired or drained,
 * or beside its successor. An heir sits nowhere and accepts nothing; it retires, or drains, from
 * its first moment, and has what was left of the dead one's time. When it dies, too, the next one
 * goes on, as long as there is time. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/setup/inheritance.h"

#include <signal.h>
#include <stdlib.h>

enum { START_AGAIN_MS = 200 };

static uint64_t min_ms(uint64_t one_ms, uint64_t other_ms)
{
    return one_ms < other_ms ? one_ms : other_ms;
}

void heirs_await(struct master *master, struct legacy *legacy, uint64_t drain_until_ms)
{
    CHECK(legacy->estate != NULL && legacy->drain_until_ms == 0);
    CHECK(master->phase != MASTER_STOPPING);
    if (master->kill_at_ms != 0) { /* nor does the server wait longer */
        drain_until_ms = min_ms(drain_until_ms, master->kill_at_ms - STOP_PATIENCE_MS);
    }
    legacy->drain_until_ms = drain_until_ms;
    TAILQ_INSERT_TAIL(&master->legacies, legacy, link);
}

static void give_up(struct master *master, struct legacy *legacy, const char *why)
{
    log_write(LOG_ERROR, "nobody goes on with the connections of process %u: %s", legacy->number,
              why);
    TAILQ_REMOVE(&master->legacies, legacy, link);
    legacies_destroy(master, legacy);
}

/* ---- Starting ---- */

static struct child *create(struct master *master, const struct legacy *legacy, uint32_t first_slot)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct child *heir =
        children_create(reload_in_force(master), &legacy->plan, legacy->number, first_slot);
    CHECK(legacy->drain_until_ms > now_ms && heir->kill_at_ms != 0);
    heir->estate = legacy->estate;
    heir->inherits = legacy->of_death;
    heir->is_heir = true;
    heir->retiring = true;
    heir->loss = legacy->loss;
    heir->listener_count = 0;
    heir->owns_sockets = false;
    heir->drain_until_ms = legacy->drain_until_ms;
    heir->drain_timeout_ms = legacy->drain_until_ms - now_ms;
    heir->kill_at_ms = min_ms(heir->kill_at_ms, heir->drain_until_ms + STOP_PATIENCE_MS);
    return heir;
}

/* Another program may serve again, so that clients have somewhere to go. */
static void order(struct master *master, struct child *heir)
{
    if (master->phase == MASTER_DRAINING) {
        children_drain(master, heir, !inheritance_is_recalled());
    } else {
        children_order(master, heir, SIGUSR2);
    }
}

static void put_off(struct legacy *legacy, const char *why)
{
    log_write(LOG_WARN, "cannot start an heir of process %u: %s; trying again in %d ms",
              legacy->number, why, START_AGAIN_MS);
    legacy->start_at_ms = clock_monotonic_ms() + START_AGAIN_MS;
}

static void start(struct master *master, struct legacy *legacy)
{
    struct error error;
    observation_changing(master);
    uint32_t first_slot = ledger_claim(master->server->ledger, legacy->plan.slots_per_process);
    if (first_slot == LEDGER_FULL) {
        put_off(legacy, "no room in the scoreboard");
        return;
    }
    struct child *heir = create(master, legacy, first_slot);
    if (!estate_expect(heir->estate, heir->generation, &error)) {
        ledger_retire(master->server->ledger, heir->first_slot, heir->slot_count);
        free(heir);
        give_up(master, legacy, error.text);
        return;
    }
    /* Before it can answer anybody: it must tell its clients that it closes. */
    scoreboard_mark_draining(master->server->scoreboard, heir->first_slot, heir->slot_count);
    if (!children_fork(master, heir)) {
        free(heir);
        put_off(legacy, "no process can be forked");
        return;
    }
    TAILQ_REMOVE(&master->legacies, legacy, link);
    free(legacy); /* the estate is the heir's */
    order(master, heir);
}

void heirs_start_due(struct master *master)
{
    struct legacy *next;
    for (struct legacy *legacy = TAILQ_FIRST(&master->legacies); legacy != NULL; legacy = next) {
        uint64_t now_ms = clock_monotonic_ms();
        next = TAILQ_NEXT(legacy, link);
        if (now_ms >= legacy->drain_until_ms) {
            give_up(master, legacy, "the drain deadline is over");
        } else if (now_ms >= legacy->start_at_ms) {
            start(master, legacy);
        }
    }
}

uint64_t heirs_start_due_ms(const struct master *master)
{
    uint64_t due_ms = 0;
    const struct legacy *legacy;
    TAILQ_FOREACH(legacy, &master->legacies, link)
    {
        uint64_t start_at_ms = legacy->start_at_ms != 0 ? legacy->start_at_ms : 1;
        due_ms = master_earlier_ms(due_ms, min_ms(start_at_ms, legacy->drain_until_ms));
    }
    return due_ms;
}

void heirs_abandon(struct master *master)
{
    struct legacy *legacy;
    while ((legacy = TAILQ_FIRST(&master->legacies)) != NULL) {
        TAILQ_REMOVE(&master->legacies, legacy, link);
        legacies_destroy(master, legacy);
    }
}

/* ---- In the forked process ---- */

void heirs_settle(struct master *master, const struct child *child)
{
    struct server *server = master->server;
    CHECK(child->is_heir && child->plan.loops == child->loop_count);
    if (master->on_trial) {
        server_close(server);
        server_move(server, &master->previous);
        master->on_trial = false;
        server_use_log(server);
    }
    listeners_close(&server->listeners);
    inboxes_close(&server->inboxes);
    server->plan = child->plan;
    server->config.drain_timeout_ms = child->drain_timeout_ms;
}
