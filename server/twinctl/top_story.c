#include "server/twinctl/top_story.h"

#include "server/twinctl/top_format.h"
#include "server/twinctl/top_model.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 256, PLACE_BYTES = 600, US_PER_MS = 1000 };

/* "23:42:43" of "2026-11-29T23:42:43.913Z" */
static void format_time_of_day(const json_t *death, char out[TOP_WORD_BYTES])
{
    char time[TEXT_BYTES];
    top_text(death, "time", time, sizeof(time));
    const char *of_day = strchr(time, 'T');
    snprintf(out, TOP_WORD_BYTES, "%.8s", of_day == NULL ? "?" : of_day + 1);
}

static void format_ms(const json_t *death, const char *key, char out[TOP_CELL_BYTES])
{
    top_format_time(top_number(death, key) * US_PER_MS, out);
}

/* "SIGSEGV", or "status 3". */
static void format_cause(const json_t *death, char out[TOP_WORD_BYTES])
{
    if (json_is_string(json_object_get(death, "signal"))) {
        top_text(death, "signal", out, TOP_WORD_BYTES);
    } else {
        snprintf(out, TOP_WORD_BYTES, "status %lld", top_integer(death, "exit_status"));
    }
}

/* The request whose handler crashed, or else the first that was in progress; "" is none. */
static void format_request(const json_t *death, char out[TEXT_BYTES])
{
    const json_t *crash = json_object_get(death, "crash");
    const json_t *request = json_object_get(crash, "request");
    if (!json_is_object(request)) {
        request = json_array_get(json_object_get(death, "requests"), 0);
    }
    top_text(request, "line", out, TEXT_BYTES);
}

/* ---- Where it was ---- */

static void format_place(const json_t *frame, char out[PLACE_BYTES])
{
    char function[TEXT_BYTES], file[TEXT_BYTES], module[TEXT_BYTES];
    top_text(frame, "function", function, sizeof(function));
    top_text(frame, "file", file, sizeof(file));
    top_text(frame, "module", module, sizeof(module));
    const char *name = function[0] == '\0' ? "?" : function;
    if (file[0] != '\0') {
        snprintf(out, PLACE_BYTES, "%s at %s:%lld", name, file, top_integer(frame, "line"));
    } else {
        snprintf(out, PLACE_BYTES, "%s in %s", name, module[0] == '\0' ? "?" : module);
    }
}

/* The libraries' sources are elsewhere: "./nptl/pthread_create.c". */
static bool is_ours(const json_t *frame)
{
    const char *file = json_string_value(json_object_get(frame, "file"));
    return file != NULL && file[0] != '.' && file[0] != '/';
}

/* The innermost frame of the program itself. NULL: there is no stack. */
static const json_t *telling_frame(const json_t *crash)
{
    const json_t *frames = json_object_get(crash, "frames");
    for (size_t i = 0; i < json_array_size(frames); i++) {
        if (is_ours(json_array_get(frames, i))) {
            return json_array_get(frames, i);
        }
    }
    return json_array_get(frames, 0);
}

static void put_where(const json_t *crash, struct buffer *out)
{
    char assertion[TEXT_BYTES], place[PLACE_BYTES];
    const json_t *frame = telling_frame(crash);
    top_text(crash, "assertion", assertion, sizeof(assertion));
    if (assertion[0] != '\0') {
        buffer_printf(out, "; assertion failed: %s", assertion);
    } else if (frame != NULL) {
        format_place(frame, place);
        buffer_printf(out, "; %s", place);
    }
}

/* ---- In a line ---- */

static void put_cost(const json_t *death, struct buffer *out)
{
    char recovery[TOP_CELL_BYTES];
    long long lost = top_integer(death, "requests_lost");
    long long taken = top_integer(json_object_get(death, "adoption"), "connections");
    buffer_printf(out, "%lld request%s lost", lost, lost == 1 ? "" : "s");
    if (taken > 0) {
        buffer_printf(out, ", %lld connection%s taken over", taken, taken == 1 ? "" : "s");
    }
    if (isnan(top_number(death, "recovery_ms"))) {
        buffer_printf(out, ", not replaced yet");
    } else {
        format_ms(death, "recovery_ms", recovery);
        buffer_printf(out, ", replaced after %s", recovery);
    }
}

