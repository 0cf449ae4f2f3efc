/* What holds of the master's own memory after each turn, whatever processes, signals, users and the
 * kernel do: who sits where, and which deadlines run in which phase. */
#include "server/master/master_internal.h"

#include "common/base/check.h"

/* Who has not become ready, was told to end, or to die, has a time for it; nobody else has. */
static void check_deadline(const struct master *master, const struct child *child)
{
    bool hurries = !child->ready || child->retiring || child->aborted;
    CHECK(hurries == (child->kill_at_ms != 0));
    CHECK(child->drain_until_ms != 0 || (!child->retiring && master->phase != MASTER_DRAINING));
    CHECK(child->drain_until_ms == 0 || child->retiring || phase_is_ending(master));
    CHECK(!child->retiring || !child->ready || child->aborted ||
          child->kill_at_ms >= child->drain_until_ms + STOP_PATIENCE_MS);
}

/* It accepts nothing, and has something to finish. */
static void check_heir(const struct child *child)
{
    CHECK(!child->is_heir || (child->retiring && child->listener_count == 0));
    CHECK(!child->is_heir || child->estate != NULL || child->ready); /* it could not move in */
    CHECK(child->loss.died_ns == 0 || child->is_heir);
}

static void check_child(const struct master *master, const struct child *child)
{
    CHECK(child->pid > 0);
    CHECK(child->generation != 0);
    CHECK(child->epoch != 0 && child->epoch <= master->last_epoch);
    CHECK(child->first_slot + child->slot_count <= master->server->scoreboard->slot_capacity);
    CHECK(child->loop_count + child->spare_count <= child->slot_count);
    CHECK(child->spares_wanted <= child->spare_count);
    CHECK(child->listener_count <= ENDPOINTS_MOST);
    check_deadline(master, child);
    check_heir(child);
}

/* Who retires sits nowhere, everybody else on one seat. */
static bool is_seated(const struct master *master, const struct child *child)
{
    if (child->number >= master->seat_count) {
        return false;
    }
    const struct seat *seat = &master->seats[child->number];
    return seat->child == child || seat->successor == child;
}

static void check_seat(const struct master *master, uint32_t number)
{
    const struct seat *seat = &master->seats[number];
    CHECK(seat->child == NULL || seat->child != seat->successor);
    CHECK(seat->child == NULL || seat->child->number == number);
    CHECK(seat->successor == NULL || seat->successor->number == number);
    CHECK(seat->successor == NULL || !seat->successor->ready);
    CHECK(!seat->outdated || master->rolling);
    CHECK(seat->legacy == NULL || (seat->child == NULL && seat->successor == NULL));
    CHECK(seat->legacy == NULL || seat->legacy->drain_until_ms == 0);
    CHECK(seat->legacy == NULL || phase_starts_processes(master) ||
          master->phase == MASTER_STOPPING);
}

/* Who waits for an heir has a time for it, and in a server that stops nobody waits. */
static void check_legacies(const struct master *master)
{
    const struct legacy *legacy;
    CHECK(TAILQ_EMPTY(&master->legacies) || master->phase != MASTER_STOPPING);
    TAILQ_FOREACH(legacy, &master->legacies, link)
    {
        CHECK(legacy->estate != NULL && legacy->drain_until_ms != 0);
        CHECK(master->kill_at_ms == 0 ||
              legacy->drain_until_ms + STOP_PATIENCE_MS <= master->kill_at_ms);
    }
}

/* Each seat holds a child of the list; so counting tells that none holds one that is gone. */
static void check_seating(const struct master *master)
{
    uint32_t seated = 0, taken = 0;
    const struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        check_child(master, child);
        CHECK(is_seated(master, child) == !child->retiring);
        seated += !child->retiring;
    }
    for (uint32_t i = 0; i < master->seat_count; i++) {
        check_seat(master, i);
        taken += master->seats[i].child != NULL;
        taken += master->seats[i].successor != NULL;
    }
    CHECK(taken == seated);
    CHECK(seated == 0 || master->phase != MASTER_HANDED_OVER);
}

static void check_reload(const struct master *master)
{
    CHECK(master->server->epoch != 0 && master->server->epoch <= master->last_epoch);
    CHECK(!master->on_trial || master->previous.epoch < master->server->epoch);
    CHECK(!master->on_trial ||
          (master->phase != MASTER_STARTING && master->phase != MASTER_HANDED_OVER));
    CHECK(!master->on_trial || lookup_fd(&master->lookup) < 0); /* one reload at a time */
}

static void check_upgrade(const struct master *master)
{
    const struct upgrade *upgrade = &master->upgrade;
    bool handed_over = master->phase == MASTER_HANDED_OVER;
    CHECK(upgrade->pid >= 0);
    CHECK(upgrade->talk_fd < 0 || upgrade->pid != 0);
    CHECK(upgrade->over_ms == 0 || upgrade->pid != 0 || handed_over);
    CHECK(upgrade->addresses_left == 0 || upgrade->pid != 0 || handed_over);
    CHECK(!handed_over || (upgrade->serves && upgrade->over_ms != 0));
}

static void check_observation(const struct master *master)
{
    const struct observation *observation = &master->observation;
    CHECK(observation->pid >= 0 && observation->leaving >= 0);
    CHECK(observation->pid == 0 || observation->bulletin != NULL);
    CHECK(observation->petitions == NULL || observation->pid != 0);
    CHECK(observation->leaving_petitions == NULL || observation->leaving != 0);
}

void books_check(const struct master *master)
{
    CHECK(master->seat_count > 0);
    CHECK(phase_is_ending(master) == (master->kill_at_ms != 0));
    check_seating(master);
    check_legacies(master);
    check_reload(master);
    check_upgrade(master);
    check_observation(master);
}
