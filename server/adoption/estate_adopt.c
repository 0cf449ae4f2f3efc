#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/net/durable.h"
#include "server/adoption/estate_internal.h"

#include <stdlib.h>
#include <unistd.h>

enum { KEEPER_PATIENCE_MS = 5000, LEGACY_ROOM_LEAST = 64 };

/* What a loop's predecessor has left, of one keeper. */
struct legacy {
    struct durable_record **records;
    int *wanted;
    int *taken;
    size_t count;
    size_t room;
};

static void add(struct legacy *legacy, struct durable_record *record, int fd)
{
    if (legacy->count == legacy->room) {
        legacy->room = legacy->room == 0 ? LEGACY_ROOM_LEAST : 2 * legacy->room;
        legacy->records = (struct durable_record **)memory_resize(
            (void *)legacy->records, legacy->room * sizeof(legacy->records[0]));
        legacy->wanted = memory_resize(legacy->wanted, legacy->room * sizeof(legacy->wanted[0]));
    }
    legacy->records[legacy->count] = record;
    legacy->wanted[legacy->count++] = fd;
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
    legacy->taken = memory_alloc(legacy->count * sizeof(legacy->taken[0]));
    pthread_mutex_lock(&estate->lock);
    bool taken = keeper_take(keeper->pair.asking, legacy->wanted, legacy->taken, legacy->count,
                             KEEPER_PATIENCE_MS, &error);
    pthread_mutex_unlock(&estate->lock);
    if (!taken) {
        log_write(LOG_ERROR, "cannot go on with all connections of the predecessor: %s",
                  error.text);
    }
}

static void adopt_one(const struct estate *estate, struct worker *worker, struct legacy *legacy,
                      size_t i)
{
    struct durable_record *record = legacy->records[i];
    legacy->records[i] = NULL;
    if (legacy->taken[i] < 0) {
        worker_lose(worker, record);
    } else {
        worker_adopt(worker, record, legacy->taken[i], &estate->end);
    }
}

/* The one that was sending, if its lines of the access log wait for it. */
static void adopt_first(const struct estate *estate, struct worker *worker, struct legacy *legacy)
{
    for (size_t i = 0; i < legacy->count; i++) {
        if (worker_log_awaits(worker, legacy->records[i])) {
            adopt_one(estate, worker, legacy, i);
            return;
        }
    }
}

static void adopt_all(const struct estate *estate, struct worker *worker, struct legacy *legacy)
{
    for (size_t i = 0; i < legacy->count; i++) {
        if (legacy->records[i] != NULL) {
            adopt_one(estate, worker, legacy, i);
        }
    }
}

/* Asks the descriptor of whoever died while he wrote the access log how far that came. */
static void ask_log_writer(struct estate *estate, struct worker *worker)
{
    struct error error;
    uint32_t generation;
    int wanted;
    int taken = -1;
    if (!worker_log_writer(worker, &generation, &wanted)) {
        return;
    }
    const struct estate_keeper *keeper = find_keeper(estate, generation);
    if (keeper == NULL) {
        return;
    }
    pthread_mutex_lock(&estate->lock);
    bool is_taken =
        keeper_take(keeper->pair.asking, &wanted, &taken, 1, KEEPER_PATIENCE_MS, &error);
    pthread_mutex_unlock(&estate->lock);
    if (taken < 0) {
        log_write(LOG_WARN, "lines of the access log may be written twice: %s",
                  is_taken ? "the predecessor's descriptor is not open" : error.text);
        return;
    }
    worker_ask_log_writer(worker, taken);
    close(taken);
}

static void adopt_found(struct estate_found *found, struct worker *worker)
{
    if (found->fd >= 0) {
        worker_adopt_expected(worker, found->fd, &found->expected);
        found->fd = -1;
    }
}

/* Sorts what is left by the keepers who have it; what nobody has is dropped. */
static void collect(const struct estate *estate, struct durable *durable, struct worker *worker,
                    struct legacy *legacies)
{
    size_t cursor = 0;
    uint32_t generation;
    int fd;
    struct durable_record *record;
    while ((record = durable_next(durable, &cursor, &generation, &fd)) != NULL) {
        const struct estate_keeper *keeper = find_keeper(estate, generation);
        if (keeper == NULL) {
            worker_lose(worker, record);
            continue;
        }
        add(&legacies[keeper - estate->keepers], record, fd);
    }
    worker_lose_disbelieved(worker);
}

static void tell(struct worker *worker, uint64_t began_ns)
{
    const struct adoption_counts counts = worker_adoption(worker);
    log_write(LOG_NOTICE,
              "goes on with %llu connections of its predecessor after %.3f ms; %llu are lost",
              (unsigned long long)counts.of[ADOPTION_CONNECTIONS],
              (double)(clock_monotonic_ns() - began_ns) / 1e6,
              (unsigned long long)counts.of[ADOPTION_LOST]);
}

void estate_adopt(struct estate *estate, uint32_t loop, struct worker *worker)
{
    struct legacy legacies[ESTATE_KEEPERS] = {0};
    uint64_t began_ns = clock_monotonic_ns();
    if (estate->memory == NULL || estate->keeper_count < 2) {
        return;
    }
    collect(estate, estate->open[loop], worker, legacies);
    ask_log_writer(estate, worker);
    for (size_t i = 0; i < estate->keeper_count; i++) {
        if (legacies[i].count > 0) {
            take(estate, &estate->keepers[i], &legacies[i]);
            adopt_first(estate, worker, &legacies[i]);
        }
    }
    worker_settle_log(worker);
    for (size_t i = 0; i < estate->keeper_count; i++) {
        adopt_all(estate, worker, &legacies[i]);
        free_legacy(&legacies[i]);
    }
    adopt_found(&estate->found[loop], worker);
    tell(worker, began_ns);
}
