#include "server/observe/events.h"

#include "common/base/check.h"
#include "common/base/decimal.h"
#include "common/base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BOOT_BYTES = 24,
    RING = 1024 /* events: more than a minute has */
};

/* Numbers from first to newest are remembered, in ring[number % RING]. */
struct events {
    char boot[BOOT_BYTES];
    uint64_t first;
    uint64_t newest;
    uint64_t begin; /* of the first, in all that was ever remembered */
    uint64_t end;
    struct event_text *ring[RING];
};

void event_text_hold(struct event_text *event)
{
    CHECK(event->references > 0);
    event->references++;
}

void event_text_release(struct event_text *event)
{
    CHECK(event->references > 0);
    if (--event->references == 0) {
        free(event);
    }
}

struct events *events_create(const char *boot)
{
    struct events *events = memory_alloc_zeroed(1, sizeof(*events));
    int bytes = snprintf(events->boot, sizeof(events->boot), "%s", boot);
    CHECK(bytes > 0 && bytes < BOOT_BYTES);
    events->first = 1;
    return events;
}

void events_destroy(struct events *events)
{
    events_forget(events);
    free(events);
}

/* ---- Making ---- */

static struct event_text *make(const struct events *events, uint64_t number, const char *name,
                               struct span data)
{
    char head[2 * EVENTS_NUMBER_BYTES];
    int head_bytes = snprintf(head, sizeof(head),
                              "id: %s-%" PRIu64 "\nevent: %s\ndata: ", events->boot, number, name);
    CHECK(head_bytes > 0 && (size_t)head_bytes < sizeof(head));
    CHECK(data.len > 0 && memchr(data.ptr, '\n', data.len) == NULL);
    const size_t bytes = (size_t)head_bytes + data.len + 2;
    struct event_text *event = memory_alloc(sizeof(*event) + bytes);
    *event = (struct event_text){.references = 1, .number = number, .bytes = bytes};
    memcpy(event->text, head, (size_t)head_bytes);
    memcpy(event->text + head_bytes, data.ptr, data.len);
    memcpy(event->text + bytes - 2, "\n\n", 2);
    return event;
}

struct event_text *events_make(const struct events *events, const char *name, struct span data)
{
    return make(events, events->newest, name, data);
}

/* ---- Remembering ---- */

static bool is_empty(const struct events *events)
{
    return events->first > events->newest;
}

static void forget_first(struct events *events)
{
    CHECK(!is_empty(events));
    struct event_text *event = events->ring[events->first % RING];
    events->ring[events->first % RING] = NULL;
    events->begin += event->bytes;
    events->first++;
    event_text_release(event);
}

void events_add(struct events *events, uint64_t now_ms, const char *name, struct span data)
{
    struct event_text *event = make(events, events->newest + 1, name, data);
    event->made_ms = now_ms;
    event->begin = events->end;
    while (!is_empty(events) && (events->newest + 1 - events->first == RING ||
                                 events->end + event->bytes - events->begin > EVENTS_BYTES)) {
        forget_first(events);
    }
    events->newest++;
    events->end += event->bytes;
    events->ring[events->newest % RING] = event;
}

void events_expire(struct events *events, uint64_t now_ms)
{
    while (!is_empty(events) &&
           now_ms - events->ring[events->first % RING]->made_ms > EVENTS_SECONDS * 1000) {
        forget_first(events);
    }
}

/* A number is left out: who has seen the newest has not seen what comes next all the same. */
void events_forget(struct events *events)
{
    while (!is_empty(events)) {
        forget_first(events);
    }
    events->newest++;
    events->first = events->newest + 1;
}

uint64_t events_newest(const struct events *events)
{
    return events->newest;
}

struct event_text *events_find(const struct events *events, uint64_t number)
{
    return number >= events->first && number <= events->newest ? events->ring[number % RING] : NULL;
}

uint64_t events_end(const struct events *events)
{
    return events->end;
}

/* ---- Going on ---- */

bool events_resume(const struct events *events, struct span last_id, uint64_t *next)
{
    char text[EVENTS_NUMBER_BYTES];
    const size_t boot_bytes = strlen(events->boot);
    uint64_t number;
    if (last_id.len <= boot_bytes + 1 || last_id.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, last_id.ptr, last_id.len);
    text[last_id.len] = '\0';
    if (memcmp(text, events->boot, boot_bytes) != 0 || text[boot_bytes] != '-' ||
        !decimal_parse(text + boot_bytes + 1, 1, events->newest, &number) ||
        number + 1 < events->first) {
        return false;
    }
    *next = number + 1;
    return true;
}
