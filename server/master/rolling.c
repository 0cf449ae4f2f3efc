/* Replaces processes that live, one after the other: the successor is started beside the old one,
 * and only when it serves does the old one retire. So there is never less capacity than before. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#include <stdlib.h>
#include <string.h>

enum {
    REPLACE_AGAIN_MS = 10000,
    RETRY_MS = 200 /* at least, after a successor that could not start */
};

static struct seat *find_seat(struct master *master, bool (*wanted)(const struct seat *seat))
{
    for (uint32_t i = 0; i < master->seat_count; i++) {
        if (wanted(&master->seats[i])) {
            return &master->seats[i];
        }
    }
    return NULL;
}

static bool is_changing(const struct seat *seat)
{
    return seat->successor != NULL ||
           (seat->outdated && seat->child != NULL && !seat->child->ready);
}

static bool is_outdated(const struct seat *seat)
{
    return seat->outdated;
}

/* Of those whose last try has failed the next one has to wait. */
static bool is_due(const struct seat *seat)
{
    return seat->outdated && clock_monotonic_ms() >= seat->start_at_ms;
}

static void retire_sitters(struct master *master, struct seat *seat)
{
    if (seat->child != NULL) {
        children_retire(master, seat->child);
        seat->child = NULL;
    }
    if (seat->successor != NULL) {
        children_retire(master, seat->successor);
        seat->successor = NULL;
    }
    legacies_pass_on(master, seat);
}

void rolling_resize(struct master *master, uint32_t seat_count)
{
    CHECK(seat_count > 0); /* whoever wants nobody ends the server */
    for (uint32_t i = seat_count; i < master->seat_count; i++) {
        retire_sitters(master, &master->seats[i]);
    }
    if (seat_count > master->seat_count) {
        struct seat *seats = memory_alloc_zeroed(seat_count, sizeof(*seats));
        if (master->seat_count > 0) {
            memcpy(seats, master->seats, master->seat_count * sizeof(*seats));
        }
        free(master->seats);
        master->seats = seats;
    }
    master->seat_count = seat_count;
}

void rolling_replace(struct master *master, uint32_t number)
{
    CHECK(number < master->seat_count);
    master->seats[number].outdated = true;
    master->rolling = true;
}

void rolling_replace_all(struct master *master)
{
    for (uint32_t i = 0; i < master->seat_count; i++) {
        rolling_replace(master, i);
        master->seats[i].start_at_ms = 0; /* what kept processes from starting may be mended */
    }
}

void rolling_review(struct master *master)
{
    for (uint32_t i = 0; i < master->seat_count; i++) {
        struct seat *seat = &master->seats[i];
        seat->outdated = seat->child != NULL && seat->child->epoch != master->server->epoch;
    }
    master->rolling = find_seat(master, is_outdated) != NULL;
}

bool rolling_request(struct master *master, struct child *child)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (master->phase != MASTER_RUNNING || !child->ready || child->number >= master->seat_count ||
        master->seats[child->number].child != child || master->seats[child->number].outdated ||
        now_ms < child->replace_again_ms) {
        return false;
    }
    child->replace_again_ms = now_ms + REPLACE_AGAIN_MS;
    rolling_replace(master, child->number);
    return true;
}

void rolling_advance(struct master *master)
{
    if (!master->rolling || master->phase != MASTER_RUNNING ||
        find_seat(master, is_changing) != NULL) {
        return;
    }
    if (find_seat(master, is_outdated) == NULL) {
        master->rolling = false;
        log_write(LOG_NOTICE, "all processes have been replaced");
        return;
    }
    struct seat *seat = find_seat(master, is_due);
    CHECK(seat == NULL || seat->child == NULL || seat->child->ready);
    if (seat != NULL && seat->child != NULL) { /* else it is filled as any vacant one */
        children_start(master, (uint32_t)(seat - master->seats), &seat->successor);
    }
}

/* Who could be replaced now waits for news of another, not for the time. */
uint64_t rolling_due_ms(const struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t due_ms = 0;
    for (uint32_t i = 0; i < master->seat_count && master->phase == MASTER_RUNNING; i++) {
        const struct seat *seat = &master->seats[i];
        if (seat->successor == NULL && seat->outdated && seat->start_at_ms > now_ms) {
            due_ms = master_earlier_ms(due_ms, seat->start_at_ms);
        }
    }
    return due_ms;
}

void rolling_succeed(struct master *master, struct seat *seat)
{
    struct child *old = seat->child;
    CHECK(seat->successor != NULL && seat->successor->ready && !seat->successor->retiring);
    CHECK(old != seat->successor);
    seat->child = seat->successor;
    seat->successor = NULL;
    seat->outdated = seat->child->epoch != master->server->epoch;
    seat->respawn = (struct respawn){0};
    if (old != NULL) {
        children_retire(master, old);
    }
}

void rolling_fail(struct master *master, struct seat *seat)
{
    uint32_t number = (uint32_t)(seat - master->seats);
    CHECK(number < master->seat_count);
    CHECK(seat->successor == NULL); /* has been taken out */
    if (seat->child == NULL) {      /* a vacant seat is filled as soon as may be */
        return;
    }
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t delay_ms = respawn_delay_ms(&seat->respawn, 0, now_ms, now_ms);
    delay_ms = delay_ms < RETRY_MS ? RETRY_MS : delay_ms;
    CHECK(delay_ms <= 2 * RESPAWN_LONGEST_DELAY_MS);
    seat->start_at_ms = now_ms + delay_ms;
    if (master->phase == MASTER_RUNNING && !master->on_trial) {
        log_write(LOG_ERROR,
                  "the successor of process %u could not start: the old one goes on, and the next "
                  "try is in %llu ms",
                  number, (unsigned long long)delay_ms);
    }
}
