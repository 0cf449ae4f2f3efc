#include "common/handlers/status_crash.h"

#include "common/base/crash_story.h"
#include "common/base/signal_name.h"

#include <stdio.h>

enum { HEXADECIMAL_BYTES = 19 };

static void put_text_or_null(struct json_writer *json, const char *key, const char *text)
{
    json_put_text(json, key, text[0] == '\0' ? NULL : text);
}

/* As text: not every reader of JSON keeps 64 bits of a number. */
static void put_address(struct json_writer *json, const char *key, uint64_t address)
{
    char text[HEXADECIMAL_BYTES];
    snprintf(text, sizeof(text), "0x%llx", (unsigned long long)address);
    json_put_text(json, key, text);
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

void status_put_request(struct json_writer *json, const struct request_copy *request)
{
    if (request == NULL) {
        json_put_null(json, "request");
        return;
    }
    json_key(json, "request");
    json_object_begin(json);
    json_put_text(json, "line", request->line);
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
    put_address(json, "address", frame->address);
    put_text_or_null(json, "module", frame->module);
    put_address(json, "offset", frame->offset);
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
    if (crash_has_address(story)) {
        put_address(json, "address", story->address);
    } else {
        json_put_null(json, "address");
    }
    json_put_bool(json, "stack_overflow", story->stack_overflow);
    put_sender(json, story);
    json_put_int(json, "tid", story->tid);
    if (story->slot < 0) {
        json_put_null(json, "worker");
    } else {
        json_put_int(json, "worker", story->slot);
    }
    status_put_request(json, story->has_request ? &story->request : NULL);
    status_put_stack(json, &story->stack);
    json_object_end(json);
}
