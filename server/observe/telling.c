/* The routes that tell what the server does: GET /api/v1/state, /metrics and /events. */
#include "server/observe/telling.h"

#include "common/base/memory.h"
#include "common/http/response_json.h"
#include "server/observe/metrics.h"
#include "server/observe/sampler.h"

#include <stdlib.h>
#include <unistd.h>

static void state(const struct http_request *request, struct http_response *response,
                  struct handler_context *context, void *data)
{
    const struct observer_environment *environment = data;
    struct json_writer json;
    (void)request;
    (void)context;
    response->content_type = "application/json";
    json_init(&json, &response->text);
    state_json_put(&json, sampler_look(environment->sampler));
}

static void metrics(const struct http_request *request, struct http_response *response,
                    struct handler_context *context, void *data)
{
    const struct observer_environment *environment = data;
    const enum metrics_format format =
        metrics_choose(http_request_field_named(request, SPAN("Accept")));
    (void)context;
    response->content_type = metrics_content_type(format);
    metrics_put(&response->text, format, sampler_look(environment->sampler),
                sampler_latency(environment->sampler));
}

/* A client that wants to watch, until its connection is given to the viewers. */
struct arrival {
    struct viewers *viewers;
    size_t last_id_bytes;
    char last_id[EVENTS_NUMBER_BYTES];
};

static void arrive(void *data, int fd)
{
    struct arrival *arrival = data;
    viewers_take(arrival->viewers, fd, (struct span){arrival->last_id, arrival->last_id_bytes});
    free(arrival);
}

/* The value of "last=..." if the query is that. */
static struct span last_of_query(struct span query)
{
    const struct span name = SPAN("last=");
    if (query.len <= name.len || memcmp(query.ptr, name.ptr, name.len) != 0) {
        return (struct span){NULL, 0};
    }
    return (struct span){query.ptr + name.len, query.len - name.len};
}

/* What the client says that it saw last; a page that opens a stream anew cannot set a field. */
static struct span last_id_of(const struct http_request *request)
{
    const struct span field = http_request_field_named(request, SPAN("Last-Event-ID"));
    return field.len > 0 ? field : last_of_query(request->query);
}

static struct arrival *arrival_of(const struct http_request *request, struct viewers *viewers)
{
    struct arrival *arrival = memory_alloc_zeroed(1, sizeof(*arrival));
    const struct span last_id = last_id_of(request);
    arrival->viewers = viewers;
    if (last_id.len > 0 && last_id.len < sizeof(arrival->last_id)) {
        arrival->last_id_bytes = last_id.len;
        memcpy(arrival->last_id, last_id.ptr, last_id.len);
    }
    return arrival;
}

static void events(const struct http_request *request, struct http_response *response,
                   struct handler_context *context, void *data)
{
    const struct observer_environment *environment = data;
    struct viewers *viewers = sampler_viewers(environment->sampler);
    (void)context;
    if (!viewers_reserve(viewers)) {
        http_response_text(response, 503, "too many watch: 128 already");
        return;
    }
    response->content_type = "text/event-stream";
    buffer_append_span(&response->text, SPAN("retry: 500\n\n"));
    http_response_detach(response, arrive, arrival_of(request, viewers));
}

void telling_register(struct router *router, struct observer_environment *environment)
{
    static const struct {
        const char *path;
        handler_fn handler;
    } routes[] = {{"/api/v1/state", state}, {"/metrics", metrics}, {"/events", events}};
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        observer_route(router, environment,
                       &(struct route){.path = routes[i].path,
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = routes[i].handler,
                                       .data = environment});
    }
}

/* ---- What they tell of ---- */

static struct state_identity identify(const struct observer_environment *environment)
{
    const struct server *server = environment->server;
    const struct scoreboard *scoreboard = environment->scoreboard;
    struct state_identity identity = {
        .server = scoreboard->server,
        .version = scoreboard->version,
        .model = scoreboard->model,
        .dispatch = scoreboard->dispatch,
        .on_death = server->config.on_death == CONFIG_ON_DEATH_ADOPT ? "adopt" : "cut",
        .bench = server_has_bench(server),
        .faults = server->config.faults,
        .control = environment->petitions != NULL,
        .interval_ms = SAMPLER_INTERVAL_MS,
        .pid = (int32_t)getpid(),
        .started_ms = environment->started_ms,
    };
    if (server->listeners.count > 0) { /* else the server is about to end */
        endpoint_format_for_url(&server->listeners.list[0].bound, identity.listen);
    }
    return identity;
}

bool telling_begin(struct observer_environment *environment)
{
    const struct state_identity identity = identify(environment);
    environment->sampler =
        sampler_create(&(struct sampler_options){.base = environment->base,
                                                 .scoreboard = environment->scoreboard,
                                                 .bulletin = environment->bulletin,
                                                 .carried = environment->carried,
                                                 .identity = &identity,
                                                 .boot = environment->boot,
                                                 .procfs_root = "/proc"});
    return environment->sampler != NULL;
}

void telling_end(struct observer_environment *environment)
{
    sampler_destroy(environment->sampler);
}
