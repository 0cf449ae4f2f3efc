#include "server/main/bootstrap.h"

#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/base/streams.h"
#include "server/listen/lookup.h"
#include "server/main/health_check.h"
#include "server/main/rehearsal.h"
#include "server/master/master.h"
#include "server/process/confinement.h"
#include "server/process/process.h"
#include "server/setup/inheritance.h"
#include "server/setup/pid_file.h"
#include "server/setup/program.h"
#include "server/setup/risks.h"
#include "server/setup/service_manager.h"
#include "server/setup/signals.h"
#include "server/setup/stacks.h"
#include "server/setup/terminal.h"

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PRINTED_BYTES = PATH_MAX + 1024 };

/* Standard output may be a pipe that nobody reads. */
static void __attribute__((format(printf, 2, 3))) print(int fd, const char *format, ...)
{
    char text[PRINTED_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    size_t bytes = wanted < 0 ? 0 : (size_t)wanted;
    log_file_append(fd, text, bytes < sizeof(text) ? bytes : sizeof(text) - 1);
    explicit_bzero(text, sizeof(text)); /* a token is not for those who are forked later */
}

static const char *describe_bench(const struct server *server)
{
    bool automatic = server->config.bench == CONFIG_BENCH_AUTO;
    if (server_has_bench(server)) {
        return automatic ? "on: /sleep, /cpu... answer, as only this machine can ask (--bench off)"
                         : "on: /sleep, /cpu... answer (--bench off)";
    }
    return automatic ? "off, as not only this machine can ask (--bench on)" : "off (--bench on)";
}

/* Where there is more to say than the first line has said. */
static void announce_addresses(const struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        const struct endpoint *bound = &listeners->list[i].bound;
        char address[ENDPOINT_TEXT_BYTES];
        endpoint_format(bound, address);
        if (listeners->count > 1 || endpoint_note(bound)[0] != '\0') {
            print(STDOUT_FILENO, "  address    %s%s\n", address, endpoint_note(bound));
        }
    }
}

static void announce_observer(const struct server *server, const char *token)
{
    char address[ENDPOINT_TEXT_BYTES];
    if (server->observing.count == 0) {
        print(STDOUT_FILENO, "  observe    off (%s)\n",
              server->config.bare ? "it takes a master"
                                  : "--observe 127.0.0.1:8090: a page that shows all this live");
        return;
    }
    endpoint_format_for_url(&server->observing.list[0].bound, address);
    print(STDOUT_FILENO, "  observe    http://%s/%s%s\n", address, token != NULL ? "#token=" : "",
          token != NULL ? token : "");
}

static void announce_all(const struct server *server, const char *token)
{
    const struct scoreboard *scoreboard = server->scoreboard;
    const struct config *config = &server->config;
    const struct listeners *listeners = &server->listeners;
    char address[ENDPOINT_TEXT_BYTES];
    char shape[160];
    endpoint_format_for_url(&listeners->list[0].bound, address);
    plan_describe(&server->plan, shape, sizeof(shape));
    print(STDOUT_FILENO, "%s: listening on http://%s (model %s, %s, %s pid %d)\n",
          scoreboard->server, address, scoreboard->model, shape,
          config->bare ? "process" : "master", (int)getpid());
    announce_addresses(listeners);
    print(STDOUT_FILENO, "  documents  %s\n",
          config->root != NULL ? config->root : "the bundled sample pages");
    announce_observer(server, token);
    print(STDOUT_FILENO,
          "  bench      %s\n"
          "  faults     %s\n"
          "  stop       kill -TERM %d   (fast; Ctrl-C does the same)\n"
          "  drain      kill -QUIT %d   (answers what is under way first)\n",
          describe_bench(server),
          config->faults ? "on: /fault/... can be used to crash workers" : "off (--faults on)",
          (int)getpid(), (int)getpid());
    risks_tell(server, NULL);
}

static void announce(const struct server *server, const char *token, enum announcement what)
{
    if (what == ANNOUNCE_SERVER) {
        announce_all(server, token);
    } else {
        announce_observer(server, token);
    }
}

struct bare {
    struct server *server;
    struct service_manager service_manager;
};

static void announce_bare(void *data)
{
    char status[SERVICE_MANAGER_STATUS_BYTES];
    struct bare *bare = data;
    announce(bare->server, NULL, ANNOUNCE_SERVER);
    server_describe(bare->server, status, sizeof(status));
    service_manager_ready(&bare->service_manager, status);
}

/* Without a master: a crash ends the service, nobody counts what it cost, and the service manager's
 * watchdog gets no signs of life. */
