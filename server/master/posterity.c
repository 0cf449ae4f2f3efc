#include "server/master/posterity.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "server/master/master_internal.h"
#include "server/observe/carried.h"
#include "server/setup/inheritance.h"

#include <stdlib.h>

enum { WRITE_MS = 100 }; /* as often as an observer tells */

/* ---- One bequest ---- */

static void grant(struct bequest *bequest, const struct master *master, struct counted_page *page,
                  struct carried *carried)
{
    bequest->page = page;
    bequest->reader =
        facts_reader_create(master->server->scoreboard, master->observation.bulletin, carried);
}

static void revoke(struct bequest *bequest)
{
    if (bequest->page != NULL) {
        facts_reader_destroy(bequest->reader);
        counted_page_close(bequest->page);
        *bequest = (struct bequest){0};
    }
}

static void write_counts(const struct bequest *bequest, struct carried_counts *draft)
{
    if (bequest->page != NULL) {
        draft->totals = facts_read(bequest->reader)->totals;
        facts_read_latency(bequest->reader, &draft->latency, NULL, NULL);
        counted_page_write(bequest->page, draft);
    }
}

static bool is_to_be_handed_over(const struct bequest *bequest)
{
    return bequest->page != NULL && !counted_page_is_handed_over(bequest->page);
}

static void hand_over(const struct bequest *bequest)
{
    if (is_to_be_handed_over(bequest)) {
        counted_page_hand_over(bequest->page);
    }
}

/* ---- Both ---- */

static void write_all(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    if (posterity->draft == NULL) {
        posterity->draft = memory_alloc_zeroed(1, sizeof(*posterity->draft));
    }
    observation_tell(master);
    write_counts(&posterity->next, posterity->draft);
    write_counts(&posterity->previous, posterity->draft);
    posterity->write_at_ms = clock_monotonic_ms() + WRITE_MS;
}

/* This program's observer has told its last. */
static bool is_silent(const struct master *master)
{
    return (master->phase == MASTER_HANDED_OVER || phase_is_ending(master)) &&
           master->observation.pid == 0 && master->observation.leaving == 0;
}

static bool is_read(const struct posterity *posterity)
{
    return posterity->next.page != NULL || posterity->previous.page != NULL;
}

static void forget_who_is_gone(struct posterity *posterity)
{
    if (posterity->previous.page != NULL && !inheritance_is_heard()) {
        revoke(&posterity->previous);
    }
}

void posterity_run(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    const bool hands_over = is_silent(master) && (is_to_be_handed_over(&posterity->next) ||
                                                  is_to_be_handed_over(&posterity->previous));
    if (is_read(posterity) && (hands_over || clock_monotonic_ms() >= posterity->write_at_ms)) {
        forget_who_is_gone(posterity);
        write_all(master);
    }
    if (hands_over) {
        hand_over(&posterity->next);
        hand_over(&posterity->previous);
    }
}

uint64_t posterity_due_ms(const struct master *master)
{
    return is_read(&master->posterity) ? master->posterity.write_at_ms : 0;
}

/* ---- Beginnings and ends ---- */

void posterity_open(struct master *master)
{
    const int fd = inheritance_take_counting();
    struct counted_page *page = fd >= 0 ? counted_page_enter(fd) : NULL;
    if (fd >= 0 && page == NULL) {
        log_write(LOG_WARN, "the old program, should it serve again, will not know what this one "
                            "has counted: its memory is of no use (%m)");
    } else if (page != NULL && master->observation.bulletin == NULL) {
        counted_page_close(page); /* nobody is told here, either */
    } else if (page != NULL) {
        grant(&master->posterity.previous, master, page, NULL);
    }
}

struct inheritance_pages posterity_begin(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    const struct observation *observation = &master->observation;
    struct inheritance_pages fds = {-1, -1};
    if (observation->bulletin == NULL) {
        return fds;
    }
    struct counted_page *page = counted_page_create(&fds.counted_fd);
    posterity->awaited = counted_page_await(&fds.counting_fd);
    if (page == NULL || posterity->awaited == NULL) {
        log_write(LOG_WARN, "what is counted will not go on over this upgrade: no memory can be "
                            "shared: %m; raise the limit of open files");
    }
    if (page != NULL) {
        grant(&posterity->next, master, page, observation->carried);
        write_all(master);
    }
    return fds;
}

void posterity_take_back(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    revoke(&posterity->next); /* else what the new one tells here would come back to it */
    if (posterity->awaited != NULL) {
        carried_take_back(master->observation.carried, posterity->awaited);
        posterity->awaited = NULL;
    }
}

void posterity_end(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    revoke(&posterity->next);
    counted_page_close(posterity->awaited);
    posterity->awaited = NULL;
    carried_settle(master->observation.carried);
}

void posterity_close(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    if (is_read(posterity)) {
        write_all(master);
    }
    revoke(&posterity->next);
    revoke(&posterity->previous);
    counted_page_close(posterity->awaited);
    free(posterity->draft);
    *posterity = (struct posterity){0};
}
