/* How long requests and turns of the event loops have taken, in /status. */
#ifndef TWINHTTPD_COMMON_HANDLERS_OBSERVE_STATUS_LATENCY_H
#define TWINHTTPD_COMMON_HANDLERS_OBSERVE_STATUS_LATENCY_H

#include "common/base/json_writer.h"
#include "common/scoreboard/latency.h"

/* The members "latency" and "stalls": objects. */
void status_put_latency(struct json_writer *json, const struct latency_copy *latency);

#endif