static int run_bare(struct server *server)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, 0};
    struct bare bare = {.server = server};
    struct process process = {
        .server = server,
        .first_slot = ledger_claim(server->ledger, server->plan.slots_per_process),
        .generation = ledger_next_generation(server->ledger),
        .given_up = PROCESS_LISTENERS(server->listeners.count), /* they end with this process */
        .signal_fd = signals_open(signals),
        .ready = announce_bare,
        .ready_data = &bare,
    };
    if (process.signal_fd < 0) {
        log_write(LOG_ERROR, "cannot listen for signals: %m; raise the limit of open files");
        return 1;
    }
    service_manager_open(&bare.service_manager);
    struct estate *nothing = NULL; /* nobody comes after it */
    int status = confinement_enter(server, &nothing) ? server->run(&process) : 1;
    service_manager_close(&bare.service_manager);
    close(process.signal_fd);
    return status == 0 ? 0 : 1;
}

/* Where to listen. What a service manager or the program before passes wins over the setting, or is
 * found by its address. */
static bool find_addresses(const struct config *config, struct endpoints *endpoints,
                           bool *interrupted, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, 0};
    *endpoints = (struct endpoints){0};
    *interrupted = false;
    if (service_manager_passes_sockets()) {
        return true;
    }
    int stop_fd = signals_open(signals);
    bool found = lookup_wait(config->listen, endpoints, stop_fd, interrupted, error);
    if (stop_fd >= 0) {
        close(stop_fd);
    }
    return found;
}

static bool open_server(struct server *server, const struct server_origin *origin,
                        struct config *config, const struct endpoints *endpoints,
                        struct error *error)
{
    signals_end_at_once();
    bool opened = server_open(server, origin->kind, config, endpoints, error);
    signals_wait_again();
    return opened;
}

/* A bare server leaves the pid file: it has given up what removing it may need. Nobody is misled,
 * since the lock on it ends with the process. What it has on the stack must come behind the raising
 * of the stack's limit: inlined, it would be there before. */
__attribute__((noinline)) static int run_server(const struct server_origin *origin,
                                                struct config *config)
{
    struct server server;
    struct endpoints endpoints;
    struct error error;
    bool interrupted = false;
    signals_block();
    log_file_own(STDOUT_FILENO);
    log_file_own(STDERR_FILENO);
    log_share_losses();
    if (!config->bare) {
        confinement_hide(config->seccomp); /* after an upgrade there are workers already */
    }
    if (!pid_file_create(config->pid_file, inheritance_is_offered(), &error) ||
        !find_addresses(config, &endpoints, &interrupted, &error) ||
        !open_server(&server, origin, config, &endpoints, &error)) {
        pid_file_remove();
        print(STDERR_FILENO, "%s: %s\n", origin->kind->name, error.text);
        return interrupted ? 0 : 1;
    }
    bool bare = server.config.bare;
    int status = bare ? run_bare(&server) : master_run(&server, origin, announce);
    if (!bare) {
        pid_file_remove();
    }
    server_close(&server);
    server_unmap(&server);
    return status;
}

static int try_config(const struct server_kind *kind, struct config *config)
{
    struct error error;
    if (!rehearsal_run(kind, config, stdout, &error)) {
        fprintf(stderr, "%s: %s\n", kind->name, error.text);
        return 1;
    }
    printf("%s: the configuration is good\n", kind->name);
    return 0;
}

static int run_program(const struct server_kind *kind, struct config *config, int argc, char **argv)
{
    struct server_origin origin = {.kind = kind, .argc = argc, .argv = argv};
    terminal_leave();
    stacks_ensure();
    if (!program_find(argv[0], origin.program)) {
        origin.program[0] = '\0';
    }
    return run_server(&origin, config);
}

int bootstrap_main(const struct server_kind *kind, int argc, char **argv)
{
    struct config config;
    struct error error;
    int status = 0;
    if (!streams_fill()) {
        return 1; /* there is nowhere to say why */
    }
    signals_reset();
    switch (config_load(&config, kind->server, argc, argv, &error)) {
    case CONFIG_INVALID:
        fprintf(stderr, "%s: %s\n", kind->name, error.text);
        return 1;
    case CONFIG_HELP:
        config_print_help(stdout, kind->server);
        break;
    case CONFIG_VERSION:
        printf("%s %s\n", kind->name, TWINHTTPD_VERSION);
        break;
    case CONFIG_TEST:
        status = try_config(kind, &config);
        break;
    case CONFIG_HEALTH_CHECK:
        status = health_check(config.listen);
        break;
    case CONFIG_RUN:
        status = run_program(kind, &config, argc, argv);
        break;
    }
    config_free(&config);
    return status;
}
