/* Orders by signal that come while something else is going on. Who sends a signal gets no answer,
 * and would never know that it came to nothing: so it is done afterwards, with what is in the
 * configuration then. Several reloads that wait are one. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "server/master/commands.h"

#include <signal.h>

/* Whether the order is to be done later; else now, or never. */
static bool has_to_wait(const struct master *master, int number)
{
    bool reload = number == SIGHUP;
    return master->phase == MASTER_STARTING ||
           (master->phase == MASTER_RUNNING &&
            (reload_is_under_way(master) || (reload && master->upgrade.pid != 0)));
}

static bool act(struct master *master, int number, struct error *error)
{
    switch (number) {
    case SIGHUP:
        return reload_begin(master, error);
    case SIGUSR2:
        return upgrade_begin(master, error);
    default:
        return resize_by(master, number == SIGTTIN ? 1 : -1, error);
    }
}

static void put_off(struct master *master, int number)
{
    CHECK(has_to_wait(master, number));
    log_write(LOG_NOTICE, "%s is put off until %s",
              number == SIGHUP    ? "a reload"
              : number == SIGUSR2 ? "an upgrade"
                                  : "a change of the number of processes",
              master->phase == MASTER_STARTING ? "the server has started"
              : reload_is_under_way(master)    ? "the reload under way is decided"
                                               : "the new program serves or has failed");
    master->orders.reload |= number == SIGHUP;
    master->orders.upgrade |= number == SIGUSR2;
    master->orders.resize += number == SIGTTIN ? 1 : number == SIGTTOU ? -1 : 0;
}

bool orders_give(struct master *master, int number, struct error *error)
{
    if (!has_to_wait(master, number)) {
        return act(master, number, error);
    }
    put_off(master, number);
    return true;
}

/* A new program that serves by now has read its configuration before. */
static void do_reload(struct master *master)
{
    struct error error;
    CHECK(master->orders.reload);
    master->orders.reload = false;
    if (master->phase == MASTER_HANDED_OVER && master->upgrade.pid != 0) {
        kill(master->upgrade.pid, SIGHUP);
        control_answer_reload(master, NULL);
    } else {
        bool begun = reload_begin(master, &error);
        control_answer_reload(master, begun ? NULL : error.text);
    }
}

/* One at a time: the first may be what the next has to wait for. */
void orders_take_up(struct master *master)
{
    struct orders *orders = &master->orders;
    struct error error;
    if (orders->reload && !has_to_wait(master, SIGHUP)) {
        do_reload(master);
    } else if (orders->resize != 0 && !has_to_wait(master, SIGTTIN)) {
        int32_t change = orders->resize;
        orders->resize = 0;
        resize_by(master, change, &error);
    } else if (orders->upgrade && !has_to_wait(master, SIGUSR2)) {
        orders->upgrade = false;
        upgrade_begin(master, &error);
    }
}
