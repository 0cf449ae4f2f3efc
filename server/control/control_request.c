#include "server/control/control_request.h"

#include "common/base/signal_name.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [CONTROL_LIST] = "list",
    [CONTROL_ADD] = "add",
    [CONTROL_REMOVE] = "remove",
    [CONTROL_KILL] = "kill",
    [CONTROL_RECYCLE] = "recycle",
    [CONTROL_DRAIN] = "drain",
    [CONTROL_STOP] = "stop",
    [CONTROL_RELOAD] = "reload",
    [CONTROL_REOPEN_LOGS] = "reopen-logs",
    [CONTROL_UPGRADE] = "upgrade",
    [CONTROL_FAULT] = "fault",
};

enum { COMMANDS = sizeof(names) / sizeof(names[0]) };

const char *control_command_name(enum control_command command)
{
    return names[command];
}

static bool is_number(const json_t *value, json_int_t least, json_int_t most)
{
    return json_is_integer(value) && json_integer_value(value) >= least &&
           json_integer_value(value) <= most;
}

static bool read_command(const json_t *root, struct control_request *request, struct error *error)
{
    const char *text = json_string_value(json_object_get(root, "command"));
    for (size_t i = 0; text != NULL && i < COMMANDS; i++) {
        if (strcmp(text, names[i]) == 0) {
            request->command = (enum control_command)i;
            return true;
        }
    }
    return error_set(error, "unknown command; \"command\" is one of list, add, remove, kill, "
                            "recycle, drain, stop, reload, reopen-logs, upgrade, fault");
}

static bool read_count(const json_t *root, struct control_request *request, struct error *error)
{
    const json_t *count = json_object_get(root, "count");
    if (count == NULL) {
        request->count = 1;
        return true;
    }
    if (!is_number(count, 1, CONTROL_COUNT_MAX)) {
        return error_set(error, "bad \"count\"; give a number from 1 to 512");
    }
    request->count = (uint32_t)json_integer_value(count);
    return true;
}

static bool read_signal(const json_t *value, struct control_request *request)
{
    char number[16];
    if (is_number(value, 1, 64)) {
        snprintf(number, sizeof(number), "%d", (int)json_integer_value(value));
        request->signal = signal_number(number);
    } else if (json_is_string(value)) {
        request->signal = signal_number(json_string_value(value));
    }
    return request->signal != 0;
}

static bool read_kill(const json_t *root, struct control_request *request, struct error *error)
{
    const json_t *pid = json_object_get(root, "pid");
    if (!is_number(pid, 1, INT32_MAX)) {
        return error_set(error, "no \"pid\"; give the number of a process that list shows");
    }
    request->pid = (pid_t)json_integer_value(pid);
    return read_signal(json_object_get(root, "signal"), request) ||
           error_set(error,
                     "no such \"signal\"; give a name, such as TERM, or a number from 1 to 64");
}

static bool read_recycle(const json_t *root, struct control_request *request, struct error *error)
{
    const json_t *number = json_object_get(root, "number");
    const char *word = json_string_value(number);
    request->all = word != NULL && strcmp(word, "all") == 0;
    if (is_number(number, 0, INT32_MAX)) {
        request->number = (uint32_t)json_integer_value(number);
        return true;
    }
    return request->all || error_set(error, "no \"number\"; give that of a process, or \"all\"");
}

/* It becomes a part of a request line. */
static bool is_fault(const char *path)
{
    static const char start[] = "/fault/";
    const size_t bytes = strlen(path);
    return strncmp(path, start, sizeof(start) - 1) == 0 && bytes < CONTROL_TARGET_BYTES &&
           strspn(path, "abcdefghijklmnopqrstuvwxyz0123456789-_/?=&") == bytes;
}

static bool read_fault(const json_t *root, struct control_request *request, struct error *error)
{
    const char *path = json_string_value(json_object_get(root, "path"));
    if (path == NULL || !is_fault(path)) {
        return error_set(error, "no \"path\"; give one below /fault/, such as /fault/segv");
    }
    snprintf(request->target, sizeof(request->target), "%s", path);
    return true;
}

static bool read_members(const json_t *root, struct control_request *request, struct error *error)
{
    if (!json_is_object(root)) {
        return error_set(error,
                         "this is not a JSON object; send {\"command\":\"list\"}, for example");
    }
    if (!read_command(root, request, error)) {
        return false;
    }
    switch (request->command) {
    case CONTROL_ADD:
    case CONTROL_REMOVE:
        return read_count(root, request, error);
    case CONTROL_KILL:
        return read_kill(root, request, error);
    case CONTROL_RECYCLE:
        return read_recycle(root, request, error);
    case CONTROL_FAULT:
        return read_fault(root, request, error);
    default:
        return true;
    }
}

bool control_request_parse(struct span line, struct control_request *request, struct error *error)
{
    *request = (struct control_request){0};
    json_t *root = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
    bool good = read_members(root, request, error);
    json_decref(root);
    return good;
}
