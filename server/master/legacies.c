/* What dead processes leave, and who moves in. The master only passes it on. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/log.h"

void legacies_drop(struct seat *seat)
{
    estate_destroy(seat->legacy);
    seat->legacy = NULL;
}

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
static struct estate *inherit(struct seat *seat, const struct server *server)
{
    struct estate *estate = seat->legacy;
    if (estate == NULL || !estate_fits(estate, server->plan.loops, server->plan.max_connections)) {
        legacies_drop(seat);
        return NULL;
    }
    seat->legacy = NULL;
    return estate;
}

struct estate *legacies_claim(struct master *master, struct seat *seat, const struct child *child,
                              bool succeeds)
{
    const struct server *server = master->server;
    struct error error;
    if (server->config.on_death != CONFIG_ON_DEATH_ADOPT) {
        legacies_drop(seat);
        return NULL;
    }
    struct estate *estate = succeeds ? inherit(seat, server) : NULL;
    if (estate == NULL) {
        estate = create(server);
    }
    if (estate != NULL && !estate_expect(estate, child->generation, &error)) {
        log_write(LOG_WARN, "connections will die with process %u: %s", child->number, error.text);
        estate_destroy(estate);
        estate = NULL;
    }
    return estate;
}

bool legacies_wait(const struct master *master, const struct child *child)
{
    return child->estate != NULL && phase_starts_processes(master) &&
           master->seats[child->number].legacy == NULL;
}

void legacies_leave(struct master *master, struct child *child)
{
    if (legacies_wait(master, child)) {
        master->seats[child->number].legacy = child->estate;
    } else {
        estate_destroy(child->estate);
    }
    child->estate = NULL;
}

static void forget(struct estate *estate, const struct estate *own)
{
    if (estate != NULL && estate != own) {
        estate_forget(estate);
    }
}

void legacies_forget(struct master *master, const struct estate *own)
{
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        forget(child->estate, own);
    }
    for (uint32_t i = 0; i < master->seat_count; i++) {
        forget(master->seats[i].legacy, own);
    }
}
