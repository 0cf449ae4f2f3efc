/* Events as they are sent (text/event-stream), rendered once for all who watch: numbered, and
 * remembered for a minute, so that who was cut off can have what it missed. */
#ifndef TWINHTTPD_SERVER_OBSERVE_EVENTS_H
#define TWINHTTPD_SERVER_OBSERVE_EVENTS_H

#include "common/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EVENTS_SECONDS = 60,
    EVENTS_BYTES =
        3 * 1024 * 1024,     /* of those that are remembered; at 10 Hz with 64 slots it is less */
    EVENTS_NUMBER_BYTES = 48 /* of an id */
};

/* One event, ready to be sent. Whoever holds it shares it, and lets it go with event_text_release.
 */
struct event_text {
    unsigned references;
    uint64_t number;
    uint64_t made_ms;
    uint64_t begin; /* where it stands in all that was ever remembered, in bytes */
    size_t bytes;
    char text[];
};

void event_text_hold(struct event_text *event);
void event_text_release(struct event_text *event);

struct events;

/* boot tells these events from those of any other observer; it is copied. Freed by events_destroy.
 */
struct events *events_create(const char *boot);
void events_destroy(struct events *events);

/* Remembers one more event, with the next number; data is one line. */
void events_add(struct events *events, uint64_t now_ms, const char *name, struct span data);

/* One that is not remembered, as of the newest: whoever has it goes on behind that one. The caller
 * holds it. */
struct event_text *events_make(const struct events *events, const char *name, struct span data);

/* Forgets those that are older than EVENTS_SECONDS. */
void events_expire(struct events *events, uint64_t now_ms);

/* Forgets all; nobody can go on from before. */
void events_forget(struct events *events);

/* The number of the newest; 0: there was none yet. */
uint64_t events_newest(const struct events *events);

/* That event, if it is remembered; else NULL. The caller does not hold it yet. */
struct event_text *events_find(const struct events *events, uint64_t number);

/* How many bytes have been remembered so far, also of those that are forgotten. */
uint64_t events_end(const struct events *events);

/* Reads what a client says that it saw last, "BOOT-N". True: all that came behind it is remembered,
 * and begins with *next. */
bool events_resume(const struct events *events, struct span last_id, uint64_t *next);

#endif
