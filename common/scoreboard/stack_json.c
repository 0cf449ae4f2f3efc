#include "common/scoreboard/stack_json.h"

#include "common/base/check.h"
#include "common/scoreboard/crash_story.h"

#include <stdio.h>
#include <string.h>

enum { HEXADECIMAL_BYTES = 19 };

void stack_json_put_text(struct json_writer *json, const char *key, const char *text)
{
    json_put_text(json, key, text[0] == '\0' ? NULL : text);
}

void stack_json_put_hexadecimal(struct json_writer *json, const char *key, uint64_t number)
{
    char text[HEXADECIMAL_BYTES];
    snprintf(text, sizeof(text), "0x%llx", (unsigned long long)number);
    json_put_text(json, key, text);
}

void stack_json_put_line(struct json_writer *json, const char *key, const char *line)
{
    json_put_string(json, key, (struct span){line, strcspn(line, "?")});
}

void stack_json_put_request(struct json_writer *json, const struct request_copy *request)
{
    if (request == NULL) {
        json_put_null(json, "request");
        return;
    }
    json_key(json, "request");
    json_object_begin(json);
    stack_json_put_line(json, "line", request->line);
    json_put_text(json, "client", request->client);
    json_object_end(json);
}

static void put_frame(struct json_writer *json, const struct crash_frame *frame, uint32_t number)
{
    json_object_begin(json);
    json_put_uint(json, "frame", number);
    stack_json_put_text(json, "function", frame->function);
    stack_json_put_text(json, "file", frame->file);
    if (frame->line == 0) {
        json_put_null(json, "line");
    } else {
        json_put_uint(json, "line", frame->line);
    }
    stack_json_put_text(json, "module", frame->module);
    if (frame->module[0] == '\0') { /* an offset in nothing would be an address */
        json_put_null(json, "offset");
    } else {
        stack_json_put_hexadecimal(json, "offset", frame->offset);
    }
    json_object_end(json);
}

void stack_json_put(struct json_writer *json, const struct stack_story *stack)
{
    json_put_uint(json, "frames_left_out", stack->left_out);
    json_key(json, "frames");
    json_array_begin(json);
    CHECK(stack->frame_count <= CRASH_STORY_FRAMES);
    for (uint32_t i = 0; i < stack->frame_count; i++) {
        put_frame(json, &stack->frames[i], crash_frame_number(stack, i));
    }
    json_array_end(json);
}
