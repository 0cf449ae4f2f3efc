/* GET /status: the scoreboard as JSON, for those on this machine, without query strings and without
 * addresses of code. */
#include "common/base/clock.h"
#include "common/base/signal_name.h"
#include "common/handlers/handlers.h"
#include "common/handlers/observe/status_crash.h"
#include "common/handlers/observe/status_stuck.h"
#include "common/http/response_json.h"
#include "common/scoreboard/slot_json.h"

struct totals {
    uint64_t started, finished, aborted, handled, bytes_sent, accepted, adopted, refused, recovered;
    uint64_t open, idle;
};

static void add_counters(struct totals *totals, const struct slot_counters *counters)
{
    totals->started += atomic_load(&counters->requests_started);
    totals->finished += atomic_load(&counters->requests_finished);
    totals->aborted += atomic_load(&counters->requests_aborted);
    totals->handled += atomic_load(&counters->requests_handled);
    totals->bytes_sent += atomic_load(&counters->bytes_sent);
    totals->accepted += atomic_load(&counters->connections_accepted);
    totals->adopted += atomic_load(&counters->connections_adopted);
    totals->refused += atomic_load(&counters->connections_refused);
    totals->recovered += atomic_load(&counters->faults_recovered);
}

static void put_totals(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct totals totals = {0};
    add_counters(&totals, &scoreboard->dead);
    uint32_t count = scoreboard_slot_count(scoreboard);
    for (uint32_t i = 0; i < count; i++) {
        const struct worker_slot *slot = &scoreboard->slots[i];
        add_counters(&totals, &slot->counters);
        totals.open += atomic_load(&slot->connections_open);
        totals.idle += atomic_load(&slot->connections_idle);
    }
    json_key(json, "totals");
    json_object_begin(json);
    json_put_uint(json, "requests_started", totals.started);
    json_put_uint(json, "requests_finished", totals.finished);
    json_put_uint(json, "requests_aborted", totals.aborted);
    json_put_uint(json, "requests_handled", totals.handled);
    json_put_uint(json, "bytes_sent", totals.bytes_sent);
    json_put_uint(json, "connections_accepted", totals.accepted);
    json_put_uint(json, "connections_adopted", totals.adopted);
    json_put_uint(json, "connections_refused", totals.refused);
    json_put_uint(json, "faults_recovered", totals.recovered);
    json_put_uint(json, "connections_open", totals.open);
    json_put_uint(json, "connections_idle", totals.idle);
    json_put_uint(json, "deaths", atomic_load(&scoreboard->deaths));
    json_put_uint(json, "requests_lost", atomic_load(&scoreboard->requests_lost));
    json_put_uint(json, "stuck_incidents", atomic_load(&scoreboard->stuck_incidents));
    json_object_end(json);
}

static uint64_t heartbeat_age_ms(const struct worker_slot *slot, uint64_t now_ms)
{
    uint64_t beat_ms = atomic_load(&slot->heartbeat_ms);
    return now_ms > beat_ms ? now_ms - beat_ms : 0;
}

static void put_worker(struct json_writer *json, const struct worker_slot *slot, uint32_t index,
                       uint64_t now_ms)
{
    struct totals own = {0};
    struct request_copy current;
    add_counters(&own, &slot->counters);
    json_object_begin(json);
    slot_json_put(json, slot, index);
    json_put_uint(json, "process", atomic_load(&slot->process));
    json_put_int(json, "pid", atomic_load(&slot->pid));
    json_put_uint(json, "generation", atomic_load(&slot->generation));
    json_put_uint(json, "heartbeat_age_ms", heartbeat_age_ms(slot, now_ms));
    json_put_text(json, "stuck", status_stuck_name(atomic_load(&slot->verdict)));
    json_put_uint(json, "requests_started", own.started);
    json_put_uint(json, "requests_finished", own.finished);
    json_put_uint(json, "requests_aborted", own.aborted);
    json_put_uint(json, "requests_handled", own.handled);
    json_put_uint(json, "bytes_sent", own.bytes_sent);
    json_put_uint(json, "connections_accepted", own.accepted);
    json_put_uint(json, "connections_adopted", own.adopted);
    json_put_uint(json, "connections_refused", own.refused);
    json_put_uint(json, "faults_recovered", own.recovered);
    json_put_uint(json, "connections_open", atomic_load(&slot->connections_open));
    json_put_uint(json, "connections_idle", atomic_load(&slot->connections_idle));
    json_put_uint(json, "deaths", atomic_load(&slot->deaths));
    if (slot_note_read(slot, &current)) {
        status_put_line(json, "current", current.line);
    } else {
        json_put_null(json, "current");
    }
    json_object_end(json);
}

