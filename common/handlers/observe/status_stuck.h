/* Processes in which threads were found stuck, in /status. */
#ifndef TWINHTTPD_COMMON_HANDLERS_OBSERVE_STATUS_STUCK_H
#define TWINHTTPD_COMMON_HANDLERS_OBSERVE_STATUS_STUCK_H

#include "common/base/json_writer.h"
#include "common/scoreboard/scoreboard.h"

/* The member "stuck_processes": an array, the oldest first. */
void status_put_stuck(struct json_writer *json, const struct scoreboard *scoreboard);

/* What keeps a thread from moving; NULL: it moves. */
const char *status_stuck_name(uint32_t verdict);

#endif
