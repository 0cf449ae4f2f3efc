/* What the workers share with the master, a worker that has gone wrong can spoil for all: it can
 * shut listening sockets and inboxes down, take O_NONBLOCK away, set options that every new
 * connection inherits, attach a filter. Its successors inherit what it has done, so that neither a
 * respawn nor a reload would help. The master looks once a second, at each death and before a
 * reload, mends what it finds, and replaces all processes, since one of them has done it. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"

enum {
    CHECK_MS = 1000,
    CALM_MS = 10000,    /* who does it again within this time loses the sockets */
    COMPLAIN_MS = 60000 /* what cannot be mended is told so often */
};

static bool may_check(const struct master *master)
{
    return master->phase == MASTER_RUNNING && !master->on_trial && master->upgrade.pid == 0;
}

uint64_t listening_due_ms(const struct master *master)
{
    return may_check(master) ? master->listening_checked_ms + CHECK_MS : 0;
}

static void complain(struct master *master, const char *error)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (master->listening_complained_ms == 0 ||
        now_ms - master->listening_complained_ms >= COMPLAIN_MS) {
        master->listening_complained_ms = now_ms;
        log_write(LOG_ERROR, "%s", error);
    }
}

/* Whether the processes have to be replaced. */
static bool check_address(struct master *master, size_t index, bool distrusts)
{
    struct server *server = master->server;
    CHECK(index < server->listeners.count && server->listeners.count <= ENDPOINTS_MOST);
    enum listener_health health;
    struct error what;
    struct error error;
    if (!listeners_check(&server->listeners, index, distrusts, &health, &what, &error)) {
        complain(master, error.text);
        return false;
    }
    if (health == LISTENER_SOUND) {
        return false;
    }
    log_write(LOG_ERROR, "%s by a process that shares it: %s, and all processes are replaced",
              what.text, health == LISTENER_RENEWED ? "it was opened anew" : "that was undone");
    return true;
}

static bool check_inboxes(struct master *master)
{
    if (inboxes_is_sound(&master->server->inboxes)) {
        return false;
    }
    if (!server_renew_inboxes(master->server)) {
        complain(master,
                 "an inbox of connections was shut down, and cannot be made anew; raise the "
                 "limit of open files");
        return false;
    }
    log_write(LOG_ERROR, "an inbox of connections was shut down by a process that shares it: all "
                         "are made anew, and all processes are replaced");
    return true;
}

void listening_check(struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (!may_check(master)) {
        return;
    }
    bool distrusts =
        master->listening_mended_ms != 0 && now_ms - master->listening_mended_ms < CALM_MS;
    CHECK(now_ms >= master->listening_mended_ms && now_ms >= master->listening_checked_ms);
    bool spoilt = false;
    master->listening_checked_ms = now_ms;
    for (size_t i = 0; i < master->server->listeners.count; i++) {
        spoilt = check_address(master, i, distrusts) || spoilt;
    }
    spoilt = check_inboxes(master) || spoilt;
    if (spoilt) {
        master->listening_mended_ms = now_ms;
        rolling_replace_all(master);
    }
}

void listening_check_if_due(struct master *master)
{
    if (clock_monotonic_ms() >= listening_due_ms(master)) {
        listening_check(master);
    }
}

void listening_listen_again(struct master *master)
{
    struct server *server = master->server;
    for (size_t i = 0; i < server->listeners.count; i++) {
        enum listener_health health;
        struct error what;
        struct error error;
        if (!listeners_check(&server->listeners, i, false, &health, &what, &error)) {
            log_write(LOG_ERROR, "cannot listen again: %s", error.text);
        }
    }
}
