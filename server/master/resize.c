/* More or fewer processes than the configuration says. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static bool __attribute__((format(printf, 2, 3))) refuse(struct error *error, const char *format,
                                                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    error_set_list(error, format, arguments);
    va_end(arguments);
    log_write(LOG_WARN, "the number of processes stays: %s", error->text);
    return false;
}

/* Half of the scoreboard is for the successors. */
static uint32_t most_processes(const struct server *server)
{
    return server->scoreboard->slot_capacity / 2 / server->plan.slots_per_process;
}

static bool can_resize(const struct master *master, struct error *error)
{
    const struct server *server = master->server;
    CHECK(server->plan.slots_per_process > 0);
    if (master->phase != MASTER_RUNNING || master->on_trial) {
        return refuse(error, "the server is starting, reloading or about to end; ask again later");
    }
    if (server->plan.model == PLAN_THREADPOOL) {
        return refuse(error, "this model is one process of many threads; change \"threads\" in the "
                             "configuration and reload, or use prefork-server --threads");
    }
    if (server->config.accept == CONFIG_ACCEPT_REUSEPORT) {
        return refuse(error, "with \"accept: reuseport\" each event loop has a socket since the "
                             "start; restart with \"accept: shared\"");
    }
    return true;
}

bool resize_by(struct master *master, int32_t change, struct error *error)
{
    if (!can_resize(master, error)) {
        return false;
    }
    CHECK(master->phase == MASTER_RUNNING && !master->on_trial);
    CHECK(master->seat_count > 0);
    uint32_t before = master->seat_count;
    uint32_t most = most_processes(master->server);
    int64_t wanted = (int64_t)before + change;
    if (wanted < 1) {
        return refuse(error, "one of %u must stay; to end the server, stop or drain it", before);
    }
    if (wanted > most) {
        return refuse(error,
                      "%lld are more than the %u that the scoreboard has room for; restart "
                      "with more workers",
                      (long long)wanted, most);
    }
    rolling_resize(master, (uint32_t)wanted);
    log_write(LOG_NOTICE, "%u processes instead of %u, until the next reload", master->seat_count,
              before);
    return true;
}
