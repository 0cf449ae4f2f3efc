#include "server/supervise/bootstrap.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/supervise/health_check.h"
#include "server/supervise/master.h"
#include "server/supervise/stop_signals.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One line: cause and fix. */
static bool __attribute__((format(printf, 2, 3)))
fail(const struct server_kind *kind, const char *format, ...)
{
    char text[CONFIG_ERROR_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: %s\n", kind->name, text);
    return false;
}

/* ---- What a server needs before its first process ---- */

/* The sample document root: beside an installed binary, or in the source tree of a fresh build. */
static const char *bundled_root(char path[PATH_MAX])
{
    char binary[PATH_MAX];
    ssize_t bytes = readlink("/proc/self/exe", binary, sizeof(binary) - 1);
    if (bytes > 0) {
        binary[bytes] = '\0';
        int length = snprintf(path, PATH_MAX, "%s/../share/twinhttpd/www", dirname(binary));
        if (length > 0 && length < PATH_MAX && access(path, R_OK | X_OK) == 0) {
            return path;
        }
    }
    return TWINHTTPD_SOURCE_ROOT;
}

static bool open_root(const struct server_kind *kind, struct server *server)
{
    char bundled[PATH_MAX];
    const char *root = server->config->root;
    if (root == NULL) {
        root = bundled_root(bundled);
    }
    server->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (server->root_fd < 0) {
        return fail(kind, "cannot open the document root %s: %s; name a directory with --root",
                    root, strerror(errno));
    }
    struct open_how how = {.flags = O_PATH, .resolve = RESOLVE_BENEATH};
    long fd = syscall(SYS_openat2, server->root_fd, ".", &how, sizeof(how));
    if (fd < 0) {
        return fail(kind, "cannot search the document root %s: %s; %s", root, strerror(errno),
                    errno == ENOSYS ? "Linux 5.6 or later is needed (openat2)"
                                    : "check its permissions");
    }
    close((int)fd);
    return true;
}

static bool open_logs(const struct server_kind *kind, struct server *server)
{
    const struct config *config = server->config;
    log_set_level(config->log_level);
    if (!log_open(config->error_log)) {
        return fail(kind, "cannot open the error log %s: %s; choose another with --error-log",
                    config->error_log, strerror(errno));
    }
    if (config->access_log == NULL) {
        return true;
    }
    server->access_log_fd =
        open(config->access_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (server->access_log_fd < 0) {
        return fail(kind, "cannot open the access log %s: %s; choose another with --access-log",
                    config->access_log, strerror(errno));
    }
    return true;
}

static bool open_listener(const struct server_kind *kind, struct server *server)
{
    char error[LISTENER_ERROR_BYTES];
    bool reuseport = server->config->accept == CONFIG_ACCEPT_REUSEPORT;
    size_t count = reuseport ? (size_t)server->plan.processes * server->plan.loops : 1;
    if (!listener_open(&server->listener, server->config->listen, reuseport, count, error)) {
        return fail(kind, "%s", error);
    }
    return true;
}

/* The cell that every worker sees: in the prefork models it lies in a mapping that all processes
 * share and its lock works between them; in one process plain memory and a plain lock do. */
static bool open_shared_cell(const struct server_kind *kind, struct server *server)
{
    bool processes = kind->server == CONFIG_SERVER_PREFORK;
    void *memory = mmap(NULL, sizeof(struct shared_cell), PROT_READ | PROT_WRITE,
                        (processes ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return fail(kind, "cannot map memory: %s; free some", strerror(errno));
    }
    server->shared_cell = memory;
    int error = shared_cell_init(server->shared_cell,
                                 processes ? SHARED_CELL_PROCESSES : SHARED_CELL_THREADS);
    return error == 0 ||
           fail(kind, "cannot make a shared lock: %s; check the C library", strerror(error));
}

static bool open_scoreboard(const struct server_kind *kind, struct server *server)
{
    const struct plan *plan = &server->plan;
    struct scoreboard *scoreboard =
        scoreboard_create(plan->processes * plan->slots_per_process, plan->slots_per_process);
    if (scoreboard == NULL) {
        return fail(kind, "cannot map the scoreboard: %s; ask for fewer workers or threads",
                    strerror(errno));
    }
    snprintf(scoreboard->server, sizeof(scoreboard->server), "%s", kind->name);
    snprintf(scoreboard->version, sizeof(scoreboard->version), "%s", TWINHTTPD_VERSION);
    snprintf(scoreboard->model, sizeof(scoreboard->model), "%s", plan->model);
    snprintf(scoreboard->dispatch, sizeof(scoreboard->dispatch), "%s", plan->dispatch);
    server->scoreboard = scoreboard;
    return true;
}

static bool open_server(const struct server_kind *kind, struct server *server)
{
    char error[PLAN_ERROR_BYTES];
    if (!plan_make(&server->plan, server->config, kind->server, error)) {
        return fail(kind, "%s", error);
    }
    return open_root(kind, server) && open_scoreboard(kind, server) &&
           open_shared_cell(kind, server) && open_listener(kind, server) && open_logs(kind, server);
}

static void close_server(struct server *server)
{
    listener_close(&server->listener);
    scoreboard_destroy(server->scoreboard);
    if (server->shared_cell != NULL) {
        munmap(server->shared_cell, sizeof(struct shared_cell));
    }
    if (server->root_fd >= 0) {
        close(server->root_fd);
    }
    if (server->access_log_fd >= 0) {
        close(server->access_log_fd);
    }
}

/* ---- Running ---- */

static void announce(struct server *server)
{
    const struct scoreboard *scoreboard = server->scoreboard;
    const struct config *config = server->config;
    const char *address = server->listener.address;
    char shape[160];
    plan_describe(&server->plan, shape, sizeof(shape));
    printf("%s: listening on http://%s (model %s, %s, %s pid %d)\n", scoreboard->server, address,
           scoreboard->model, shape, config->bare ? "process" : "master", (int)getpid());
    printf("  documents  %s\n", config->root != NULL ? config->root : "the bundled sample pages");
    printf("  status     http://%s/status\n", address);
    printf("  faults     %s\n",
           config->faults ? "on: /fault/... can be used to crash workers" : "off (--faults on)");
    printf("  stop       kill -TERM %d   (fast; Ctrl-C does the same)\n", (int)getpid());
    printf("  drain      kill -QUIT %d   (answers what is under way first)\n", (int)getpid());
    fflush(stdout);
}

static void announce_bare(void *data)
{
    announce(data);
}

/* Without a master: a crash ends the service, and nobody counts what it cost. */
static int run_bare(struct server *server, process_run_fn run)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, 0};
    atomic_store(&server->scoreboard->generation, 1);
    struct process process = {
        .server = server,
        .generation = 1,
        .signal_fd = stop_signals_open(signals),
        .ready = announce_bare,
        .ready_data = server,
    };
    if (process.signal_fd < 0) {
        log_write(LOG_ERROR, "cannot listen for signals: %m; raise the limit of open files");
        return 1;
    }
    int status = run(&process);
    close(process.signal_fd);
    return status == 0 ? 0 : 1;
}

static int run_server(const struct server_kind *kind, const struct config *config)
{
    struct server server = {.config = config, .root_fd = -1, .access_log_fd = -1};
    int status = 1;
    stop_signals_block();
    if (open_server(kind, &server)) {
        process_run_fn run = server.plan.dispatch[0] == '\0' ? kind->run_single : kind->run_threads;
        status = config->bare ? run_bare(&server, run) : master_run(&server, run, announce);
    }
    close_server(&server);
    return status;
}

int bootstrap_main(const struct server_kind *kind, int argc, char **argv)
{
    struct config config;
    char error[CONFIG_ERROR_BYTES];
    int status = 0;
    switch (config_load(&config, kind->server, argc, argv, error)) {
    case CONFIG_INVALID:
        fail(kind, "%s", error);
        return 1;
    case CONFIG_HELP:
        config_print_help(stdout, kind->server);
        break;
    case CONFIG_VERSION:
        printf("%s %s\n", kind->name, TWINHTTPD_VERSION);
        break;
    case CONFIG_TEST:
        printf("%s: the configuration is good\n", kind->name);
        break;
    case CONFIG_HEALTH_CHECK:
        status = health_check(config.listen);
        break;
    case CONFIG_RUN:
        status = run_server(kind, &config);
        break;
    }
    config_free(&config);
    return status;
}
