/* A new configuration is on trial until its first process serves: until then whatever goes wrong
 * leaves the old one in force. */
#include "server/supervise/master_internal.h"

#include "common/base/log.h"
#include "server/supervise/control_commands.h"
#include "server/supervise/risks.h"

#include <stdio.h>

bool reload_begin(struct master *master, char error[SERVER_ERROR_BYTES])
{
    struct server next;
    if (master->phase == MASTER_HANDED_OVER && upgrade_take_back(master)) {
        return true;
    }
    if (master->phase != MASTER_RUNNING || master->on_trial || master->upgrade_pid != 0) {
        snprintf(error, SERVER_ERROR_BYTES, "%s",
                 master->on_trial ? "the last reload is not decided yet"
                                  : "the server is starting, upgrading or about to end");
        log_write(LOG_WARN, "not reloading: %s", error);
        return false;
    }
    log_write(LOG_NOTICE, "reloading the configuration");
    service_manager_reloading(&master->service_manager, "reloading the configuration");
    uint32_t epoch = ++master->last_epoch;
    if (!server_reopen(&next, master->origin, master->server, epoch, error)) {
        log_write(LOG_ERROR, "the new configuration is refused, the old one stays: %s", error);
        master_tell_serving(master);
        return false;
    }
    master->previous = *master->server;
    *master->server = next;
    master->on_trial = true;
    rolling_replace_all(master);
    return true;
}

void reload_commit(struct master *master)
{
    master->on_trial = false;
    risks_tell(master->server, &master->previous);
    server_close(&master->previous);
    rolling_resize(master, master->server->plan.processes);
    control_follow(master);
    log_write(LOG_NOTICE, "the new configuration is in force: %u processes, listening on %s",
              master->seat_count, master->server->listener.address);
    master_tell_serving(master);
}

void reload_go_back(struct master *master)
{
    log_write(LOG_ERROR, "no process can start with the new configuration, the old one stays; the "
                         "reason stands above");
    server_close(master->server);
    *master->server = master->previous;
    master->previous = (struct server){0};
    master->on_trial = false;
    server_use_log(master->server);
    children_discard(master, master->last_epoch);
    rolling_review(master);
    master_tell_serving(master);
}
