/* SIGHUP, in steps: the file is read; names in "listen" are looked up, while the master does
 * whatever else is to be done; the new configuration is on trial until its first process serves.
 * Until then whatever goes wrong leaves the old one in force. Who asks meanwhile is served
 * afterwards: orders.c. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "server/master/commands.h"
#include "server/setup/risks.h"

const struct server *reload_in_force(const struct master *master)
{
    return master->on_trial ? &master->previous : master->server;
}

bool reload_is_under_way(const struct master *master)
{
    return master->on_trial || lookup_fd(&master->lookup) >= 0;
}

bool reload_is_decided_by(const struct master *master, const struct child *child)
{
    return master->on_trial && master->phase == MASTER_RUNNING &&
           child->epoch == master->server->epoch;
}

static bool refuse(struct master *master, const struct error *error)
{
    log_write(LOG_ERROR, "the new configuration is refused, the old one stays: %s", error->text);
    master_tell_serving(master);
    return false;
}

static bool try_out(struct master *master, struct config *config, const struct endpoints *endpoints,
                    struct error *error)
{
    struct server next;
    CHECK(master->phase == MASTER_RUNNING && !master->on_trial);
    CHECK(master->server->epoch <= master->last_epoch);
    uint32_t epoch = ++master->last_epoch;
    listening_check(master); /* what is spoilt is not to be taken over */
    if (!server_reopen(&next, config, endpoints, master->server, epoch, error)) {
        return refuse(master, error);
    }
    CHECK(next.epoch == epoch && next.scoreboard == master->server->scoreboard);
    server_move(&master->previous, master->server);
    server_move(master->server, &next);
    master->on_trial = true;
    rolling_replace_all(master);
    return true;
}

/* Whether addresses are to be found first. A service manager's sockets win over the setting. */
static bool needs_lookup(const struct master *master, const struct config *config)
{
    return lookup_is_needed(config->listen) && !server_has_passed_sockets(master->server);
}

static bool find_addresses(struct master *master, struct config *config, struct error *error)
{
    struct endpoints endpoints = {0};
    if (needs_lookup(master, config)) {
        CHECK(lookup_fd(&master->lookup) < 0); /* one at a time */
        if (lookup_begin(&master->lookup, config->listen, error)) {
            master->awaited = *config;
            return true;
        }
    } else if (server_has_passed_sockets(master->server) ||
               lookup_read(config->listen, &endpoints, error)) {
        return try_out(master, config, &endpoints, error);
    }
    config_free(config);
    return refuse(master, error);
}

static bool begin(struct master *master, struct error *error)
{
    struct config config;
    log_write(LOG_NOTICE, "reloading the configuration");
    service_manager_reloading(&master->service_manager, "reloading the configuration");
    return server_read_config(master->origin, &config, error)
               ? find_addresses(master, &config, error)
               : refuse(master, error);
}

bool reload_begin(struct master *master, struct error *error)
{
    if (master->phase == MASTER_HANDED_OVER && upgrade_take_back(master)) {
        return true;
    }
    if (master->phase != MASTER_RUNNING || reload_is_under_way(master) ||
        master->upgrade.pid != 0) {
        error_set(error, "%s",
                  reload_is_under_way(master)
                      ? "the last reload is not decided yet"
                      : "the server is starting, upgrading or about to end");
        log_write(LOG_WARN, "not reloading: %s", error->text);
        return false;
    }
    return begin(master, error);
}

/* The configuration's addresses are there, or nobody waits for them any more. */
static void on_lookup(struct master *master)
{
    struct endpoints endpoints;
    struct error error;
    struct config *config = &master->awaited;
    CHECK(config->listen != NULL && !master->on_trial);
    switch (lookup_proceed(&master->lookup, config->listen, &endpoints, &error)) {
    case LOOKUP_WAITS:
        break;
    case LOOKUP_FOUND:
        try_out(master, config, &endpoints, &error);
        break;
    case LOOKUP_FAILED:
        config_free(config);
        refuse(master, &error);
        break;
    }
}

void reload_proceed(struct master *master)
{
    if (lookup_fd(&master->lookup) >= 0) {
        on_lookup(master);
    }
}

uint64_t reload_due_ms(const struct master *master)
{
    return lookup_due_ms(&master->lookup);
}

void reload_abandon(struct master *master)
{
    if (lookup_fd(&master->lookup) >= 0) {
        lookup_abandon(&master->lookup);
        config_free(&master->awaited);
    }
}

void reload_commit(struct master *master)
{
    char addresses[LISTENERS_TEXT_BYTES];
    CHECK(master->on_trial && master->previous.epoch < master->server->epoch);
    master->on_trial = false;
    risks_tell(master->server, &master->previous);
    observation_announce(master, &master->previous);
    server_close(&master->previous);
    rolling_resize(master, master->server->plan.processes);
    control_follow(master);
    listeners_format(&master->server->listeners, addresses, sizeof(addresses));
    log_write(LOG_NOTICE, "the new configuration is in force: %u processes, listening on %s",
              master->seat_count, addresses);
    master_tell_serving(master);
}

void reload_go_back(struct master *master)
{
    log_write(LOG_ERROR, "no process can start with the new configuration, the old one stays; the "
                         "reason stands above");
    CHECK(master->on_trial && master->previous.epoch < master->server->epoch);
    CHECK(master->server->epoch == master->last_epoch);
    master->previous.listeners.last_id = master->server->listeners.last_id;
    server_close(master->server);
    server_move(master->server, &master->previous);
    master->on_trial = false;
    server_use_log(master->server);
    children_discard(master, master->last_epoch);
    rolling_review(master);
    master_tell_serving(master);
}
