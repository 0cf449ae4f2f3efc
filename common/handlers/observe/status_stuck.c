#include "common/handlers/observe/status_stuck.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/handlers/observe/status_crash.h"
#include "common/scoreboard/stuck_record.h"

#include <stdlib.h>

const char *status_stuck_name(uint32_t verdict)
{
    static const char *const names[] = {
        [SLOT_STOPPED] = "stopped", [SLOT_SPINNING] = "spinning", [SLOT_BLOCKED] = "blocked"};
    return verdict <= SLOT_BLOCKED ? names[verdict] : NULL;
}

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
    json_put_text(json, "stuck", status_stuck_name(thread->verdict));
    json_put_text(json, "state", state);
    json_put_text(json, "wait_channel", channel[0] == '\0' ? NULL : channel);
    status_put_request(json, thread->has_request ? &thread->request : NULL);
    status_put_stack(json, &thread->stack);
    json_object_end(json);
}

static void put_record(struct json_writer *json, const struct stuck_record *record)
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
    for (uint32_t i = 0; i < record->thread_count; i++) {
        put_thread(json, &record->threads[i]);
    }
    json_array_end(json);
    json_object_end(json);
}

static void put_records(struct json_writer *json, const struct scoreboard *scoreboard,
                        struct number_range remembered)
{
    struct stuck_record *record = memory_alloc_zeroed(1, sizeof(*record));
    for (uint64_t i = remembered.first; i < remembered.end; i++) {
        if (stuck_record_copy(scoreboard, i, record)) {
            put_record(json, record);
        }
    }
    free(record);
}

void status_put_stuck(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct number_range remembered = stuck_record_remembered(scoreboard);
    json_key(json, "stuck_processes");
    json_array_begin(json);
    if (remembered.end > 0) {
        put_records(json, scoreboard, remembered);
    }
    json_array_end(json);
}
