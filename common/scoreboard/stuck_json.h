/* A process in which threads were found stuck, as JSON. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_STUCK_JSON_H
#define TWINHTTPD_COMMON_SCOREBOARD_STUCK_JSON_H

#include "common/base/json_writer.h"
#include "common/scoreboard/stuck_record.h"

/* An object. */
void stuck_json_put(struct json_writer *json, const struct stuck_record *record);

#endif
