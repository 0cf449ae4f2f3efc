/* When what is looked at. Once a second, always: what the windows need. While somebody watches: ten
 * times a second what has changed, as events. When somebody asks: everything as it is now. */
#ifndef TWINHTTPD_SERVER_OBSERVE_SAMPLER_H
#define TWINHTTPD_SERVER_OBSERVE_SAMPLER_H

#include "server/observe/state_json.h"
#include "server/observe/viewers.h"

struct event_base;

enum {
    SAMPLER_INTERVAL_MS = 100, /* of ticks */
    /* For so long events are made for who was cut off and comes back. */
    SAMPLER_LINGER_MS = 10000
};

struct sampler_options {
    struct event_base *base;
    const struct scoreboard *scoreboard;
    const struct bulletin *bulletin;
    struct carried *carried;               /* NULL: none has counted but this program */
    const struct state_identity *identity; /* copied */
    const char *boot;                      /* tells this observer's events from all others' */
    const char *procfs_root;               /* "/proc" */
};

struct sampler;

/* What else options points to outlives it. NULL, reported in the log: there is no timer to be had.
 * Freed by sampler_destroy, which cuts all viewers. */
struct sampler *sampler_create(const struct sampler_options *options);
void sampler_destroy(struct sampler *sampler);

/* Looks at everything. The result stands until the sampler looks again. */
const struct state_view *sampler_look(struct sampler *sampler);

/* How long all requests and turns took since the start of the server, as of the last look. */
const struct latency_copy *sampler_latency(const struct sampler *sampler);

struct viewers *sampler_viewers(struct sampler *sampler);

#endif
