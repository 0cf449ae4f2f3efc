/* What a server's scoreboard says, from outside: for tests. It reads the memory of a process, so it
 * asks nobody who may hang, and counts as nobody's client. A server without a master has no
 * observer; here it is like the others.
 *
 * For each line on standard input, the pid of a process that has the scoreboard mapped, it answers
 * one line: a JSON object, or null when there is none (any more). What the master is just writing
 * is waited for. */
#include "common/base/clock.h"
#include "common/base/json_writer.h"
#include "common/base/memory.h"
#include "common/scoreboard/death_json.h"
#include "common/scoreboard/scoreboard.h"
#include "common/scoreboard/slot_json.h"
#include "common/scoreboard/stack_json.h"
#include "common/scoreboard/stuck_json.h"
#include "tests/peek/totals.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 1000, NS_IN_US = 1000, PATH_BYTES = 64, LINE_BYTES = 4096 };

/* ---- The memory of another process ---- */

static FILE *open_maps(int pid)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    return fopen(path, "re");
}

static int open_memory(int pid)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool read_memory(int fd, uint64_t address, void *out, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t count = pread(fd, (char *)out + done, bytes - done, (off_t)(address + done));
        if (count <= 0) {
            return false;
        }
        done += (size_t)count;
    }
    return true;
}

/* ---- Where the scoreboard is ---- */

/* A page of its own process stands before what is shared, and names the server. */
static bool is_scoreboard(int fd, uint64_t address)
{
    char name[sizeof(((struct scoreboard *)NULL)->server)];
    return read_memory(fd, address, name, sizeof(name)) &&
           (strcmp(name, "prefork-server") == 0 || strcmp(name, "threadpool-server") == 0);
}

/* 0: it has none. */
static uint64_t find_scoreboard(int pid, int fd)
{
    char line[LINE_BYTES];
    uint64_t found = 0;
    FILE *maps = open_maps(pid);
    while (maps != NULL && found == 0 && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long long begin;
        if (strstr(line, "/dev/zero (deleted)") != NULL && sscanf(line, "%llx-", &begin) == 1 &&
            begin > SCOREBOARD_PAGE_BYTES && is_scoreboard(fd, begin - SCOREBOARD_PAGE_BYTES)) {
            found = begin - SCOREBOARD_PAGE_BYTES;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return found;
}

/* ---- A copy of it ---- */

/* Of all slots that have ever been used; NULL: it cannot be read. */
static struct scoreboard *copy_once(int fd, uint64_t address)
{
    struct scoreboard *copy = memory_alloc_zeroed(1, sizeof(*copy));
    if (read_memory(fd, address, copy, sizeof(*copy))) {
        const uint32_t count = scoreboard_slot_count(copy);
        const size_t slot_bytes = count * sizeof(struct worker_slot);
        copy = memory_resize(copy, sizeof(*copy) + slot_bytes);
        copy->slot_capacity = count;
        if (read_memory(fd, address + sizeof(*copy), copy->slots, slot_bytes)) {
            return copy;
        }
    }
    free(copy);
    return NULL;
}

/* Whether the master has moved nothing while it was copied. */
static bool is_whole(int fd, uint64_t address, const struct scoreboard *copy)
{
    uint64_t now;
    const uint64_t then = atomic_load(&copy->death_sequence);
    return then % 2 == 0 &&
           read_memory(fd, address + offsetof(struct scoreboard, death_sequence), &now,
                       sizeof(now)) &&
           now == then;
}

static struct scoreboard *copy_scoreboard(int fd, uint64_t address)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    const uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct scoreboard *copy = copy_once(fd, address);
    while (copy != NULL && !is_whole(fd, address, copy)) {
        free(copy);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
        copy = clock_monotonic_ms() < end_ms ? copy_once(fd, address) : NULL;
    }
    return copy;
}

/* ---- Telling ---- */

static void put_totals(struct json_writer *json, const struct totals *totals)
{
    json_key(json, "totals");
    json_object_begin(json);
    counter_sums_put_json(json, &totals->counters);
    json_put_uint(json, "connections_open", totals->connections_open);
    json_put_uint(json, "connections_idle", totals->connections_idle);
    json_put_uint(json, "deaths", totals->deaths);
    json_put_uint(json, "requests_lost", totals->requests_lost);
    json_put_uint(json, "in_progress_lost", totals->in_progress_lost);
    json_put_uint(json, "stuck_incidents", totals->stuck_incidents);
    adoption_put_json(json, "adoption", &totals->counters.adoption);
    json_object_end(json);
}

/* Of so many. */
static void put_us(struct json_writer *json, const char *key, uint64_t count, uint64_t ns)
{
    if (count > 0) {
        json_put_uint(json, key, ns / NS_IN_US);
    } else {
        json_put_null(json, key);
    }
}

static void put_durations(struct json_writer *json, const char *key,
                          const struct histogram_copy *durations)
{
    static const struct {
        const char *key;
        uint64_t part, of;
    } percentiles[] = {{"p50_us", 50, 100},
                       {"p90_us", 90, 100},
                       {"p99_us", 99, 100},
                       {"p999_us", 999, 1000},
                       {"max_us", 1, 1}};
    const uint64_t count = durations->count;
    json_key(json, key);
    json_object_begin(json);
    json_put_uint(json, "count", count);
    put_us(json, "mean_us", count, count > 0 ? durations->sum_ns / count : 0);
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        put_us(json, percentiles[i].key, count,
               histogram_percentile_ns(durations, percentiles[i].part, percentiles[i].of));
    }
    json_object_end(json);
}

