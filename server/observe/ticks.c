#include "server/observe/ticks.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "server/observe/state_json.h"

#include <stdlib.h>
#include <string.h>

enum { BEATS_TOLD_MS = 1000 /* a heartbeat alone is told no more often */ };

/* A slot as it was told last. */
struct row {
    bool told;
    int32_t tid;
    uint32_t state, verdict;
    uint64_t beat_ms; /* CLOCK_MONOTONIC */
    uint64_t finished, open, busy;
    uint64_t p99_us; /* 0: none */
    char line[NOTE_LINE_BYTES + 1];
};

struct ticks {
    uint64_t now_ms; /* of the last one */
    uint64_t span_ms;
    struct latency_copy latency;
    struct window requests, turns; /* of the last interval */
    uint32_t slot_capacity;
    struct row rows[];
};

struct ticks *ticks_create(uint32_t slot_capacity)
{
    struct ticks *ticks =
        memory_alloc_zeroed(1, sizeof(*ticks) + slot_capacity * sizeof(struct row));
    ticks->slot_capacity = slot_capacity;
    return ticks;
}

void ticks_destroy(struct ticks *ticks)
{
    free(ticks);
}

void ticks_restart(struct ticks *ticks, const struct facts *facts,
                   const struct latency_copy *latency)
{
    ticks->now_ms = facts->now_ms;
    ticks->latency = *latency;
    for (uint32_t i = 0; i < ticks->slot_capacity; i++) {
        ticks->rows[i].told = false;
    }
}

/* ---- Slots ---- */

static uint64_t p99_of(struct windows *windows, uint32_t slot)
{
    const struct window *window = windows_slot(windows, slot);
    return window != NULL && window->count > 0 ? window->p99_us : 0;
}

static struct row row_of(const struct facts *facts, const struct facts_slot *slot,
                         struct windows *windows)
{
    struct row row = {
        .told = true,
        .tid = slot->tid,
        .state = slot->state,
        .verdict = slot->verdict,
        .beat_ms = facts->now_ms - slot->heartbeat_age_ms,
        .finished = slot->counters.requests_finished,
        .open = slot->connections_open,
        .busy = slot->connections_busy,
        .p99_us = p99_of(windows, slot->slot),
    };
    if (slot->has_current) {
        memcpy(row.line, slot->current.line, sizeof(row.line));
    }
    return row;
}

/* Hearts beat ten times a second: that one does is no news. */
static bool is_same(const struct row *a, const struct row *b)
{
    return a->told == b->told && a->tid == b->tid && a->state == b->state &&
           a->verdict == b->verdict && a->beat_ms < b->beat_ms + BEATS_TOLD_MS &&
           a->finished == b->finished && a->open == b->open && a->busy == b->busy &&
           a->p99_us == b->p99_us && strcmp(a->line, b->line) == 0;
}

static void write_text(struct json_writer *json, const char *text)
{
    if (text == NULL) {
        json_write_null(json);
    } else {
        json_write_string(json, span_of(text));
    }
}

static void write_duration(struct json_writer *json, bool known, uint64_t us)
{
    if (known) {
        json_uint(json, us);
    } else {
        json_write_null(json);
    }
}

static void put_row(struct json_writer *json, const struct facts_slot *slot, const struct row *row)
{
    json_array_begin(json);
    json_uint(json, slot->slot);
    write_text(json, slot_state_name(slot->state));
    write_text(json, slot_verdict_name(slot->verdict));
    json_uint(json, slot->heartbeat_age_ms);
    json_uint(json, row->finished);
    json_uint(json, row->open);
    json_uint(json, row->busy);
    write_duration(json, row->p99_us != 0, row->p99_us);
    state_json_write_current(json, slot);
    json_array_end(json);
}

static void put_changed(struct ticks *ticks, struct json_writer *json, const struct facts *facts,
                        struct windows *windows)
{
    json_key(json, "slots");
    json_array_begin(json);
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        const struct facts_slot *slot = &facts->slots[i];
        const struct row row = row_of(facts, slot, windows);
        CHECK(slot->slot < ticks->slot_capacity);
        if (!is_same(&row, &ticks->rows[slot->slot])) {
            put_row(json, slot, &row);
            ticks->rows[slot->slot] = row;
        }
    }
    json_array_end(json);
}

/* ---- The whole tick ---- */

static void put_duration(struct json_writer *json, const char *key, const struct window *window,
                         uint64_t us)
{
    json_key(json, key);
    write_duration(json, window->count > 0, us);
}

static void put_totals(const struct ticks *ticks, struct json_writer *json,
                       const struct facts *facts)
{
    const struct facts_totals *totals = &facts->totals;
    const struct window *requests = &ticks->requests;
    json_put_uint(json, "t", facts->time_ms);
    json_put_uint(json, "dt_ms", ticks->span_ms);
    json_put_uint(json, "finished", totals->counters.requests_finished);
    json_put_uint(json, "started", totals->counters.requests_started);
    json_put_uint(json, "aborted", totals->counters.requests_aborted);
    json_put_uint(json, "lost", totals->requests_lost);
    json_put_uint(json, "deaths", totals->deaths);
    json_put_uint(json, "open", totals->connections_open);
    json_put_uint(json, "busy", totals->connections_busy);
    json_put_uint(json, "heard_ms", facts->heard_ms);
    put_duration(json, "p50_us", requests, requests->p50_us);
    put_duration(json, "p99_us", requests, requests->p99_us);
    put_duration(json, "p999_us", requests, requests->p999_us);
    put_duration(json, "stall_max_us", &ticks->turns, ticks->turns.max_us);
}

static void measure(struct ticks *ticks, const struct facts *facts,
                    const struct latency_copy *latency)
{
    struct latency_copy window;
    latency_window(latency, &ticks->latency, &window);
    ticks->span_ms = facts->now_ms - ticks->now_ms;
    window_of(&window.requests, ticks->span_ms, &ticks->requests);
    window_of(&window.turns, ticks->span_ms, &ticks->turns);
    ticks->now_ms = facts->now_ms;
    ticks->latency = *latency;
}

void ticks_put(struct ticks *ticks, struct json_writer *json, const struct facts *facts,
               const struct latency_copy *latency, struct windows *windows)
{
    measure(ticks, facts, latency);
    json_object_begin(json);
    put_totals(ticks, json, facts);
    put_changed(ticks, json, facts, windows);
    json_object_end(json);
}

void ticks_put_full(const struct ticks *ticks, struct json_writer *json, const struct facts *facts,
                    struct windows *windows)
{
    json_object_begin(json);
    put_totals(ticks, json, facts);
    json_put_bool(json, "full", true);
    json_key(json, "slots");
    json_array_begin(json);
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        const struct row row = row_of(facts, &facts->slots[i], windows);
        put_row(json, &facts->slots[i], &row);
    }
    json_array_end(json);
    json_object_end(json);
}
