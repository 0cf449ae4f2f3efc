#include "server/twinctl/top_table.h"

#include "server/twinctl/top_format.h"
#include "server/twinctl/top_story.h"

#include <stdio.h>
#include <string.h>

enum { US_PER_MS = 1000, NAME_BYTES = 128 };

/* ---- Above the grid ---- */

static void put_server(const json_t *state, struct buffer *out)
{
    char name[NAME_BYTES], version[NAME_BYTES], model[NAME_BYTES], dispatch[NAME_BYTES];
    char listen[NAME_BYTES], on_death[NAME_BYTES], uptime[TOP_CELL_BYTES];
    const json_t *server = json_object_get(state, "server");
    top_text(server, "name", name, sizeof(name));
    top_text(server, "version", version, sizeof(version));
    top_text(server, "model", model, sizeof(model));
    top_text(server, "dispatch", dispatch, sizeof(dispatch));
    top_text(server, "listen", listen, sizeof(listen));
    top_text(server, "on_death", on_death, sizeof(on_death));
    top_format_time(top_number(state, "uptime_ms") * US_PER_MS, uptime);
    buffer_printf(out, "%s %s, %s%s%s, %s, on_death %s, up %s\n", name, version, model,
                  dispatch[0] == '\0' ? "" : " ", dispatch, listen, on_death, uptime);
}

static long long ready_processes(const json_t *state)
{
    const json_t *processes = json_object_get(state, "processes");
    long long ready = 0;
    for (size_t i = 0; i < json_array_size(processes); i++) {
        const char *name =
            json_string_value(json_object_get(json_array_get(processes, i), "state"));
        ready += name != NULL && strcmp(name, "ready") == 0;
    }
    return ready;
}

static void put_master(const json_t *state, struct buffer *out)
{
    char phase[TOP_WORD_BYTES], heard[TOP_CELL_BYTES], deaths[TOP_CELL_BYTES];
    const json_t *master = json_object_get(state, "master");
    const json_t *totals = json_object_get(state, "totals");
    top_text(master, "phase", phase, sizeof(phase));
    top_format_time(top_number(master, "heard_ms") * US_PER_MS, heard);
    top_format_count(top_number(totals, "deaths"), deaths);
    buffer_printf(out,
                  "master %lld %s, heard %s ago; %lld of %lld processes ready; %s deaths, %lld "
                  "stuck\n",
                  top_integer(master, "pid"), phase, heard, ready_processes(state),
                  top_integer(master, "processes_wanted"), deaths,
                  top_integer(totals, "stuck_incidents"));
}

static void put_requests(const json_t *state, struct buffer *out)
{
    char rate[TOP_CELL_BYTES], finished[TOP_CELL_BYTES], aborted[TOP_CELL_BYTES];
    char lost[TOP_CELL_BYTES], open[TOP_CELL_BYTES], idle[TOP_CELL_BYTES];
    const json_t *totals = json_object_get(state, "totals");
    top_format_rate(top_number_in(json_object_get(state, "latency"), "1s", "per_second"), rate);
    top_format_count(top_number(totals, "requests_finished"), finished);
    top_format_count(top_number(totals, "requests_aborted"), aborted);
    top_format_count(top_number(totals, "requests_lost"), lost);
    top_format_count(top_number(totals, "connections_open"), open);
    top_format_count(top_number(totals, "connections_idle"), idle);
    buffer_printf(out, "requests %s/s: %s finished, %s aborted, %s lost; connections %s, %s idle\n",
                  rate, finished, aborted, lost, open, idle);
}

static void put_window(const json_t *state, const char *name, struct buffer *out)
{
    static const char *const times[] = {"mean_us", "p50_us",  "p90_us",
                                        "p99_us",  "p999_us", "max_us"};
    char cell[TOP_CELL_BYTES];
    const json_t *window = json_object_get(json_object_get(state, "latency"), name);
    top_format_rate(top_number(window, "per_second"), cell);
    buffer_printf(out, "%-9s %8s", name, cell);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        top_format_time(top_number(window, times[i]), cell);
        buffer_printf(out, " %8s", cell);
    }
    buffer_append(out, "\n", 1);
}

static void put_last_death(const struct top_model *model, struct buffer *out)
{
    const json_t *death = top_model_death(model, 0);
    if (death == NULL) {
        buffer_printf(out, "no process has died\n");
        return;
    }
    buffer_printf(out, "last death ");
    top_story_brief(death, out);
    buffer_append(out, "\n", 1);
}

void top_table_head(const struct top_model *model, struct buffer *out)
{
    put_server(model->state, out);
    put_master(model->state, out);
    put_requests(model->state, out);
    buffer_printf(out, "%-9s %8s %8s %8s %8s %8s %8s %8s\n", "latency", "req/s", "mean", "p50",
                  "p90", "p99", "p99.9", "max");
    put_window(model->state, "1s", out);
    put_window(model->state, "10s", out);
    put_window(model->state, "60s", out);
    put_last_death(model, out);
}

/* ---- The grid ---- */

enum { WIDE = 100 }; /* from here on the verdict has a column of its own */

typedef void (*cell_fn)(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES]);

