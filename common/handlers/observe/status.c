/* GET /status: the scoreboard as JSON, for those on this machine, without query strings and without
 * addresses of code. */
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/handlers/handlers.h"
#include "common/handlers/observe/status_latency.h"
#include "common/http/response_json.h"
#include "common/scoreboard/death_json.h"
#include "common/scoreboard/slot_json.h"
#include "common/scoreboard/stack_json.h"
#include "common/scoreboard/stuck_json.h"
#include "common/scoreboard/totals.h"

#include <stdlib.h>

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

static uint64_t heartbeat_age_ms(const struct worker_slot *slot, uint64_t now_ms)
{
    uint64_t beat_ms = atomic_load(&slot->heartbeat_ms);
    return now_ms > beat_ms ? now_ms - beat_ms : 0;
}

static void put_worker(struct json_writer *json, const struct worker_slot *slot, uint32_t index,
                       uint64_t now_ms)
{
    struct counter_sums own = {0};
    struct request_copy current;
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
    if (slot_note_read(slot, &current)) {
        stack_json_put_line(json, "current", current.line);
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

/* One after the other: all of them together would take most of a megabyte. */
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

static void put_records(struct json_writer *json, const struct scoreboard *scoreboard,
                        struct number_range remembered)
{
    struct stuck_record *record = memory_alloc_zeroed(1, sizeof(*record));
    for (uint64_t i = remembered.first; i < remembered.end; i++) {
        if (stuck_record_copy(scoreboard, i, record)) {
            stuck_json_put(json, record);
        }
    }
    free(record);
}

static void put_stuck(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct number_range remembered = stuck_record_remembered(scoreboard);
    json_key(json, "stuck_processes");
    json_array_begin(json);
    if (remembered.end > 0) {
        put_records(json, scoreboard, remembered);
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
    struct totals totals;
    struct latency_copy latency;
    struct json_writer json;
    /* What the master is just moving may be missing or there twice: nobody waits for a word that
     * any process could have written. */
    (void)!totals_copy(scoreboard, &totals, &latency);
    response_json_begin(response, &json);
    json_put_text(&json, "server", scoreboard->server);
    json_put_text(&json, "version", scoreboard->version);
    json_put_text(&json, "model", scoreboard->model);
    json_put_text(&json, "dispatch", scoreboard->dispatch[0] == '\0' ? NULL : scoreboard->dispatch);
    json_put_uint(&json, "generation", atomic_load(&scoreboard->generation));
    json_put_int(&json, "master_pid", atomic_load(&scoreboard->master_pid));
    json_put_uint(&json, "uptime_ms", now_ms - scoreboard->started_ms);
    put_totals(&json, &totals);
    status_put_latency(&json, &latency);
    put_workers(&json, scoreboard, now_ms);
    put_deaths(&json, scoreboard);
    put_stuck(&json, scoreboard);
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
