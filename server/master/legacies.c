/* What dead processes leave, and who goes on with it. The master only passes it on: to whoever sits
 * in the same seat next; or, if the dead one was to end, or has a successor with connections of its
 * own, to an heir. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#include <stdlib.h>

/* ---- Leaving ---- */

static bool sits_alone(const struct master *master, const struct child *child)
{
    return child->number < master->seat_count && master->seats[child->number].child == child &&
           master->seats[child->number].successor == NULL;
}

/* Until when an heir has time. The dead one's deadline is its, too: nobody waits longer for a
 * process because it died. */
static uint64_t heirs_deadline_ms(const struct child *child)
{
    return child->drain_until_ms != 0 ? child->drain_until_ms
                                      : clock_monotonic_ms() + child->drain_timeout_ms;
}

enum legacy_way legacies_way(const struct master *master, const struct child *child)
{
    if (child->estate == NULL ||
        reload_in_force(master)->config.on_death != CONFIG_ON_DEATH_ADOPT ||
        !estate_is_of_use(child->estate, child->ready) || master->phase == MASTER_STOPPING) {
        return LEGACY_IS_CUT;
    }
    if (child->drain_until_ms == 0 && sits_alone(master, child)) {
        return LEGACY_TO_SEAT;
    }
    return heirs_deadline_ms(child) > clock_monotonic_ms() ? LEGACY_TO_HEIR : LEGACY_IS_CUT;
}

static struct legacy *take_out(struct child *child)
{
    struct legacy *legacy = memory_alloc_zeroed(1, sizeof(*legacy));
    legacy->estate = child->estate;
    legacy->of_death = child->inherits;
    legacy->plan = child->plan;
    legacy->number = child->number;
    legacy->drain_timeout_ms = child->drain_timeout_ms;
    child->estate = NULL;
    return legacy;
}

static void forfeit(const struct master *master, uint64_t of_death)
{
    if (of_death != 0) {
        ledger_forfeit(master->server->ledger, of_death - 1);
    }
}

void legacies_destroy(const struct master *master, struct legacy *legacy)
{
    if (legacy != NULL) {
        forfeit(master, legacy->of_death);
        estate_destroy(legacy->estate);
        free(legacy);
    }
}

void legacies_leave(struct master *master, struct child *child, enum legacy_way way,
                    const struct loss *loss)
{
    if (way == LEGACY_IS_CUT) {
        estate_destroy(child->estate);
        child->estate = NULL;
        return;
    }
    struct legacy *legacy = take_out(child);
    legacy->of_death = loss->death + 1;
    if (way == LEGACY_TO_HEIR) {
        legacy->loss = *loss;
        heirs_await(master, legacy, heirs_deadline_ms(child));
        return;
    }
    struct seat *seat = &master->seats[child->number];
    CHECK(seat->legacy == NULL);
    seat->legacy = legacy;
}

void legacies_give_back(struct master *master, struct child *child)
{
    if (child->estate == NULL) {
        return;
    }
    struct seat *seat = &master->seats[child->number];
    if (seat->child != NULL ||
        !phase_starts_processes(master)) { /* then it is empty, or unwanted */
        forfeit(master, child->inherits);
        estate_destroy(child->estate);
        child->estate = NULL;
        return;
    }
    CHECK(seat->legacy == NULL); /* it has been claimed */
    seat->legacy = take_out(child);
}

void legacies_pass_on(struct master *master, struct seat *seat)
{
    struct legacy *legacy = seat->legacy;
    if (legacy == NULL) {
        return;
    }
    seat->legacy = NULL;
    legacy->loss = seat->loss;
    seat->loss = (struct loss){0};
    heirs_await(master, legacy, clock_monotonic_ms() + legacy->drain_timeout_ms);
}

/* ---- Moving in ---- */

static struct estate *create(const struct server *server)
{
    struct error error;
    struct estate *estate = estate_create(server->plan.loops, server->plan.max_connections, &error);
    if (estate == NULL) {
        log_write(LOG_WARN, "connections will die with their process: %s", error.text);
    }
    return estate;
}

/* What was left may be of a process with another number of threads, before a reload. */
static struct estate *inherit(struct master *master, struct seat *seat, struct child *child)
{
    const struct plan *plan = &master->server->plan;
    struct legacy *legacy = seat->legacy;
    if (legacy == NULL || !estate_fits(legacy->estate, plan->loops, plan->max_connections)) {
        legacies_pass_on(master, seat);
        return NULL;
    }
    struct estate *estate = legacy->estate;
    child->inherits = legacy->of_death;
    seat->legacy = NULL;
    free(legacy);
    return estate;
}

struct estate *legacies_claim(struct master *master, struct seat *seat, struct child *child,
                              bool succeeds)
{
    const struct server *server = master->server;
    struct error error;
    if (server->config.on_death != CONFIG_ON_DEATH_ADOPT) {
        legacies_destroy(master, seat->legacy);
        seat->legacy = NULL;
        return NULL;
    }
    CHECK(succeeds || seat->legacy == NULL); /* somebody sits there */
    struct estate *estate = inherit(master, seat, child);
    if (estate == NULL) {
        estate = create(server);
    }
    if (estate != NULL && !estate_expect(estate, child->generation, &error)) {
        log_write(LOG_WARN, "connections will die with process %u: %s", child->number, error.text);
        forfeit(master, child->inherits);
        child->inherits = 0;
        estate_destroy(estate);
        estate = NULL;
    }
    return estate;
}

/* ---- In a forked process ---- */

static void forget(struct estate *estate, const struct estate *own)
{
    if (estate != NULL && estate != own) {
        estate_forget(estate);
    }
}

void legacies_forget(struct master *master, const struct estate *own)
{
    struct child *child;
    const struct legacy *legacy;
    TAILQ_FOREACH(child, &master->children, link)
    {
        forget(child->estate, own);
    }
    TAILQ_FOREACH(legacy, &master->legacies, link)
    {
        forget(legacy->estate, own);
    }
    for (uint32_t i = 0; i < master->seat_count; i++) {
        legacy = master->seats[i].legacy;
        forget(legacy != NULL ? legacy->estate : NULL, own);
    }
}
