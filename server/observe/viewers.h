/* Those who watch: connections to which events are sent as they come. Nobody waits for a viewer.
 * One that is too slow gets only the newest tick whenever it has read what it was sent before, and
 * one that reads nothing for long is cut. */
#ifndef TWINHTTPD_SERVER_OBSERVE_VIEWERS_H
#define TWINHTTPD_SERVER_OBSERVE_VIEWERS_H

#include "server/observe/events.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;

enum {
    VIEWERS_MOST = 128,
    VIEWERS_QUEUE_BYTES = 256 * 1024, /* what one may have to get before it is too slow */
    VIEWERS_PATIENCE_MS = 30000       /* without a byte read */
};

struct viewers_options {
    struct event_base *base;
    struct events *events;
    /* Everything at once, for one who has missed something (in the first case: a part of it); the
     * viewer holds what is returned. */
    struct event_text *(*make_tick)(void *data);
    struct event_text *(*make_hello)(void *data);
    void (*changed)(void *data); /* how many there are */
    void *data;
};

struct viewers;

/* What options points to outlives them. Freed by viewers_destroy, which cuts those who are left. */
struct viewers *viewers_create(const struct viewers_options *options);
void viewers_destroy(struct viewers *viewers);

/* A place for one more. False: there are VIEWERS_MOST. Given back by viewers_take. */
bool viewers_reserve(struct viewers *viewers);

/* The place is taken by a connection, which belongs to the viewers from now on: a non-blocking
 * socket to which the head of the response has been sent. fd -1: its client is gone, and the place
 * is free. It is sent hello first, or what came behind the event that it saw last (events_resume;
 * an empty text: none). */
void viewers_take(struct viewers *viewers, int fd, struct span last_id);

/* How many there are. */
uint32_t viewers_count(const struct viewers *viewers);

/* Sends what has been added to the events, as far as it can be sent at once; the rest follows by
 * itself. Cuts those whose patience has ended. */
void viewers_publish(struct viewers *viewers, uint64_t now_ms);

#endif
