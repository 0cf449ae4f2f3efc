/* A slot as JSON: what everybody who shows one says in the same words. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_SLOT_JSON_H
#define TWINHTTPD_COMMON_SCOREBOARD_SLOT_JSON_H

#include "common/base/json_writer.h"
#include "common/scoreboard/slot.h"

/* Puts the members that tell which slot it is, who is in it, and what that is doing, into the
 * object that json has begun. */
void slot_json_put(struct json_writer *json, const struct worker_slot *slot, uint32_t index);

#endif
