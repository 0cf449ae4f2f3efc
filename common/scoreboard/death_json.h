/* What a death cost, and the story of it, as JSON. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_DEATH_JSON_H
#define TWINHTTPD_COMMON_SCOREBOARD_DEATH_JSON_H

#include "common/base/json_writer.h"
#include "common/scoreboard/deaths.h"

/* An object. */
void death_json_put(struct json_writer *json, const struct death_record *death);

#endif
