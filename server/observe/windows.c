#include "server/observe/windows.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* What was counted between two readings. */
struct step {
    uint64_t span_ms;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

/* The last readings of one histogram, as a ring of steps. */
struct series {
    uint64_t noted_ms; /* the last one; 0: none */
    uint32_t room;     /* of steps */
    uint32_t count;    /* of these, how many there are */
    uint32_t next;     /* where the next one goes */
    uint32_t generation;
    bool reckoned; /* shown is true */
    struct window shown;
    struct histogram_copy last;
    struct step steps[];
};

struct windows {
    struct series *server[WINDOWS_KINDS];
    uint32_t slot_capacity;
    struct series *slots[]; /* NULL: nobody is there */
};

static uint64_t series_bytes(uint32_t room)
{
    return sizeof(struct series) + room * sizeof(struct step);
}

static struct series *series_create(uint32_t room)
{
    struct series *series = memory_alloc_zeroed(1, series_bytes(room));
    series->room = room;
    return series;
}

struct windows *windows_create(uint32_t slot_capacity)
{
    struct windows *windows =
        memory_alloc_zeroed(1, sizeof(*windows) + slot_capacity * sizeof(struct series *));
    windows->slot_capacity = slot_capacity;
    for (int i = 0; i < WINDOWS_KINDS; i++) {
        windows->server[i] = series_create(WINDOWS_SECONDS);
    }
    return windows;
}

void windows_destroy(struct windows *windows)
{
    for (int i = 0; i < WINDOWS_KINDS; i++) {
        free(windows->server[i]);
    }
    for (uint32_t i = 0; i < windows->slot_capacity; i++) {
        free(windows->slots[i]);
    }
    free(windows);
}

/* ---- A series ---- */

static void fill_step(struct step *step, const struct histogram_copy *window)
{
    step->sum_ns = window->sum_ns;
    step->max_ns = window->max_ns;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = window->buckets[i];
        step->buckets[i] = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
    }
}

/* The first reading tells only from where on the next one counts. */
static void series_note(struct series *series, uint64_t now_ms, const struct histogram_copy *now)
{
    struct histogram_copy window;
    if (series->noted_ms != 0 && now_ms > series->noted_ms) {
        struct step *step = &series->steps[series->next];
        histogram_window(now, &series->last, &window);
        fill_step(step, &window);
        step->span_ms = now_ms - series->noted_ms;
        series->next = (series->next + 1) % series->room;
        series->count += series->count < series->room;
    }
    series->noted_ms = now_ms;
    series->last = *now;
    series->reckoned = false;
}

static void add_step(struct histogram_copy *sum, const struct step *step)
{
    sum->sum_ns += step->sum_ns;
    sum->max_ns = sum->max_ns > step->max_ns ? sum->max_ns : step->max_ns;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        sum->buckets[i] += step->buckets[i];
        sum->count += step->buckets[i];
    }
}

/* The newest steps, until they are as long as that. */
static void series_read(const struct series *series, uint32_t steps, struct window *out)
{
    struct histogram_copy sum = {0};
    uint64_t span_ms = 0;
    CHECK(steps <= series->room);
    for (uint32_t i = 1; i <= steps && i <= series->count; i++) {
        const struct step *step = &series->steps[(series->next + series->room - i) % series->room];
        add_step(&sum, step);
        span_ms += step->span_ms;
    }
    window_of(&sum, span_ms, out);
}

/* ---- All of them ---- */

void windows_note(struct windows *windows, uint64_t now_ms, const struct latency_copy *sum)
{
    series_note(windows->server[WINDOWS_REQUESTS], now_ms, &sum->requests);
    series_note(windows->server[WINDOWS_TURNS], now_ms, &sum->turns);
}

void windows_note_slot(struct windows *windows, uint32_t slot, uint32_t generation, uint64_t now_ms,
                       const struct histogram_copy *requests)
{
    static const struct histogram_copy none;
    CHECK(slot < windows->slot_capacity);
    struct series *series = windows->slots[slot];
    if (series == NULL) {
        series = windows->slots[slot] = series_create(WINDOWS_SLOT_SECONDS);
    }
    if (series->noted_ms != 0 && series->generation != generation) {
        series->count = series->next = 0;
        series->last = none; /* it has counted from nothing on */
    }
    series->generation = generation;
    series_note(series, now_ms, requests);
}

void windows_forget_others(struct windows *windows, uint64_t now_ms)
{
    for (uint32_t i = 0; i < windows->slot_capacity; i++) {
        if (windows->slots[i] != NULL && windows->slots[i]->noted_ms != now_ms) {
            free(windows->slots[i]);
            windows->slots[i] = NULL;
        }
    }
}

void windows_read(const struct windows *windows, enum windows_of kind, uint32_t seconds,
                  struct window *out)
{
    series_read(windows->server[kind], seconds, out);
}

const struct window *windows_slot(struct windows *windows, uint32_t slot)
{
    struct series *series = slot < windows->slot_capacity ? windows->slots[slot] : NULL;
    if (series == NULL) {
        return NULL;
    }
    if (!series->reckoned) {
        series_read(series, WINDOWS_SLOT_SECONDS, &series->shown);
        series->reckoned = true;
    }
    return &series->shown;
}

uint64_t windows_bytes(const struct windows *windows)
{
    uint64_t bytes = sizeof(*windows) + windows->slot_capacity * sizeof(struct series *) +
                     WINDOWS_KINDS * series_bytes(WINDOWS_SECONDS);
    for (uint32_t i = 0; i < windows->slot_capacity; i++) {
        bytes += windows->slots[i] != NULL ? series_bytes(WINDOWS_SLOT_SECONDS) : 0;
    }
    return bytes;
}

/* ---- What a window shows ---- */

static uint64_t up_to_us(uint64_t ns)
{
    return ns / 1000 + (ns % 1000 != 0);
}

void window_of(const struct histogram_copy *histogram, uint64_t span_ms, struct window *out)
{
    *out = (struct window){.span_ms = span_ms, .count = histogram->count};
    if (histogram->count == 0) {
        return;
    }
    out->mean_us = histogram->sum_ns / histogram->count / 1000;
    out->p50_us = up_to_us(histogram_percentile_ns(histogram, 500, 1000));
    out->p90_us = up_to_us(histogram_percentile_ns(histogram, 900, 1000));
    out->p99_us = up_to_us(histogram_percentile_ns(histogram, 990, 1000));
    out->p999_us = up_to_us(histogram_percentile_ns(histogram, 999, 1000));
    out->max_us = up_to_us(histogram->max_ns);
}

uint64_t window_per_second(const struct window *window)
{
    return window->span_ms == 0 ? 0 : window->count * 1000000 / window->span_ms;
}
