/* A request to the control socket, read from its line of JSON. */
#ifndef TWINHTTPD_SERVER_CONTROL_CONTROL_REQUEST_H
#define TWINHTTPD_SERVER_CONTROL_CONTROL_REQUEST_H

#include "common/base/error.h"
#include "common/base/span.h"

#include <stdint.h>
#include <sys/types.h>

enum control_command {
    CONTROL_LIST,
    CONTROL_ADD,
    CONTROL_REMOVE,
    CONTROL_KILL,
    CONTROL_RECYCLE,
    CONTROL_DRAIN,
    CONTROL_STOP,
    CONTROL_RELOAD,
    CONTROL_REOPEN_LOGS,
    CONTROL_UPGRADE,
    CONTROL_FAULT
};

enum { CONTROL_COUNT_MAX = 512, CONTROL_TARGET_BYTES = 64 };

struct control_request {
    enum control_command command;
    uint32_t count;                    /* add, remove */
    uint32_t number;                   /* recycle: of the process */
    bool all;                          /* recycle: every process */
    pid_t pid;                         /* kill */
    int signal;                        /* kill */
    char target[CONTROL_TARGET_BYTES]; /* fault: "/fault/segv", with a query maybe */
};

/* {"command":"kill","pid":42,"signal":"TERM"}. False with one line in error, of which nothing comes
 * from the request. */
bool control_request_parse(struct span line, struct control_request *request, struct error *error);

/* "reopen-logs" */
const char *control_command_name(enum control_command command);

#endif
