#include "server/observe/observer.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/net/worker.h"
#include "common/scoreboard/crash_story.h"
#include "server/crash/crash_report.h"
#include "server/crash/crash_teller.h"
#include "server/observe/commands.h"
#include "server/observe/guard.h"
#include "server/observe/petitions.h"
#include "server/observe/telling.h"
#include "server/process/confinement.h"
#include "server/process/descriptor_table.h"
#include "server/process/process.h"
#include "server/setup/signals.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    DESCRIPTORS = OBSERVER_CONNECTIONS + OBSERVER_DETACHED + 64,
    LONGEST_BODY_BYTES = 16384,
    FIRST_WORD_MS = 5000,   /* should the master be in the middle of one, or stopped there */
    LAST_WORDS_MS = 50,     /* what is being answered when it is told to end */
    HANDING_OVER_MS = 1000, /* who is connected may ask once more, while another one serves */
};

struct observer {
    struct observer_environment environment;
    struct scoreboard *own; /* its one slot is not the server's */
    struct handler_context context;
    struct config config; /* the server's, with limits of its own; borrowed */
    struct router *router;
    struct worker *worker;
    int signal_fd;
    struct event signal_event;
    struct event end_event;
    struct event retired_event;
    struct event beat_event;
    struct bulletin *bulletin;
};

/* ---- Routes ---- */

static void run_guarded(const struct http_request *request, struct http_response *response,
                        struct handler_context *context, void *data)
{
    const struct observer_route *route = data;
    const char *refusal = guard_refusal(request, route->environment->server->config.observe_names);
    guard_add_headers(response);
    if (refusal != NULL) {
        http_response_text(response, 403, refusal);
        return;
    }
    route->handler(request, response, context, route->data);
}

void observer_route(struct router *router, struct observer_environment *environment,
                    const struct route *route)
{
    CHECK(environment->route_count < OBSERVER_ROUTES_MOST);
    struct observer_route *guarded = &environment->routes[environment->route_count++];
    struct route outer = *route;
    *guarded = (struct observer_route){environment, route->handler, route->data};
    outer.handler = run_guarded;
    outer.data = guarded;
    outer.cacheable = false;
    router_add(router, &outer);
}

static void find_nothing(const struct http_request *request, struct http_response *response,
                         struct handler_context *context, void *data)
{
    (void)request;
    (void)context;
    (void)data;
    http_response_error(response, 404);
}

#define REGISTER(name) name##_register(observer->router, &observer->environment);

static void register_routes(struct observer *observer)
{
    observer->router = router_create();
    OBSERVER_ROUTES(REGISTER)
    observer_route(observer->router, &observer->environment,
                   &(struct route){.methods = METHOD_BIT(METHOD_GET) | METHOD_BIT(METHOD_POST),
                                   .handler = find_nothing});
}

/* A command waits for the master's answer; everything else is answered at once. */
static enum dispatch_result take(void *data, struct http_exchange *exchange)
{
    struct observer *observer = data;
    return commands_take(&observer->environment, exchange) ? DISPATCH_TAKEN : DISPATCH_INLINE;
}

/* ---- Its end ---- */

static void stop(struct observer *observer)
{
    worker_stop(observer->worker);
}

static void on_end(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    stop(argument);
}

/* Not before what is being said has been said. */
static void end_soon(struct observer *observer)
{
    const struct timeval delay = {.tv_usec = LAST_WORDS_MS * 1000};
    event_add(&observer->end_event, &delay);
}

/* The loop retires in a turn of its own. */
static void on_retired(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct observer *observer = argument;
    if (atomic_load(&observer->context.slot->state) == SLOT_DRAINING) {
        bulletin_retire(observer->bulletin, (int32_t)getpid());
        event_del(&observer->retired_event);
    }
}

static void on_signal(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct observer *observer = argument;
    const struct timeval moment = {.tv_usec = 1000};
    int number;
    while ((number = signals_next(fd)) != 0) {
        if (number == SIGUSR1) {
            server_reopen_logs(observer->environment.server);
        } else if (number == SIGUSR2) {
            worker_retire(observer->worker);
            event_add(&observer->retired_event, &moment);
        } else {
            end_soon(observer);
        }
    }
}

static void on_beat(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    const struct observer *observer = argument;
    bulletin_acknowledge(observer->bulletin, clock_monotonic_ms());
}

static void on_master_gone(void *data)
{
    end_soon(data);
}

/* ---- A crash ---- */

/* It has no slot in which its master would find the story. */
static void tell_crash(void *data)
{
    const struct observer *observer = data;
    struct crash_story story;
    deaths_read_crash(observer->own, 0, 1, &story);
    if (observer->config.seccomp == CONFIG_SECCOMP_ON) { /* may not fork */
        crash_log(&story, "observer");
    } else {
        crash_teller_run(&story, "observer");
    }
}

/* ---- Its making ---- */

static void name_boot(char boot[OBSERVER_BOOT_BYTES])
{
    uint64_t number = clock_monotonic_ns(); /* should there be nothing better */
    ssize_t ignored = getrandom(&number, sizeof(number), GRND_NONBLOCK);
    (void)ignored;
    snprintf(boot, OBSERVER_BOOT_BYTES, "%016llx", (unsigned long long)number);
}

