#include "server/setup/risks.h"

#include "common/base/log.h"

#include <unistd.h>

struct risk {
    bool (*is_there)(const struct server *server);
    const char *text;
};

static bool stays_root(const struct server *server)
{
    return geteuid() == 0 && !server->privileges.changes;
}

static bool is_exposed(const struct server *server)
{
    return !server->is_local;
}

static bool exposes_faults(const struct server *server)
{
    return server->config.faults && is_exposed(server);
}

static bool exposes_bench(const struct server *server)
{
    return server->config.bench == CONFIG_BENCH_ON && is_exposed(server);
}

static bool is_observed_by_strangers(const struct server *server)
{
    return server->observing.count > 0 && !listeners_are_loopback(&server->observing);
}

static const struct risk risks[] = {
    {stays_root, "serving processes stay root: whoever takes one over has the whole machine; name "
                 "an ordinary user with --user"},
    {exposes_faults, "\"faults\" is on where not only this machine can reach the server: anybody "
                     "may crash workers and read their memory; leave --faults off"},
    {exposes_bench, "\"bench\" is on where not only this machine can reach the server: a few "
                    "requests to /sleep keep all workers busy; leave --bench at auto"},
    {is_observed_by_strangers, "\"observe\" is where not only this machine can reach it: anybody "
                               "there can see what is requested, and by whom; take a loopback "
                               "address, or keep others out"},
};

static unsigned traits_of(const struct server *server)
{
    const struct plan *plan = &server->plan;
    return (plan->dispatch[0] != '\0' ? CONFIG_HAS_THREADS : 0) |
           (plan->pool_threads > 0 ? CONFIG_HAS_POOL : 0) |
           (plan->processes * plan->loops > 1 ? CONFIG_HAS_LOOPS : 0);
}

static uint64_t idle_settings(const struct server *server)
{
    return config_idle_settings(&server->config, traits_of(server));
}

static void describe_idle(const struct server *server, unsigned index, struct error *text)
{
    config_describe_idle(&server->config, traits_of(server), index, text);
}

void risks_tell(const struct server *server, const struct server *predecessor)
{
    struct error text;
    for (size_t i = 0; i < sizeof(risks) / sizeof(risks[0]); i++) {
        if (risks[i].is_there(server) && (predecessor == NULL || !risks[i].is_there(predecessor))) {
            log_write(LOG_WARN, "%s", risks[i].text);
        }
    }
    uint64_t idle = idle_settings(server);
    if (predecessor != NULL) {
        idle &= ~idle_settings(predecessor);
    }
    for (unsigned i = 0; idle != 0; i++, idle >>= 1) {
        if ((idle & 1) != 0) {
            describe_idle(server, i, &text);
            log_write(LOG_WARN, "%s", text.text);
        }
    }
}

void risks_print(const struct server *server, FILE *out)
{
    struct error text;
    uint64_t idle = idle_settings(server);
    for (unsigned i = 0; idle != 0; i++, idle >>= 1) {
        if ((idle & 1) != 0) {
            describe_idle(server, i, &text);
            fprintf(out, "%s: warning: %s\n", server->kind->name, text.text);
        }
    }
}
