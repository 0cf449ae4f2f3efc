#include "common/scoreboard/stuck_json.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/scoreboard/stack_json.h"

static void put_place(struct json_writer *json, const struct stuck_thread *thread)
{
    if (thread->slot < 0) {
        json_put_null(json, "slot");
        json_put_null(json, "worker"); /* the name of slot until now, for one release more */
        json_put_null(json, "role");
        return;
    }
    json_put_int(json, "slot", thread->slot);
    json_put_int(json, "worker", thread->slot);
    json_put_text(json, "role", slot_role_name(thread->role));
}

static void put_thread(struct json_writer *json, const struct stuck_thread *thread)
{
    const char state[] = {thread->state, '\0'};
    const char *channel = thread->wait_channel;
    json_object_begin(json);
    json_put_int(json, "tid", thread->tid);
    put_place(json, thread);
    json_put_text(json, "stuck", slot_verdict_name(thread->verdict));
    json_put_text(json, "state", state);
    json_put_text(json, "wait_channel", channel[0] == '\0' ? NULL : channel);
    stack_json_put_request(json, thread->has_request ? &thread->request : NULL);
    stack_json_put(json, &thread->stack);
    json_object_end(json);
}

void stuck_json_put(struct json_writer *json, const struct stuck_record *record)
{
    char time[CLOCK_ISO8601_BYTES];
    clock_format_iso8601(record->time_ms, time);
    json_object_begin(json);
    json_put_text(json, "time", time);
    json_put_uint(json, "process", record->process);
    json_put_int(json, "pid", record->pid);
    json_put_uint(json, "generation", record->generation);
    json_key(json, "threads");
    json_array_begin(json);
    CHECK(record->thread_count <= STUCK_THREADS);
    for (uint32_t i = 0; i < record->thread_count; i++) {
        put_thread(json, &record->threads[i]);
    }
    json_array_end(json);
    json_object_end(json);
}
