/* GET /live and GET /ready, for whoever decides whether to restart the server or to send requests
 * to it: one line of text. */
#include "server/observe/observer.h"

#include "common/base/clock.h"
#include "common/base/memory.h"

#include <stdlib.h>

enum {
    SILENCE_MS = 3000, /* the master beats more often than that */
    MOMENT_MS = 100    /* for which it may be in the middle of a word */
};

/* ---- The master ---- */

static void live(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    const struct observer_environment *environment = data;
    const uint64_t silent_ms = bulletin_heard_ms(environment->bulletin, clock_monotonic_ms());
    if (silent_ms < SILENCE_MS) {
        http_response_text(response, 200, "the master is alive");
        return;
    }
    http_response_text(response, 503, "the master is not");
    buffer_clear(&response->text);
    buffer_printf(&response->text, "the master has not been heard for %llu ms\n",
                  (unsigned long long)silent_ms);
}

/* ---- The service ---- */

static uint32_t count_ready(const struct bulletin_copy *copy)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < copy->process_count; i++) {
        count += copy->processes[i].state == BULLETIN_CHILD_READY;
    }
    return count;
}

/* Why nobody should send requests; NULL: they are answered. */
static const char *reason_to_wait(const struct bulletin_copy *copy)
{
    switch (copy->phase) {
    case BULLETIN_STARTING:
        return "starting";
    case BULLETIN_DRAINING:
        return "draining";
    case BULLETIN_STOPPING:
        return "stopping";
    default:
        return count_ready(copy) > 0 ? NULL : "no process is ready";
    }
}

/* While the master is silent what it said last counts: its processes serve without it. But nobody
 * is turned away by an old word while it says a new one. */
static const char *reason_now(struct observer_environment *environment)
{
    uint32_t patience_ms = reason_to_wait(environment->last_heard) != NULL ? MOMENT_MS : 0;
    if (bulletin_await(environment->bulletin, environment->reading, patience_ms)) {
        struct bulletin_copy *older = environment->last_heard;
        environment->last_heard = environment->reading;
        environment->reading = older;
    }
    return reason_to_wait(environment->last_heard);
}

static void ready(const struct http_request *request, struct http_response *response,
                  struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    const char *reason = reason_now(data);
    http_response_text(response, reason == NULL ? 200 : 503, reason == NULL ? "ready" : reason);
}

void health_register(struct router *router, struct observer_environment *environment)
{
    observer_route(router, environment,
                   &(struct route){.path = "/live",
                                   .methods = METHOD_BIT(METHOD_GET),
                                   .handler = live,
                                   .data = environment});
    observer_route(router, environment,
                   &(struct route){.path = "/ready",
                                   .methods = METHOD_BIT(METHOD_GET),
                                   .handler = ready,
                                   .data = environment});
}
