#include "server/observe/state_json.h"

#include "common/scoreboard/stack_json.h"

#include <string.h>

static void put_or_null(struct json_writer *json, const char *key, bool known, uint64_t number)
{
    if (known) {
        json_put_uint(json, key, number);
    } else {
        json_put_null(json, key);
    }
}

/* ---- The server ---- */

static void put_server(struct json_writer *json, const struct state_identity *identity)
{
    json_key(json, "server");
    json_object_begin(json);
    json_put_text(json, "name", identity->server);
    json_put_text(json, "version", identity->version);
    json_put_text(json, "model", identity->model);
    json_put_text(json, "dispatch", identity->dispatch[0] == '\0' ? NULL : identity->dispatch);
    json_put_text(json, "listen", identity->listen);
    json_put_text(json, "on_death", identity->on_death);
    json_put_bool(json, "bench", identity->bench);
    json_put_bool(json, "faults", identity->faults);
    json_object_end(json);
}

static void put_observer(struct json_writer *json, const struct state_view *view)
{
    const struct state_identity *identity = view->identity;
    json_key(json, "observer");
    json_object_begin(json);
    json_put_int(json, "pid", identity->pid);
    json_put_uint(json, "uptime_ms", view->facts->now_ms - identity->started_ms);
    json_put_uint(json, "viewers", view->viewers);
    json_object_end(json);
}

static uint64_t count_restarted(const struct recovery_totals *recoveries)
{
    uint64_t count = 0;
    for (int i = 0; i <= LEDGER_RECOVERY_BOUNDS; i++) {
        count += recoveries->of[i];
    }
    return count;
}

static void put_master(struct json_writer *json, const struct facts *facts)
{
    json_key(json, "master");
    json_object_begin(json);
    json_put_int(json, "pid", facts->master_pid);
    json_put_text(json, "phase", bulletin_phase_name(facts->phase));
    json_put_uint(json, "heard_ms", facts->heard_ms);
    json_put_uint(json, "processes_wanted", facts->wanted);
    json_put_uint(json, "restarted", count_restarted(&facts->totals.recoveries));
    json_object_end(json);
}

/* ---- Counters ---- */

static void put_totals(struct json_writer *json, const struct facts_totals *totals)
{
    json_key(json, "totals");
    json_object_begin(json);
    counter_sums_put_json(json, &totals->counters);
    json_put_uint(json, "connections_open", totals->connections_open);
    json_put_uint(json, "connections_busy", totals->connections_busy);
    json_put_uint(json, "connections_idle", totals->connections_idle);
    json_put_uint(json, "deaths", totals->deaths);
    json_put_uint(json, "requests_lost", totals->requests_lost);
    json_put_uint(json, "in_progress_lost", totals->in_progress_lost);
    json_put_uint(json, "stuck_incidents", totals->stuck_incidents);
    adoption_put_json(json, "adoption", &totals->counters.adoption);
    json_object_end(json);
}

/* ---- Windows ---- */

static void put_window(struct json_writer *json, const char *key, const struct window *window)
{
    const bool known = window->count > 0;
    json_key(json, key);
    json_object_begin(json);
    json_put_thousandths(json, "seconds", window->span_ms);
    json_put_uint(json, "count", window->count);
    json_put_thousandths(json, "per_second", window_per_second(window));
    put_or_null(json, "mean_us", known, window->mean_us);
    put_or_null(json, "p50_us", known, window->p50_us);
    put_or_null(json, "p90_us", known, window->p90_us);
    put_or_null(json, "p99_us", known, window->p99_us);
    put_or_null(json, "p999_us", known, window->p999_us);
    put_or_null(json, "max_us", known, window->max_us);
    json_object_end(json);
}

static void put_windows(struct json_writer *json, const char *key, const struct windows *windows,
                        enum windows_of kind)
{
    static const struct {
        const char *name;
        uint32_t seconds;
    } spans[] = {{"1s", 1}, {"10s", 10}, {"60s", 60}};
    json_key(json, key);
    json_object_begin(json);
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
        struct window window;
        windows_read(windows, kind, spans[i].seconds, &window);
        put_window(json, spans[i].name, &window);
    }
    json_object_end(json);
}

/* ---- Processes ---- */

void state_json_write_current(struct json_writer *json, const struct facts_slot *slot)
{
    const char *line = slot->current.line;
    if (slot->has_current) {
        json_write_string(json, (struct span){line, strcspn(line, "?")});
    } else {
        json_write_null(json);
    }
}

static void put_current(struct json_writer *json, const struct facts_slot *slot)
{
    if (!slot->has_current) {
        json_put_null(json, "current");
        return;
    }
    json_key(json, "current");
    json_object_begin(json);
    stack_json_put_line(json, "line", slot->current.line);
    json_put_text(json, "client", slot->current.client);
    json_object_end(json);
}