void top_story_brief(const json_t *death, struct buffer *out)
{
    char time[TOP_WORD_BYTES], cause[TOP_WORD_BYTES], request[TEXT_BYTES];
    format_time_of_day(death, time);
    format_cause(death, cause);
    format_request(death, request);
    buffer_printf(out, "%s process %lld, %s: ", time, top_integer(death, "process"), cause);
    put_cost(death, out);
    if (request[0] != '\0') {
        buffer_printf(out, "; %s", request);
    }
    put_where(json_object_get(death, "crash"), out);
}

void top_story_sentence(const json_t *death, struct buffer *out)
{
    char time[TOP_WORD_BYTES], cause[TOP_WORD_BYTES], request[TEXT_BYTES];
    format_time_of_day(death, time);
    format_cause(death, cause);
    format_request(death, request);
    buffer_printf(out, "%s process %lld (pid %lld) %s %s", time, top_integer(death, "process"),
                  top_integer(death, "pid"),
                  json_is_string(json_object_get(death, "signal")) ? "was killed by" : "ended with",
                  cause);
    if (request[0] != '\0') {
        buffer_printf(out, " in \"%s\"", request);
    }
    buffer_append(out, ": ", 2);
    put_cost(death, out);
    put_where(json_object_get(death, "crash"), out);
}

void top_story_titles(struct buffer *out)
{
    buffer_printf(out, "%-8s %4s %7s %-11s %6s %5s %7s %5s  %s", "TIME", "PROC", "PID", "CAUSE",
                  "LIVED", "LOST", "ADOPTED", "READY", "REQUEST");
}

void top_story_row(const json_t *death, struct buffer *out)
{
    char time[TOP_WORD_BYTES], cause[TOP_WORD_BYTES], request[TEXT_BYTES];
    char lived[TOP_CELL_BYTES], recovery[TOP_CELL_BYTES];
    format_time_of_day(death, time);
    format_cause(death, cause);
    format_request(death, request);
    format_ms(death, "lived_ms", lived);
    format_ms(death, "recovery_ms", recovery);
    buffer_printf(out, "%-8s %4lld %7lld %-11s %6s %5lld %7lld %5s  %s", time,
                  top_integer(death, "process"), top_integer(death, "pid"), cause, lived,
                  top_integer(death, "requests_lost"),
                  top_integer(json_object_get(death, "adoption"), "connections"), recovery,
                  request[0] == '\0' ? "-" : request);
}

/* ---- With all that is known ---- */

static void put_requests(const json_t *death, struct buffer *out)
{
    char line[TEXT_BYTES], client[TEXT_BYTES];
    const json_t *requests = json_object_get(death, "requests");
    for (size_t i = 0; i < json_array_size(requests); i++) {
        const json_t *request = json_array_get(requests, i);
        top_text(request, "line", line, sizeof(line));
        top_text(request, "client", client, sizeof(client));
        buffer_printf(out, "in progress in slot %lld: \"%s\" of %s\n", top_integer(request, "slot"),
                      line, client);
    }
}

static void put_sender(const json_t *crash, struct buffer *out)
{
    const json_t *sender = json_object_get(crash, "sender");
    if (json_is_object(sender)) {
        buffer_printf(out, ", sent by pid %lld of user %lld", top_integer(sender, "pid"),
                      top_integer(sender, "uid"));
    }
}

static void put_frames(const json_t *crash, struct buffer *out)
{
    char place[PLACE_BYTES];
    const json_t *frames = json_object_get(crash, "frames");
    for (size_t i = 0; i < json_array_size(frames); i++) {
        const json_t *frame = json_array_get(frames, i);
        format_place(frame, place);
        buffer_printf(out, "#%lld %s\n", top_integer(frame, "frame"), place);
    }
}

void top_story_details(const json_t *death, struct buffer *out)
{
    char signal[TOP_WORD_BYTES], code[TOP_WORD_BYTES];
    const json_t *crash = json_object_get(death, "crash");
    put_requests(death, out);
    if (!json_is_object(crash)) {
        buffer_printf(out, "no crash story: its signal left no time, or the names are being "
                           "looked up\n");
        return;
    }
    top_text(crash, "signal", signal, sizeof(signal));
    top_text(crash, "code", code, sizeof(code));
    buffer_printf(out, "%s (%s) in thread %lld", signal, code, top_integer(crash, "tid"));
    put_sender(crash, out);
    put_where(crash, out);
    buffer_append(out, "\n", 1);
    put_frames(crash, out);
}
