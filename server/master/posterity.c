#include "server/master/posterity.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "server/master/master_internal.h"
#include "server/observe/carried.h"

#include <stdlib.h>

enum { WRITE_MS = 100 }; /* as often as an observer tells */

/* As an observer of this program would tell it: with what those before have counted. */
static void write_counts(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    observation_tell(master);
    posterity->draft->totals = facts_read(posterity->reader)->totals;
    facts_read_latency(posterity->reader, &posterity->draft->latency, NULL, NULL);
    carried_write(posterity->carried, posterity->draft);
    posterity->write_at_ms = clock_monotonic_ms() + WRITE_MS;
}

/* This program's observer has told its last. */
static bool is_silent(const struct master *master)
{
    return master->phase != MASTER_RUNNING && master->observation.pid == 0 &&
           master->observation.leaving == 0;
}

static void forget(struct posterity *posterity)
{
    if (posterity->carried != NULL) {
        facts_reader_destroy(posterity->reader);
        carried_close(posterity->carried);
        free(posterity->draft);
        *posterity = (struct posterity){0};
    }
}

int posterity_begin(struct master *master)
{
    struct posterity *posterity = &master->posterity;
    const struct observation *observation = &master->observation;
    int fd;
    forget(posterity); /* of one that has not succeeded */
    if (observation->bulletin == NULL) {
        return -1;
    }
    posterity->carried = carried_create(&fd);
    if (posterity->carried == NULL) {
        log_write(LOG_WARN, "the new program will count from 0 on: no memory can be shared: %m");
        return -1;
    }
    posterity->reader = facts_reader_create(master->server->scoreboard, observation->bulletin,
                                            observation->carried);
    posterity->draft = memory_alloc_zeroed(1, sizeof(*posterity->draft));
    write_counts(master);
    return fd;
}

static bool is_read(const struct master *master)
{
    return master->posterity.carried != NULL && master->upgrade.pid != 0;
}

void posterity_run(struct master *master)
{
    if (!is_read(master)) {
        return;
    }
    const bool hands_over = is_silent(master) && !carried_is_handed_over(master->posterity.carried);
    if (hands_over || clock_monotonic_ms() >= master->posterity.write_at_ms) {
        write_counts(master);
    }
    if (hands_over) {
        carried_hand_over(master->posterity.carried);
    }
}

uint64_t posterity_due_ms(const struct master *master)
{
    return is_read(master) ? master->posterity.write_at_ms : 0;
}

void posterity_close(struct master *master)
{
    if (master->posterity.carried != NULL) {
        write_counts(master);
        forget(&master->posterity);
    }
}