/* The check of the parent closes the gap before it is to end with its master. */
static bool confine(const struct observer_start *start)
{
    if (!scoreboard_seal(start->server->scoreboard) || !bulletin_seal(start->bulletin)) {
        log_write(LOG_ERROR, "cannot make memory read-only: %m");
        return false;
    }
    descriptor_table_limit(DESCRIPTORS);
    return confinement_observe(start->server) && getppid() == start->master_pid;
}

static void settle_config(struct observer *observer, const struct server *server)
{
    struct config *config = &observer->config;
    *config = server->config;
    config->drain_timeout_ms = HANDING_OVER_MS;
    config->max_connections_per_client = 0;
    if (config->max_body_bytes > LONGEST_BODY_BYTES) {
        config->max_body_bytes = LONGEST_BODY_BYTES;
    }
}

static void enter_slot(struct observer *observer)
{
    struct worker_slot *slot = &observer->own->slots[0];
    observer->context = (struct handler_context){.slot = slot};
    crash_report_open(&slot->crash, tell_crash, observer);
    slot_enter(slot, 0, 1, SLOT_LOOP);
    crash_report_enter_thread(0);
}

static bool create_worker(struct observer *observer, const struct server *server)
{
    const struct worker_options options = {
        .config = &observer->config,
        .router = observer->router,
        .context = &observer->context,
        .listen_fds = {listener_fd(&server->observing.list[0], 0)},
        .listen_count = 1,
        .access_log_fd = -1,
        .max_connections = OBSERVER_CONNECTIONS,
        .dispatch = {.take = take, .data = observer},
    };
    observer->worker = worker_create(&options);
    return observer->worker != NULL;
}

static void watch(struct observer *observer)
{
    const struct timeval beat = {.tv_usec = BULLETIN_BEAT_MS * 1000};
    struct event_base *base = observer->environment.base;
    event_assign(&observer->beat_event, base, -1, EV_PERSIST, on_beat, observer);
    event_add(&observer->beat_event, &beat);
    event_assign(&observer->signal_event, base, observer->signal_fd, EV_READ | EV_PERSIST,
                 on_signal, observer);
    event_assign(&observer->end_event, base, -1, 0, on_end, observer);
    event_assign(&observer->retired_event, base, -1, EV_PERSIST, on_retired, observer);
    event_add(&observer->signal_event, NULL);
}

/* What needs the event base. */
static bool begin(struct observer *observer, int petition_fd)
{
    struct observer_environment *environment = &observer->environment;
    environment->base = worker_event_base(observer->worker);
    watch(observer);
    if (petition_fd >= 0) {
        environment->petitions =
            petitions_create(petition_fd, environment->base, on_master_gone, observer);
    }
    return telling_begin(environment);
}

static bool open_observer(struct observer *observer, const struct observer_start *start)
{
    static const int signals[] = {SIGTERM, SIGUSR1, SIGUSR2, 0};
    struct observer_environment *environment = &observer->environment;
    *environment = (struct observer_environment){
        .server = start->server,
        .scoreboard = start->server->scoreboard,
        .bulletin = start->bulletin,
        .carried = start->carried,
        .last_heard = memory_alloc_zeroed(1, sizeof(struct bulletin_copy)),
        .reading = memory_alloc_zeroed(1, sizeof(struct bulletin_copy)),
        .started_ms = clock_monotonic_ms(),
    };
    observer->bulletin = start->bulletin;
    bulletin_await(start->bulletin, environment->last_heard, FIRST_WORD_MS);
    name_boot(environment->boot);
    settle_config(observer, start->server);
    observer->own = scoreboard_create(1);
    observer->signal_fd = signals_open(signals);
    if (observer->own == NULL || observer->signal_fd < 0) {
        log_write(LOG_ERROR, "cannot begin to observe: %m; raise the limit of open files");
        return false;
    }
    enter_slot(observer);
    register_routes(observer);
    return create_worker(observer, start->server);
}

static void close_observer(struct observer *observer)
{
    event_del(&observer->signal_event);
    event_del(&observer->end_event);
    event_del(&observer->retired_event);
    event_del(&observer->beat_event);
    petitions_destroy(observer->environment.petitions);
    worker_cut(observer->worker); /* some of them are to become viewers */
    telling_end(&observer->environment);
    worker_destroy(observer->worker);
    router_destroy(observer->router);
    free(observer->environment.last_heard);
    free(observer->environment.reading);
}

int observer_run(const struct observer_start *start)
{
    struct observer observer = {0};
    if (!confine(start) || !open_observer(&observer, start)) {
        return PROCESS_EXIT_BOOT_FAILED;
    }
    if (!begin(&observer, start->petition_fd)) {
        return PROCESS_EXIT_BOOT_FAILED;
    }
    slot_set_state(observer.context.slot, SLOT_READY);
    worker_run(observer.worker);
    slot_set_state(observer.context.slot, SLOT_ENDED);
    close_observer(&observer);
    return 0;
}
