#include "common/handlers/observe/status_crash.h"

#include "common/base/signal_name.h"
#include "common/scoreboard/crash_story.h"

#include <stdio.h>
#include <string.h>

enum {
    HEXADECIMAL_BYTES = 19,
    LOWEST_MAPPED = 65536 /* below it nothing is ever mapped (vm.mmap_min_addr) */
};

static void put_text_or_null(struct json_writer *json, const char *key, const char *text)
{
    json_put_text(json, key, text[0] == '\0' ? NULL : text);
}

/* As text: not every reader of JSON keeps 64 bits of a number. */
static void put_hexadecimal(struct json_writer *json, const char *key, uint64_t number)
{
    char text[HEXADECIMAL_BYTES];
    snprintf(text, sizeof(text), "0x%llx", (unsigned long long)number);
    json_put_text(json, key, text);
}

/* An address that tells what was wrong (a null pointer, and how far beyond it) and not where
 * anything lies. All workers have the layout of their master, so one real address would undo its
 * randomisation for as long as the server lives. The error log has the rest. */
static void put_fault_address(struct json_writer *json, const struct crash_story *story)
{
    if (crash_has_address(story) && story->address < LOWEST_MAPPED) {
        put_hexadecimal(json, "address", story->address);
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

void status_put_line(struct json_writer *json, const char *key, const char *line)
{
    json_put_string(json, key, (struct span){line, strcspn(line, "?")});
}

void status_put_request(struct json_writer *json, const struct request_copy *request)
{
    if (request == NULL) {
        json_put_null(json, "request");
        return;
    }
    json_key(json, "request");
    json_object_begin(json);
    status_put_line(json, "line", request->line);
    json_put_text(json, "client", request->client);
    json_object_end(json);
}

static void put_frame(struct json_writer *json, const struct crash_frame *frame, uint32_t number)
{
    json_object_begin(json);
    json_put_uint(json, "frame", number);
    put_text_or_null(json, "function", frame->function);
    put_text_or_null(json, "file", frame->file);
    if (frame->line == 0) {
        json_put_null(json, "line");
    } else {
        json_put_uint(json, "line", frame->line);
    }
    put_text_or_null(json, "module", frame->module);
    if (frame->module[0] == '\0') { /* an offset in nothing would be an address */
        json_put_null(json, "offset");
    } else {
        put_hexadecimal(json, "offset", frame->offset);
    }
    json_object_end(json);
}

void status_put_stack(struct json_writer *json, const struct stack_story *stack)
{
    json_put_uint(json, "frames_left_out", stack->left_out);
    json_key(json, "frames");
    json_array_begin(json);
    for (uint32_t i = 0; i < stack->frame_count; i++) {
        put_frame(json, &stack->frames[i], crash_frame_number(stack, i));
    }
    json_array_end(json);
}

void status_put_crash(struct json_writer *json, const struct crash_story *story)
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
    put_text_or_null(json, "assertion", story->assertion);
    put_sender(json, story);
    json_put_int(json, "tid", story->tid);
    if (story->slot < 0) {
        json_put_null(json, "slot");
        json_put_null(json, "worker"); /* the name of slot until now, for one release more */
    } else {
        json_put_int(json, "slot", story->slot);
        json_put_int(json, "worker", story->slot);
    }
    status_put_request(json, story->has_request ? &story->request : NULL);
    status_put_stack(json, &story->stack);
    json_object_end(json);
}
