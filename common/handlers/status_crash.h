/* The crash story of a death in /status. */
#ifndef TWINHTTPD_COMMON_HANDLERS_STATUS_CRASH_H
#define TWINHTTPD_COMMON_HANDLERS_STATUS_CRASH_H

#include "common/base/json_writer.h"
#include "common/base/scoreboard.h"

/* The member "crash": an object, or null where nothing was told. */
void status_put_crash(struct json_writer *json, const struct crash_story *story);

#endif
