#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/net/durable.h"
#include "server/adoption/estate_internal.h"

#include <stdlib.h>
#include <unistd.h>

enum { KEEPER_PATIENCE_MS = 2000 };

/* What a loop's predecessor has left, of one keeper. */
struct legacy {
    struct durable_record **records;
    int *wanted;
    int *taken;
    size_t count;
};

struct outcome {
    uint64_t adopted;
    uint64_t lost;
};

static void make_room(struct legacy *legacy, size_t records)
{
    legacy->records =
        (struct durable_record **)memory_alloc_zeroed(records + 1, sizeof(legacy->records[0]));
    legacy->wanted = memory_alloc_zeroed(records + 1, sizeof(legacy->wanted[0]));
    legacy->taken = memory_alloc_zeroed(records + 1, sizeof(legacy->taken[0]));
    legacy->count = 0;
}

static void free_legacy(struct legacy *legacy)
{
    free((void *)legacy->records);
    free(legacy->wanted);
    free(legacy->taken);
}

/* The predecessor's keeper; NULL: nobody keeps descriptors of that generation. */
static const struct estate_keeper *find_keeper(const struct estate *estate, uint32_t generation)
{
    for (size_t i = 0; i + 1 < estate->keeper_count; i++) {
        if (estate->keepers[i].generation == generation) {
            return &estate->keepers[i];
        }
    }
    return NULL;
}

static void take(struct estate *estate, const struct estate_keeper *keeper, struct legacy *legacy)
{
    struct error error;
    pthread_mutex_lock(&estate->lock);
    bool taken = keeper_take(keeper->pair.asking, legacy->wanted, legacy->taken, legacy->count,
                             KEEPER_PATIENCE_MS, &error);
    pthread_mutex_unlock(&estate->lock);
    if (!taken) {
        log_write(LOG_ERROR, "cannot go on with all connections of the predecessor: %s",
                  error.text);
    }
}

static void adopt_all(struct estate *estate, struct durable *durable, struct worker *worker,
                      const struct legacy *legacy, struct outcome *outcome)
{
    for (size_t i = 0; i < legacy->count; i++) {
        if (legacy->taken[i] < 0) {
            durable_drop(durable, legacy->records[i]);
            outcome->lost++;
        } else if (worker_adopt(worker, legacy->records[i], legacy->taken[i], estate->crashed)) {
            outcome->adopted++;
        } else {
            outcome->lost++;
        }
    }
}

/* Sorts what is left by the keepers who have it; what nobody has is dropped. */
static void collect(const struct estate *estate, struct durable *durable, struct legacy *legacies,
                    struct outcome *outcome)
{
    size_t cursor = 0;
    uint32_t generation;
    int fd;
    struct durable_record *record;
    while ((record = durable_next(durable, &cursor, &generation, &fd)) != NULL) {
        const struct estate_keeper *keeper = find_keeper(estate, generation);
        if (keeper == NULL) {
            durable_drop(durable, record);
            outcome->lost++;
            continue;
        }
        struct legacy *legacy = &legacies[keeper - estate->keepers];
        legacy->records[legacy->count] = record;
        legacy->wanted[legacy->count++] = fd;
    }
}

static void tell(const struct outcome *outcome, const struct worker *worker, uint64_t began_ns)
{
    struct adoption_counts counts = worker_adoption(worker);
    log_write(LOG_NOTICE,
              "goes on with %llu connections of its predecessor after %.3f ms: %llu requests "
              "repeated, %llu answers resumed, %llu requests refused; %llu connections lost",
              (unsigned long long)outcome->adopted, (double)(clock_monotonic_ns() - began_ns) / 1e6,
              (unsigned long long)counts.repeated, (unsigned long long)counts.resumed,
              (unsigned long long)counts.refused, (unsigned long long)outcome->lost);
}

void estate_adopt(struct estate *estate, uint32_t loop, struct worker *worker)
{
    struct legacy legacies[ESTATE_KEEPERS] = {0};
    struct outcome outcome = {0};
    uint64_t began_ns = clock_monotonic_ns();
    if (estate->memory == NULL || estate->keeper_count < 2) {
        return;
    }
    struct durable *durable = estate->open[loop];
    for (size_t i = 0; i < estate->keeper_count; i++) {
        make_room(&legacies[i], estate->connections);
    }
    collect(estate, durable, legacies, &outcome);
    for (size_t i = 0; i < estate->keeper_count; i++) {
        if (legacies[i].count > 0) {
            take(estate, &estate->keepers[i], &legacies[i]);
            adopt_all(estate, durable, worker, &legacies[i], &outcome);
        }
        free_legacy(&legacies[i]);
    }
    tell(&outcome, worker, began_ns);
}
