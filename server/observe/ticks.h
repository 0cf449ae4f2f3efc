/* The event "tick": what has changed since the tick before, and how long requests took meanwhile.
 */
#ifndef TWINHTTPD_SERVER_OBSERVE_TICKS_H
#define TWINHTTPD_SERVER_OBSERVE_TICKS_H

#include "common/base/json_writer.h"
#include "server/observe/facts.h"
#include "server/observe/windows.h"

struct ticks;

/* For slots up to that number. Freed by ticks_destroy. */
struct ticks *ticks_create(uint32_t slot_capacity);
void ticks_destroy(struct ticks *ticks);

/* The next tick is counted from here on, and tells of every slot. */
void ticks_restart(struct ticks *ticks, const struct facts *facts,
                   const struct latency_copy *latency);

/* The next tick, with those slots that have changed. latency is of the same reading. */
void ticks_put(struct ticks *ticks, struct json_writer *json, const struct facts *facts,
               const struct latency_copy *latency, struct windows *windows);

/* The same tick once more, with all slots. */
void ticks_put_full(const struct ticks *ticks, struct json_writer *json, const struct facts *facts,
                    struct windows *windows);

#endif