static uint64_t heartbeat_age_ms(const struct worker_slot *slot, uint64_t now_ms)
{
    uint64_t beat_ms = atomic_load(&slot->heartbeat_ms);
    return now_ms > beat_ms ? now_ms - beat_ms : 0;
}

static void put_current(struct json_writer *json, const struct worker_slot *slot)
{
    struct request_copy current;
    if (slot_note_read(slot, &current)) {
        stack_json_put_line(json, "current", current.line);
    } else {
        json_put_null(json, "current");
    }
}

static void put_worker(struct json_writer *json, const struct worker_slot *slot, uint32_t index,
                       uint64_t now_ms)
{
    struct counter_sums own = {0};
    counter_sums_add(&own, &slot->counters);
    json_object_begin(json);
    slot_json_put(json, slot, index);
    json_put_uint(json, "process", atomic_load(&slot->process));
    json_put_int(json, "pid", atomic_load(&slot->pid));
    json_put_uint(json, "generation", atomic_load(&slot->generation));
    json_put_uint(json, "heartbeat_age_ms", heartbeat_age_ms(slot, now_ms));
    json_put_text(json, "stuck", slot_verdict_name(atomic_load(&slot->verdict)));
    counter_sums_put_json(json, &own);
    json_put_uint(json, "connections_open", atomic_load(&slot->connections_open));
    json_put_uint(json, "connections_idle", atomic_load(&slot->connections_idle));
    json_put_uint(json, "deaths", atomic_load(&slot->deaths));
    put_current(json, slot);
    json_object_end(json);
}

static void put_workers(struct json_writer *json, const struct scoreboard *scoreboard)
{
    const uint64_t now_ms = clock_monotonic_ms();
    json_key(json, "workers");
    json_array_begin(json);
    for (uint32_t i = 0; i < scoreboard_slot_count(scoreboard); i++) {
        const struct worker_slot *slot = &scoreboard->slots[i];
        uint32_t state = atomic_load(&slot->state);
        if (state != SLOT_EMPTY && state != SLOT_SPARE) {
            put_worker(json, slot, i, now_ms);
        }
    }
    json_array_end(json);
}

static void put_deaths(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct number_range remembered = deaths_remembered(scoreboard);
    struct death_record death;
    json_key(json, "deaths");
    json_array_begin(json);
    for (uint64_t i = remembered.first; i < remembered.end; i++) {
        if (deaths_copy(scoreboard, i, &death)) {
            death_json_put(json, &death);
        }
    }
    json_array_end(json);
}

static void put_stuck(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct number_range remembered = stuck_record_remembered(scoreboard);
    struct stuck_record *record = memory_alloc_zeroed(1, sizeof(*record));
    json_key(json, "stuck_processes");
    json_array_begin(json);
    for (uint64_t i = remembered.first; i < remembered.end; i++) {
        if (stuck_record_copy(scoreboard, i, record)) {
            stuck_json_put(json, record);
        }
    }
    json_array_end(json);
    free(record);
}

static void tell(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct totals totals;
    struct latency_copy latency;
    (void)!totals_copy(scoreboard, &totals, &latency); /* of a copy that nobody changes */
    json_object_begin(json);
    json_put_text(json, "server", scoreboard->server);
    json_put_text(json, "version", scoreboard->version);
    json_put_text(json, "model", scoreboard->model);
    json_put_text(json, "dispatch", scoreboard->dispatch[0] == '\0' ? NULL : scoreboard->dispatch);
    json_put_uint(json, "generation", atomic_load(&scoreboard->generation));
    json_put_int(json, "master_pid", atomic_load(&scoreboard->master_pid));
    json_put_uint(json, "uptime_ms", clock_monotonic_ms() - scoreboard->started_ms);
    put_totals(json, &totals);
    put_durations(json, "latency", &latency.requests);
    put_durations(json, "stalls", &latency.turns);
    put_workers(json, scoreboard);
    put_deaths(json, scoreboard);
    put_stuck(json, scoreboard);
    json_object_end(json);
}

/* ---- Answering ---- */

static struct scoreboard *look_into(int pid)
{
    struct scoreboard *copy = NULL;
    int fd = open_memory(pid);
    if (fd >= 0) {
        uint64_t address = find_scoreboard(pid, fd);
        copy = address != 0 ? copy_scoreboard(fd, address) : NULL;
        close(fd);
    }
    return copy;
}

static void answer(int pid)
{
    struct buffer text = {0};
    struct json_writer json;
    struct scoreboard *copy = look_into(pid);
    json_init(&json, &text);
    if (copy != NULL) {
        tell(&json, copy);
    } else {
        json_write_null(&json);
    }
    buffer_append(&text, "\n", 1);
    fwrite(text.data, 1, text.len, stdout);
    fflush(stdout);
    buffer_free(&text);
    free(copy);
}

int main(void)
{
    char line[PATH_BYTES];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        answer((int)strtol(line, NULL, 10));
    }
    return 0;
}
