#include "server/setup/plan.h"

#include "common/base/cpus.h"
#include "common/net/endpoint.h"
#include "server/balance/inboxes.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum {
    PROCESS_FDS = 24,       /* standard streams, root, logs, signals, what libraries open */
    LOOP_FDS = 4,           /* epoll, wake-up, listening socket */
    LEAST_CONNECTIONS = 16, /* a loop with less is not worth starting */
    LEAST_CACHED_FILES = 4,
    MOST_CACHED_FILES = 512,
    MOST_CONNECTIONS = 65536, /* of a loop that nobody has set a limit for */
    MORE_PROCESSES = 16       /* that may be added while the server runs */
};

static uint32_t or_cpus(uint64_t wanted)
{
    return wanted != 0 ? (uint32_t)wanted : cpus_available();
}

static void plan_threads(struct plan *plan, const struct config *config, uint32_t threads)
{
    if (config->dispatch == CONFIG_DISPATCH_CONNECTION) {
        plan->dispatch = "connection";
        plan->loops = threads;
        return;
    }
    plan->dispatch = "request";
    plan->loops = or_cpus(config->loops);
    plan->pool_threads = threads;
}

static void plan_model(struct plan *plan, const struct config *config, enum config_server server)
{
    *plan = (struct plan){.processes = 1, .loops = 1, .dispatch = ""};
    if (server == CONFIG_SERVER_THREADPOOL) {
        plan->model = PLAN_THREADPOOL;
        plan_threads(plan, config, or_cpus(config->threads));
    } else if (config->threads > 0) {
        plan->model = PLAN_HYBRID;
        plan->processes = or_cpus(config->workers);
        plan_threads(plan, config, (uint32_t)config->threads);
    } else {
        plan->model = PLAN_PREFORK;
        plan->processes = or_cpus(config->workers);
    }
    if (config->on_stuck == CONFIG_STUCK_SPARE) {
        plan->spare_threads = (uint32_t)config->max_spare_threads;
    }
    plan->slots_per_process = plan->loops + plan->pool_threads + plan->spare_threads;
    plan->slot_capacity = 2 * (plan->processes + MORE_PROCESSES) * plan->slots_per_process;
}

/* The soft limit is only a default that old programs with select() needed. */
static uint64_t raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            return limit.rlim_max;
        }
    }
    return limit.rlim_cur;
}

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* How many addresses "listen" may stand for; what a name does is not known here, but mostly it is
 * no more than one of IPv4 and one of IPv6. */
static uint64_t count_addresses(const char *listen)
{
    uint64_t count = 0;
    while (*listen != '\0') {
        size_t bytes = strcspn(listen, ",");
        char address[ENDPOINT_TEXT_BYTES] = "";
        struct endpoint endpoint;
        if (bytes < sizeof(address)) {
            memcpy(address, listen, bytes);
        }
        count += endpoint_parse(&endpoint, address) ? 1 : 2;
        listen += bytes + (listen[bytes] == ',');
    }
    return count;
}

static bool plan_descriptors(struct plan *plan, const struct config *config, struct error *error)
{
    uint64_t limit = raise_descriptor_limit();
    uint64_t listening = count_addresses(config->listen);
    if (config->accept == CONFIG_ACCEPT_REUSEPORT) {
        listening *= (uint64_t)plan->processes * plan->loops;
    }
    uint64_t inboxes = config->rebalance ? inboxes_descriptors(plan->processes * plan->loops) : 0;
    uint64_t fixed = PROCESS_FDS + listening + inboxes + (uint64_t)plan->loops * LOOP_FDS;
    uint64_t threads = plan->slots_per_process;
    uint64_t connections =
        config->max_connections != 0 ? config->max_connections : LEAST_CONNECTIONS;
    uint64_t needed = fixed + threads * LEAST_CACHED_FILES + plan->loops * connections;
    if (needed > limit) {
        return error_set(
            error,
            "too few file descriptors: this configuration needs %llu in a process and the "
            "limit is %llu; raise it with ulimit -n, or ask for fewer threads or connections",
            (unsigned long long)needed, (unsigned long long)limit);
    }
    plan->file_cache_entries =
        (size_t)clamp((limit - fixed) / 4 / threads, LEAST_CACHED_FILES, MOST_CACHED_FILES);
    uint64_t left = limit - fixed - threads * plan->file_cache_entries;
    if (left / plan->loops < connections) { /* connections come before cached files */
        plan->file_cache_entries = LEAST_CACHED_FILES;
        left = limit - fixed - threads * LEAST_CACHED_FILES;
    }
    plan->max_connections = config->max_connections != 0
                                ? config->max_connections
                                : clamp(left / plan->loops, 1, MOST_CONNECTIONS);
    plan->descriptors =
        fixed + threads * plan->file_cache_entries + plan->loops * plan->max_connections;
    return true;
}

bool plan_make(struct plan *plan, const struct config *config, enum config_server server,
               struct error *error)
{
    plan_model(plan, config, server);
    if (config->bare && config->observe != NULL) {
        return error_set(error,
                         "observe needs a master, which starts the observer and tells it what "
                         "happens; leave --bare out, or --observe off");
    }
    if (config->on_fault == CONFIG_ON_FAULT_RECOVER && plan->pool_threads == 0) {
        return error_set(
            error,
            "on_fault recover needs pool threads, since a thread that has an event loop cannot "
            "be replaced; add --dispatch request with threads, or use --on-fault die");
    }
    if (plan->spare_threads > 0 && plan->pool_threads == 0) {
        return error_set(
            error,
            "on_stuck spare needs pool threads, since the connections of an event loop that is "
            "stuck cannot be served by another; add --dispatch request with threads, or use "
            "--on-stuck replace");
    }
    return plan_descriptors(plan, config, error);
}

const char *plan_model_name(enum plan_model model)
{
    static const char *const names[] = {
        [PLAN_PREFORK] = "prefork", [PLAN_THREADPOOL] = "threadpool", [PLAN_HYBRID] = "hybrid"};
    return names[model];
}

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

void plan_describe(const struct plan *plan, char *out, size_t bytes)
{
    char threads[96] = "";
    if (plan->pool_threads > 0) {
        snprintf(threads, sizeof(threads), "%u thread%s, %u loop%s, request dispatch",
                 plan->pool_threads, plural(plan->pool_threads), plan->loops, plural(plan->loops));
    } else if (plan->dispatch[0] != '\0') {
        snprintf(threads, sizeof(threads), "%u thread%s, connection dispatch", plan->loops,
                 plural(plan->loops));
    }
    if (plan->model == PLAN_THREADPOOL) {
        snprintf(out, bytes, "%s", threads);
        return;
    }
    snprintf(out, bytes, "%u worker%s%s%s", plan->processes, plural(plan->processes),
             threads[0] != '\0' ? " x " : "", threads);
}