static void put_workers(struct json_writer *json, const struct scoreboard *scoreboard,
                        uint64_t now_ms)
{
    uint32_t count = scoreboard_slot_count(scoreboard);
    json_key(json, "workers");
    json_array_begin(json);
    for (uint32_t i = 0; i < count; i++) {
        const struct worker_slot *slot = &scoreboard->slots[i];
        uint32_t state = atomic_load(&slot->state);
        if (state != SLOT_EMPTY && state != SLOT_SPARE) {
            put_worker(json, slot, i, now_ms);
        }
    }
    json_array_end(json);
}

static void put_requests(struct json_writer *json, const struct death_record *death)
{
    json_key(json, "requests");
    json_array_begin(json);
    for (uint32_t i = 0; i < death->request_count; i++) {
        json_object_begin(json);
        json_put_uint(json, "slot", death->requests[i].slot);
        json_put_uint(json, "worker", death->requests[i].slot); /* as above */
        status_put_line(json, "line", death->requests[i].line);
        json_put_text(json, "client", death->requests[i].client);
        json_object_end(json);
    }
    json_array_end(json);
}

static void put_cause(struct json_writer *json, const struct death_record *death)
{
    if (death->signal == 0) {
        json_put_text(json, "cause", "exit");
        json_put_null(json, "signal");
        json_put_int(json, "exit_status", death->exit_status);
        return;
    }
    char name[SIGNAL_NAME_BYTES];
    signal_name(death->signal, name);
    json_put_text(json, "cause", "signal");
    json_put_text(json, "signal", name);
    json_put_null(json, "exit_status");
}

static void put_death(struct json_writer *json, const struct death_record *death)
{
    char time[CLOCK_ISO8601_BYTES];
    clock_format_iso8601(death->time_ms, time);
    json_object_begin(json);
    json_put_text(json, "time", time);
    json_put_uint(json, "process", death->process);
    json_put_int(json, "pid", death->pid);
    json_put_uint(json, "generation", death->generation);
    put_cause(json, death);
    json_put_uint(json, "lived_ms", death->lived_ns / 1000000);
    json_put_uint(json, "requests_lost", deaths_requests_lost(death));
    json_put_uint(json, "in_progress", death->in_progress);
    json_put_uint(json, "awaited", death->awaited);
    json_put_uint(json, "idle_cut", death->left != 0 ? 0 : death->idle_cut);
    json_put_bool(json, "left_to_successor", death->left != 0);
    if (death->recovery_ns == 0) {
        json_put_null(json, "recovery_ms");
    } else {
        json_put_milliseconds(json, "recovery_ms", death->recovery_ns / 1000);
    }
    put_requests(json, death);
    status_put_crash(json, &death->crash);
    json_object_end(json);
}

/* One after the other: all of them together would take most of a megabyte. */
static void put_deaths(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct number_range remembered = deaths_remembered(scoreboard);
    struct death_record death;
    json_key(json, "deaths");
    json_array_begin(json);
    for (uint64_t i = remembered.first; i < remembered.end; i++) {
        if (deaths_copy(scoreboard, i, &death)) {
            put_death(json, &death);
        }
    }
    json_array_end(json);
}

static void status(const struct http_request *request, struct http_response *response,
                   struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    const struct handler_environment *env = data;
    const struct scoreboard *scoreboard = env->scoreboard;
    uint64_t now_ms = clock_monotonic_ms();
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_text(&json, "server", scoreboard->server);
    json_put_text(&json, "version", scoreboard->version);
    json_put_text(&json, "model", scoreboard->model);
    json_put_text(&json, "dispatch", scoreboard->dispatch[0] == '\0' ? NULL : scoreboard->dispatch);
    json_put_uint(&json, "generation", atomic_load(&scoreboard->generation));
    json_put_int(&json, "master_pid", atomic_load(&scoreboard->master_pid));
    json_put_uint(&json, "uptime_ms", now_ms - scoreboard->started_ms);
    put_totals(&json, scoreboard);
    put_workers(&json, scoreboard, now_ms);
    put_deaths(&json, scoreboard);
    status_put_stuck(&json, scoreboard);
    response_json_end(&json);
}

void status_register(struct router *router, struct handler_environment *env)
{
    router_add(router, &(struct route){.path = "/status",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .local_only = true,
                                       .handler = status,
                                       .data = env});
}