static void put_slot(struct json_writer *json, const struct facts_slot *slot,
                     struct windows *windows)
{
    static const struct window none;
    const struct window *window = windows_slot(windows, slot->slot);
    window = window != NULL ? window : &none;
    json_object_begin(json);
    json_put_uint(json, "slot", slot->slot);
    json_put_int(json, "tid", slot->tid);
    json_put_text(json, "role", slot_role_name(slot->role));
    json_put_text(json, "state", slot_state_name(slot->state));
    json_put_text(json, "stuck", slot_verdict_name(slot->verdict));
    json_put_uint(json, "heartbeat_age_ms", slot->heartbeat_age_ms);
    counter_sums_put_json(json, &slot->counters);
    json_put_uint(json, "connections_open", slot->connections_open);
    json_put_uint(json, "connections_busy", slot->connections_busy);
    json_put_uint(json, "connections_idle", slot->connections_idle);
    json_put_uint(json, "deaths", slot->deaths);
    put_current(json, slot);
    json_put_thousandths(json, "per_second", window_per_second(window));
    put_or_null(json, "p50_us", window->count > 0, window->p50_us);
    put_or_null(json, "p99_us", window->count > 0, window->p99_us);
    json_object_end(json);
}

/* Who is where; ticks tell the rest. */
static void put_place(struct json_writer *json, const struct facts_slot *slot)
{
    json_array_begin(json);
    json_uint(json, slot->slot);
    json_int(json, slot->tid);
    json_write_string(json, span_of(slot_role_name(slot->role)));
    json_array_end(json);
}

static void put_slots(struct json_writer *json, const struct state_view *view,
                      const struct facts_process *process, bool whole)
{
    json_key(json, "slots");
    json_array_begin(json);
    for (uint32_t i = process->first; i < process->first + process->count; i++) {
        const struct facts_slot *slot = &view->facts->slots[i];
        if (whole) {
            put_slot(json, slot, view->windows);
        } else {
            put_place(json, slot);
        }
    }
    json_array_end(json);
}

static void put_known(struct json_writer *json, const char *key, uint64_t number)
{
    put_or_null(json, key, number != PROCFS_UNKNOWN, number);
}

static void put_share(struct json_writer *json, const char *key, uint64_t thousandths)
{
    if (thousandths == PROCFS_UNKNOWN) {
        json_put_null(json, key);
    } else {
        json_put_thousandths(json, key, thousandths);
    }
}

static void put_kernels_word(struct json_writer *json, const struct procfs_process *read)
{
    json_key(json, "memory");
    json_object_begin(json);
    put_known(json, "pss_kib", read->pss_kib);
    put_known(json, "rss_kib", read->rss_kib);
    put_known(json, "private_kib", read->private_kib);
    json_object_end(json);
    put_known(json, "cpu_ms", read->cpu_ms);
    put_share(json, "cpu_share", read->cpu_share);
    put_share(json, "waiting_share", read->waiting_share);
    put_known(json, "switches_voluntary", read->switches_voluntary);
    put_known(json, "switches_involuntary", read->switches_involuntary);
}

static void put_process(struct json_writer *json, const struct state_view *view,
                        const struct facts_process *process, bool whole)
{
    const struct procfs_process read = procfs_of(view->procfs, process);
    json_object_begin(json);
    json_put_uint(json, "number", process->number);
    json_put_int(json, "pid", process->pid);
    json_put_uint(json, "generation", process->generation);
    json_put_text(json, "state", facts_process_state_name(process->state));
    json_put_uint(json, "age_ms", process->age_ms);
    json_put_bool(json, "inherits", process->inherits);
    put_kernels_word(json, &read);
    put_slots(json, view, process, whole);
    json_object_end(json);
}

static void put_processes(struct json_writer *json, const struct state_view *view, bool whole)
{
    json_key(json, "processes");
    json_array_begin(json);
    for (uint32_t i = 0; i < view->facts->process_count; i++) {
        put_process(json, view, &view->facts->processes[i], whole);
    }
    json_array_end(json);
}

/* ---- All of it ---- */

static void put_measures(struct json_writer *json, const struct state_view *view)
{
    put_master(json, view->facts);
    put_totals(json, &view->facts->totals);
    put_windows(json, "latency", view->windows, WINDOWS_REQUESTS);
    put_windows(json, "stalls", view->windows, WINDOWS_TURNS);
}

void state_json_put(struct json_writer *json, const struct state_view *view)
{
    json_object_begin(json);
    json_put_uint(json, "api", 1);
    put_server(json, view->identity);
    json_put_uint(json, "time_ms", view->facts->time_ms);
    json_put_uint(json, "uptime_ms", view->facts->uptime_ms);
    json_put_uint(json, "interval_ms", view->identity->interval_ms);
    json_put_bool(json, "control", view->identity->control);
    put_observer(json, view);
    put_measures(json, view);
    put_processes(json, view, true);
    stories_put(view->stories, json);
    json_object_end(json);
}

void state_json_put_processes_event(struct json_writer *json, const struct state_view *view)
{
    json_object_begin(json);
    json_put_uint(json, "t", view->facts->time_ms);
    put_measures(json, view);
    put_processes(json, view, false);
    json_object_end(json);
}
