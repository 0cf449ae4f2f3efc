/* GET /api/v1/state, and the parts of it that stand in events: the only place that knows the names
 * of their members. README.md tells what each means. */
#ifndef TWINHTTPD_SERVER_OBSERVE_STATE_JSON_H
#define TWINHTTPD_SERVER_OBSERVE_STATE_JSON_H

#include "common/base/json_writer.h"
#include "common/net/endpoint.h"
#include "server/observe/facts.h"
#include "server/observe/procfs.h"
#include "server/observe/stories.h"
#include "server/observe/windows.h"

/* What does not change. Texts outlive whoever has it. */
struct state_identity {
    const char *server; /* the program's name */
    const char *version;
    const char *model;
    const char *dispatch; /* "": none */
    char listen[ENDPOINT_TEXT_BYTES];
    const char *on_death;
    bool bench, faults, control;
    uint32_t interval_ms; /* of ticks */
    int32_t pid;          /* of the observer */
    uint64_t started_ms;  /* CLOCK_MONOTONIC, of the observer */
};

/* All that the state is made from. Owns nothing. */
struct state_view {
    const struct state_identity *identity;
    const struct facts *facts;
    struct windows *windows;
    const struct procfs *procfs;
    const struct stories *stories;
    uint32_t viewers;
};

/* All of it, one object. */
void state_json_put(struct json_writer *json, const struct state_view *view);

/* The event "processes": the parts that are worth a look each second. */
void state_json_put_processes_event(struct json_writer *json, const struct state_view *view);

/* "GET /x" of "GET /x?token=y HTTP/1.1", or null. */
void state_json_write_current(struct json_writer *json, const struct facts_slot *slot);

#endif