static void cell_process(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    snprintf(out, TOP_CELL_BYTES, "%lld", row->process);
}

static void cell_slot(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    if (row->slot == TOP_NO_SLOT) {
        snprintf(out, TOP_CELL_BYTES, "-");
    } else {
        snprintf(out, TOP_CELL_BYTES, "%lld", row->slot);
    }
}

static void cell_pid(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    snprintf(out, TOP_CELL_BYTES, "%lld", row->pid);
}

static void cell_state(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    if (!wide && row->stuck[0] != '\0') {
        snprintf(out, TOP_CELL_BYTES, "!%s", row->stuck);
    } else {
        snprintf(out, TOP_CELL_BYTES, "%s", row->state);
    }
}

static void cell_stuck(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    snprintf(out, TOP_CELL_BYTES, "%s", row->stuck[0] == '\0' ? "-" : row->stuck);
}

static void cell_heartbeat(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    top_format_time(row->heartbeat_us, out);
}

static void cell_rate(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    top_format_rate(row->per_second, out);
}

static void cell_p50(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    top_format_time(row->p50_us, out);
}

static void cell_p99(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    top_format_time(row->p99_us, out);
}

static void cell_memory(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    top_format_memory(row->memory_kib, out);
}

static void cell_cpu(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    top_format_share(row->cpu_share, out);
}

static void cell_waiting(const struct top_row *row, bool wide, char out[TOP_CELL_BYTES])
{
    (void)wide;
    top_format_share(row->waiting_share, out);
}

static const struct column {
    const char *title;
    int width; /* less than 0: from the left */
    bool wide; /* only a wide screen has it */
    bool of_process;
    enum top_sort sort; /* TOP_SORTS: rows are not sorted by it */
    cell_fn cell;
} columns[] = {
    {"PROC", 4, false, true, TOP_SORT_PROCESS, cell_process},
    {"SLOT", 4, false, false, TOP_SORTS, cell_slot},
    {"PID", 7, false, true, TOP_SORTS, cell_pid},
    {"STATE", -9, false, false, TOP_SORTS, cell_state},
    {"STUCK", -9, true, false, TOP_SORT_STUCK, cell_stuck},
    {"BEAT", 5, false, false, TOP_SORT_HEARTBEAT, cell_heartbeat},
    {"REQ/S", 6, false, false, TOP_SORT_RATE, cell_rate},
    {"P50", 5, false, false, TOP_SORTS, cell_p50},
    {"P99", 5, false, false, TOP_SORT_P99, cell_p99},
    {"MEM", 5, false, true, TOP_SORT_MEMORY, cell_memory},
    {"CPU", 4, false, true, TOP_SORT_CPU, cell_cpu},
    {"WAIT", 4, false, true, TOP_SORT_WAITING, cell_waiting},
};

enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

/* A narrow screen has the verdict in the column of the state. */
static bool is_sorted_by(const struct column *column, enum top_sort sort, bool wide)
{
    return column->sort == sort || (!wide && sort == TOP_SORT_STUCK && column->cell == cell_state);
}

struct top_mark top_table_titles(struct buffer *out, int width, enum top_sort sort)
{
    struct top_mark mark = {0};
    size_t start = out->len;
    bool wide = width >= WIDE;
    for (size_t i = 0; i < COLUMNS; i++) {
        int before = (int)(out->len - start);
        if (columns[i].wide && !wide) {
            continue;
        }
        buffer_printf(out, "%*s ", columns[i].width, columns[i].title);
        if (is_sorted_by(&columns[i], sort, wide)) {
            mark = (struct top_mark){before, (int)(out->len - start) - 1};
        }
    }
    buffer_printf(out, "REQUEST");
    return mark;
}

static bool same_process(const struct top_row *row, const struct top_row *above)
{
    return above != NULL && above->process == row->process && above->pid == row->pid;
}

/* Every request of the servers ends with it. */
static int shown_bytes(const char *line)
{
    static const char version[] = " HTTP/1.1";
    size_t bytes = strlen(line), end = sizeof(version) - 1;
    return (int)(bytes > end && strcmp(line + bytes - end, version) == 0 ? bytes - end : bytes);
}

void top_table_row(const struct top_row *row, const struct top_row *above, int width,
                   struct buffer *out)
{
    char cell[TOP_CELL_BYTES];
    bool wide = width >= WIDE;
    for (size_t i = 0; i < COLUMNS; i++) {
        if (columns[i].wide && !wide) {
            continue;
        }
        cell[0] = '\0';
        if (!columns[i].of_process || !same_process(row, above)) {
            columns[i].cell(row, wide, cell);
        }
        buffer_printf(out, "%*s ", columns[i].width, cell);
    }
    const char *current = row->current[0] == '\0' ? "-" : row->current;
    buffer_printf(out, "%.*s", shown_bytes(current), current);
}

enum top_mood top_table_mood(const struct top_row *row)
{
    if (row->stuck[0] != '\0' || strcmp(row->state, "dead") == 0) {
        return TOP_BAD;
    }
    return strcmp(row->state, "ready") == 0 ? TOP_FINE : TOP_CHANGING;
}
