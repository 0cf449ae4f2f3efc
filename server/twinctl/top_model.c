#include "server/twinctl/top_model.h"

#include "common/base/memory.h"
#include "server/twinctl/top_format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { US_PER_MS = 1000 };

/* ---- Members of the state ---- */

double top_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

double top_number_in(const json_t *object, const char *outer, const char *key)
{
    return top_number(json_object_get(object, outer), key);
}

long long top_integer(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

void top_text(const json_t *object, const char *key, char *out, size_t out_bytes)
{
    top_format_harmless(json_string_value(json_object_get(object, key)), out, out_bytes);
}

/* ---- Rows ---- */

static struct top_row row_of_process(const json_t *process)
{
    double pss_kib = top_number_in(process, "memory", "pss_kib");
    struct top_row row = {
        .process = top_integer(process, "number"),
        .slot = TOP_NO_SLOT,
        .pid = top_integer(process, "pid"),
        .heartbeat_us = (double)NAN,
        .per_second = (double)NAN,
        .p50_us = (double)NAN,
        .p99_us = (double)NAN,
        .memory_kib = isnan(pss_kib) ? top_number_in(process, "memory", "rss_kib") : pss_kib,
        .cpu_share = top_number(process, "cpu_share"),
        .waiting_share = top_number(process, "waiting_share"),
    };
    top_text(process, "state", row.state, sizeof(row.state));
    return row;
}

static void add_slot(struct top_row *row, const json_t *slot)
{
    row->slot = top_integer(slot, "slot");
    row->heartbeat_us = top_number(slot, "heartbeat_age_ms") * US_PER_MS;
    row->per_second = top_number(slot, "per_second");
    row->p50_us = top_number(slot, "p50_us");
    row->p99_us = top_number(slot, "p99_us");
    top_text(slot, "state", row->state, sizeof(row->state));
    top_text(slot, "stuck", row->stuck, sizeof(row->stuck));
    top_text(json_object_get(slot, "current"), "line", row->current, sizeof(row->current));
}

static size_t rows_of(const json_t *process)
{
    size_t slots = json_array_size(json_object_get(process, "slots"));
    return slots == 0 ? 1 : slots;
}

static void add_process(struct top_model *model, const json_t *process)
{
    const json_t *slots = json_object_get(process, "slots");
    for (size_t i = 0; i < rows_of(process); i++) {
        struct top_row *row = &model->rows[model->row_count++];
        *row = row_of_process(process);
        if (i < json_array_size(slots)) {
            add_slot(row, json_array_get(slots, i));
        }
    }
}

void top_model_set(struct top_model *model, json_t *state)
{
    const json_t *processes = json_object_get(state, "processes");
    size_t rows = 0;
    top_model_free(model);
    model->state = state;
    for (size_t i = 0; i < json_array_size(processes); i++) {
        rows += rows_of(json_array_get(processes, i));
    }
    model->rows = memory_alloc_zeroed(rows + 1, sizeof(struct top_row));
    for (size_t i = 0; i < json_array_size(processes); i++) {
        add_process(model, json_array_get(processes, i));
    }
}

void top_model_free(struct top_model *model)
{
    json_decref(model->state);
    free(model->rows);
    *model = (struct top_model){0};
}

/* ---- Order ---- */

static double key_of(const struct top_row *row, enum top_sort sort)
{
    switch (sort) {
    case TOP_SORT_STUCK:
        return row->stuck[0] != '\0' ? row->heartbeat_us : (double)NAN;
    case TOP_SORT_HEARTBEAT:
        return row->heartbeat_us;
    case TOP_SORT_RATE:
        return row->per_second;
    case TOP_SORT_P99:
        return row->p99_us;
    case TOP_SORT_MEMORY:
        return row->memory_kib;
    case TOP_SORT_CPU:
        return row->cpu_share;
    case TOP_SORT_WAITING:
        return row->waiting_share;
    case TOP_SORT_PROCESS:
    case TOP_SORTS:
        break;
    }
    return 0;
}

static int compare_integers(long long a, long long b)
{
    return (a > b) - (a < b);
}

static int compare(const void *a, const void *b, void *context)
{
    const struct top_row *one = a, *other = b;
    const enum top_sort *sort = context;
    double first = key_of(one, *sort), second = key_of(other, *sort);
    if (isnan(first) != isnan(second)) {
        return isnan(first) ? 1 : -1;
    }
    if (!isnan(first) && (first > second || first < second)) {
        return first > second ? -1 : 1;
    }
    int by_number = compare_integers(one->process, other->process);
    int by_pid = by_number == 0 ? compare_integers(one->pid, other->pid) : by_number;
    return by_pid == 0 ? compare_integers(one->slot, other->slot) : by_pid;
}

void top_model_sort(struct top_model *model, enum top_sort sort)
{
    qsort_r(model->rows, model->row_count, sizeof(model->rows[0]), compare, &sort);
}

/* ---- Deaths ---- */

size_t top_model_deaths(const struct top_model *model)
{
    return json_array_size(json_object_get(model->state, "deaths"));
}

const json_t *top_model_death(const struct top_model *model, size_t index)
{
    size_t count = top_model_deaths(model);
    return index < count
               ? json_array_get(json_object_get(model->state, "deaths"), count - 1 - index)
               : NULL;
}
