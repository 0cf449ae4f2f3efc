#include "common/scoreboard/death_json.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/signal_name.h"
#include "common/scoreboard/crash_story.h"
#include "common/scoreboard/stack_json.h"

enum { LOWEST_MAPPED = 65536 /* below it nothing is ever mapped (vm.mmap_min_addr) */ };

/* An address that tells what was wrong (a null pointer, and how far beyond it) and not where
 * anything lies. All workers have the layout of their master, so one real address would undo its
 * randomisation for as long as the server lives. The error log has the rest. */
static void put_fault_address(struct json_writer *json, const struct crash_story *story)
{
    if (crash_has_address(story) && story->address < LOWEST_MAPPED) {
        stack_json_put_hexadecimal(json, "address", story->address);
    } else {
        json_put_null(json, "address");
    }
}

static void put_sender(struct json_writer *json, const struct crash_story *story)
{
    if (!crash_was_sent(story)) {
        json_put_null(json, "sender");
        return;
    }
    json_key(json, "sender");
    json_object_begin(json);
    json_put_int(json, "pid", story->sender_pid);
    json_put_uint(json, "uid", story->sender_uid);
    json_object_end(json);
}

static void put_crash(struct json_writer *json, const struct crash_story *story)
{
    if (!story->told) {
        json_put_null(json, "crash");
        return;
    }
    char signal[SIGNAL_NAME_BYTES], code[CRASH_CODE_BYTES];
    signal_name(story->signal, signal);
    crash_code_name(story->signal, story->code, code);
    json_key(json, "crash");
    json_object_begin(json);
    json_put_text(json, "signal", signal);
    json_put_text(json, "code", code);
    put_fault_address(json, story);
    json_put_bool(json, "stack_overflow", story->stack_overflow);
    stack_json_put_text(json, "assertion", story->assertion);
    put_sender(json, story);
    json_put_int(json, "tid", story->tid);
    if (story->slot < 0) {
        json_put_null(json, "slot");
        json_put_null(json, "worker"); /* the name of slot until now, for one release more */
    } else {
        json_put_int(json, "slot", story->slot);
        json_put_int(json, "worker", story->slot);
    }
    stack_json_put_request(json, story->has_request ? &story->request : NULL);
    stack_json_put(json, &story->stack);
    json_object_end(json);
}

static void put_requests(struct json_writer *json, const struct death_record *death)
{
    json_key(json, "requests");
    json_array_begin(json);
    CHECK(death->request_count <= DEATH_REQUESTS);
    for (uint32_t i = 0; i < death->request_count; i++) {
        json_object_begin(json);
        json_put_uint(json, "slot", death->requests[i].slot);
        json_put_uint(json, "worker", death->requests[i].slot); /* as above */
        stack_json_put_line(json, "line", death->requests[i].line);
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

void death_json_put(struct json_writer *json, const struct death_record *death)
{
    char time[CLOCK_ISO8601_BYTES];
    clock_format_iso8601(death->time_ms, time);
    json_object_begin(json);
    json_put_uint(json, "number", death->number);
    json_put_text(json, "time", time);
    json_put_uint(json, "process", death->process);
    json_put_int(json, "pid", death->pid);
    json_put_uint(json, "generation", death->generation);
    put_cause(json, death);
    json_put_uint(json, "lived_ms", death->lived_ns / 1000000);
    json_put_uint(json, "requests_lost", deaths_requests_lost(death));
    json_put_uint(json, "in_progress", death->in_progress);
    json_put_uint(json, "awaited", death->awaited);
    json_put_uint(json, "idle_cut", death->lost.idle_cut);
    json_put_uint(json, "in_progress_lost", death->lost.in_progress);
    json_put_bool(json, "left_to_successor", death->left != 0);
    if (death->left != 0) {
        adoption_put_json(json, "adoption", &death->adoption);
    } else {
        json_put_null(json, "adoption");
    }
    if (death->recovery_ns == 0) {
        json_put_null(json, "recovery_ms");
    } else {
        json_put_milliseconds(json, "recovery_ms", death->recovery_ns / 1000);
    }
    put_requests(json, death);
    put_crash(json, &death->crash);
    json_object_end(json);
}
