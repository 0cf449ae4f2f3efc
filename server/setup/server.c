#include "server/setup/server.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/base/memory.h"
#include "server/setup/inheritance.h"
#include "server/setup/service_manager.h"
#include "server/setup/user_files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOCALHOST "localhost"

/* ---- The document root ---- */

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

static bool open_root(struct server *server, struct error *error)
{
    char bundled[PATH_MAX];
    const char *root = server->config.root;
    if (root == NULL) {
        root = bundled_root(bundled);
    }
    server->root = document_root_open(root, error);
    return server->root != NULL &&
           privileges_check_root(&server->privileges, document_root_fd(server->root), root, error);
}

/* What does not keep the server from serving, but its operator has to know. */
static void warn_of_root(const struct server *server)
{
    struct error error;
    const char *path = document_root_path(server->root);
    if (!privileges_check_root_path(&server->privileges, path, &error)) {
        log_write(LOG_WARN, "%s", error.text);
        document_root_pin(server->root);
    }
    if (document_root_goes_by_steps(server->root)) {
        log_write(LOG_NOTICE, "openat2() is missing or forbidden here: names below the document "
                              "root are looked up step by step, which takes longer");
    }
}

/* ---- Logs ---- */

struct log_to_open {
    const char *path; /* NULL: none */
    const char *name;
    int fd;
    int old_fd;     /* the same, open already: is kept when a FIFO's reader is gone; -1: none */
    int user_error; /* why the serving processes' user cannot open it; 0: it can */
};

static bool open_log(const struct server *server, struct log_to_open *log, struct error *error)
{
    struct error cause;
    if (log->path == NULL) {
        return true;
    }
    log->fd = user_files_open_log(&server->privileges, log->path, &log->user_error, &cause);
    if (log->fd < 0 && log->user_error == ENXIO && log->old_fd >= 0) {
        log->fd = fcntl(log->old_fd, F_DUPFD_CLOEXEC, 0);
        log->user_error = 0;
    }
    return log->fd >= 0 ||
           error_set(error, "cannot open the %s log %s: %s; choose another with --%s-log",
                     log->name, log->path, cause.text, log->name);
}

/* What the user has opened is not given away: another's file with its name may be what it is. */
static bool give_log(const struct server *server, const struct log_to_open *log,
                     struct error *error)
{
    return log->user_error == 0 ||
           privileges_give_log(&server->privileges, log->fd, log->path, error);
}

static bool is_same_path(const char *path, const char *other)
{
    return path != NULL && other != NULL && strcmp(path, other) == 0;
}

static bool open_logs(struct server *server, const struct server *predecessor, struct error *error)
{
    struct log_to_open access = {server->config.access_log, "access", -1, -1, 0};
    struct log_to_open errors = {server->config.error_log, "error", -1, -1, 0};
    if (predecessor != NULL && is_same_path(access.path, predecessor->config.access_log)) {
        access.old_fd = predecessor->access_log_fd;
    }
    if (predecessor != NULL && is_same_path(errors.path, predecessor->config.error_log)) {
        errors.old_fd = predecessor->error_log_fd;
    }
    bool good = open_log(server, &access, error) && open_log(server, &errors, error) &&
                give_log(server, &errors, error) && give_log(server, &access, error);
    server->access_log_fd = access.fd;
    server->error_log_fd = errors.fd;
    return good;
}

void server_use_log(const struct server *server)
{
    log_use(server->error_log_fd >= 0 ? server->error_log_fd : STDERR_FILENO);
    log_set_level(server->config.log_level);
}

void server_own_logs(struct server *server)
{
    const int fds[] = {STDOUT_FILENO, STDERR_FILENO, server->error_log_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        log_file_own(fds[i]);
    }
    server->owns_access_log = log_file_own(server->access_log_fd);
}

static void reopen_log(int fd, const char *path, const char *name)
{
    if (fd >= 0 && !log_file_reopen(fd, path)) {
        log_write(LOG_ERROR, "cannot reopen the %s log %s: %s; it goes on in the old one", name,
                  path, log_file_cause(path, errno));
    }
}

void server_reopen_logs(const struct server *server)
{
    reopen_log(server->error_log_fd, server->config.error_log, "error");
    reopen_log(server->access_log_fd, server->config.access_log, "access");
}

/* False: the serving processes cannot do the same. */
static bool renew_log(const struct server *server, int fd, const char *path, const char *name)
{
    struct error error;
    struct log_to_open log = {path, name, -1, -1, 0};
    if (fd < 0 || log_file_is_descriptor(path)) {
        return true;
    }
    if (!open_log(server, &log, &error)) {
        log_write(LOG_ERROR, "%s; it goes on in the old one", error.text);
        return true; /* as it will for them */
    }
    if (!give_log(server, &log, &error)) {
        log_write(LOG_ERROR, "%s", error.text);
    }
    if (!log_file_replace(fd, log.fd)) {
        log_write(LOG_ERROR, "cannot change the %s log: %m; it goes on in the old one", name);
    }
    if (log.user_error == 0 || user_files_can_append(&server->privileges, path)) {
        return true;
    }
    log_write(LOG_ERROR,
              "user %s cannot open the log %s: %m; let that user search its folder; without that, "
              "processes are replaced to change the file",
              server->privileges.user, path);
    return false;
}

bool server_renew_logs(const struct server *server)
{
    const struct config *config = &server->config;
    bool errors = renew_log(server, server->error_log_fd, config->error_log, "error");
    bool access = renew_log(server, server->access_log_fd, config->access_log, "access");
    return errors && access;
}

/* ---- Listening ---- */

static size_t sockets_of_address(const struct server *server)
{
    return server->config.accept == CONFIG_ACCEPT_REUSEPORT
               ? (size_t)server->plan.processes * server->plan.loops
               : 1;
}

bool server_has_passed_sockets(const struct server *server)
{
    for (size_t i = 0; i < server->listeners.count; i++) {
        if (server->listeners.list[i].is_passed) {
            return true;
        }
    }
    return false;
}

/* A socket for all loops, or one for each: at each address. */
static bool check_passed(const struct server *server, struct error *error)
{
    size_t wanted = sockets_of_address(server);
    for (size_t i = 0; i < server->listeners.count; i++) {
        const struct listener *listener = &server->listeners.list[i];
        if (listener->count != wanted) {
            char address[ENDPOINT_TEXT_BYTES];
            endpoint_format(&listener->bound, address);
            return error_set(
                error,
                "the service manager passes %zu sockets, and \"accept: %s\" takes %zu at %s; "
                "list as many ListenStream= in the .socket unit (with ReusePort=yes for "
                "several)",
                listener->count,
                server->config.accept == CONFIG_ACCEPT_REUSEPORT ? "reuseport" : "shared", wanted,
                address);
        }
    }
    return true;
}

static bool adopt_passed(struct server *server, size_t passed, struct error *error)
{
    int *fds = memory_alloc_zeroed(passed, sizeof(*fds));
    for (size_t i = 0; i < passed; i++) {
        fds[i] = SERVICE_MANAGER_FIRST_SOCKET + (int)i;
    }
    bool adopted = listeners_adopt(&server->listeners, fds, passed, error);
    free(fds);
    for (size_t i = 0; i < server->listeners.count; i++) {
        server->listeners.list[i].is_passed = true;
    }
    return adopted && check_passed(server, error);
}

static bool open_listeners(struct server *server, const struct endpoints *endpoints,
                           const struct listeners *old, struct error *error)
{
    const struct listener_plan plan = {
        .reuseport = server->config.accept == CONFIG_ACCEPT_REUSEPORT,
        .count = sockets_of_address(server),
        .old = old,
    };
    return listeners_open(&server->listeners, endpoints, &plan, error);
}

/* Which of the old program's addresses this one does not serve. */
static void note_what_is_left(struct server *server, const struct listeners *inherited)
{
    for (size_t i = 0; i < inherited->count; i++) {
        if (listeners_find(&server->listeners, inherited->list[i].id) != NULL) {
            server->inherited = true;
        } else {
            server->left_to_old |= UINT32_C(1) << i;
        }
    }
}

static bool inherit_listeners(struct server *server, const struct endpoints *endpoints,
                              struct listeners *inherited, struct error *error)
{
    if (inherited->count > 0 && inherited->list[0].is_passed) {
        server->listeners = *inherited;
        server->inherited = true;
        return check_passed(server, error);
    }
    bool opened = open_listeners(server, endpoints, inherited, error);
    note_what_is_left(server, inherited);
    listeners_close(inherited);
    return opened;
}

static bool open_first_listeners(struct server *server, const struct endpoints *endpoints,
                                 struct error *error)
{
    struct listeners inherited;
    inheritance_take(&inherited);
    size_t passed = service_manager_take_sockets();
    if (inherited.count == 0 && passed > 0) {
        return adopt_passed(server, passed, error);
    }
    return inherit_listeners(server, endpoints, &inherited, error);
}

static bool keep_passed(struct server *server, const struct server *predecessor,
                        struct error *error)
{
    if (strcmp(server->config.listen, predecessor->config.listen) != 0) {
        log_write(LOG_WARN, "\"listen\" has changed, and has no effect: the service manager has "
                            "passed the sockets; change its .socket unit");
    }
    if (!listeners_share(&server->listeners, &predecessor->listeners)) {
        return error_set(error,
                         "cannot take over the listening sockets: %s; raise the limit of open "
                         "files",
                         strerror(errno));
    }
    return check_passed(server, error);
}

static bool open_all_listeners(struct server *server, const struct endpoints *endpoints,
                               const struct server *predecessor, struct error *error)
{
    bool opened;
    if (predecessor == NULL) {
        opened = open_first_listeners(server, endpoints, error);
    } else {
        opened = server_has_passed_sockets(predecessor)
                     ? keep_passed(server, predecessor, error)
                     : open_listeners(server, endpoints, &predecessor->listeners, error);
    }
    return opened;
}

/* ---- Observing ---- */

bool server_observing_endpoint(const char *observe, struct endpoint *endpoint)
{
    char address[ENDPOINT_TEXT_BYTES];
    const size_t name_bytes =
        strncmp(observe, LOCALHOST, strlen(LOCALHOST)) == 0 ? strlen(LOCALHOST) : 0;
    snprintf(address, sizeof(address), "%s%s", name_bytes > 0 ? "127.0.0.1" : "",
             observe + name_bytes);
    return endpoint_parse(endpoint, address);
}

/* At the same address as before it is the same socket: who waits there is not cut. */
static bool open_observing(struct server *server, const struct server *predecessor,
                           struct error *error)
{
    struct listeners inherited = {0};
    struct endpoints endpoints = {0};
    if (predecessor == NULL) {
        inheritance_take_observing(&inherited);
    }
    const struct listener_plan plan = {
        .count = 1,
        .old = predecessor != NULL ? &predecessor->observing : &inherited,
        .option = "--observe",
    };
    if (server->config.observe != NULL) {
        bool parsed = server_observing_endpoint(server->config.observe, &endpoints.list[0]);
        CHECK(parsed); /* the settings have been checked */
        endpoints.count = 1;
        endpoints_settle(&endpoints);
    }
    bool opened = listeners_open(&server->observing, &endpoints, &plan, error);
    listeners_close(&inherited);
    return opened;
}

/* ---- Memory ---- */

/* The cell that every worker sees: in the prefork models it lies in a mapping that all processes
 * share and its lock works between them; in one process plain memory and a plain lock do. */
static bool map_shared_cell(struct server *server, struct error *error)
{
    bool processes = server->kind->server == CONFIG_SERVER_PREFORK;
    void *memory = mmap(NULL, sizeof(struct shared_cell), PROT_READ | PROT_WRITE,
                        (processes ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return error_set(error, "cannot map memory: %s; free some", strerror(errno));
    }
    server->shared_cell = memory;
    int failure = shared_cell_init(server->shared_cell,
                                   processes ? SHARED_CELL_PROCESSES : SHARED_CELL_THREADS);
    return failure == 0 || error_set(error, "cannot make a shared lock: %s; check the C library",
                                     strerror(failure));
}

static bool map_scoreboard(struct server *server, struct error *error)
{
    const struct plan *plan = &server->plan;
    struct scoreboard *scoreboard = scoreboard_create(plan->slot_capacity);
    if (scoreboard == NULL) {
        return error_set(error, "cannot map the scoreboard: %s; ask for fewer workers or threads",
                         strerror(errno));
    }
    snprintf(scoreboard->server, sizeof(scoreboard->server), "%s", server->kind->name);
    snprintf(scoreboard->version, sizeof(scoreboard->version), "%s", TWINHTTPD_VERSION);
    snprintf(scoreboard->model, sizeof(scoreboard->model), "%s", plan_model_name(plan->model));
    snprintf(scoreboard->dispatch, sizeof(scoreboard->dispatch), "%s", plan->dispatch);
    server->scoreboard = scoreboard;
    server->ledger = ledger_create(scoreboard);
    return true;
}

static bool share_memory(struct server *server, const struct server *predecessor,
                         struct error *error)
{
    const struct plan *plan = &server->plan;
    server->scoreboard = predecessor->scoreboard;
    server->ledger = predecessor->ledger;
    server->shared_cell = predecessor->shared_cell;
    if (plan->model != predecessor->plan.model ||
        strcmp(plan->dispatch, predecessor->plan.dispatch) != 0) {
        return error_set(error, "the model cannot change while the server runs: restart it");
    }
    if (plan->processes * plan->slots_per_process > server->scoreboard->slot_capacity / 2) {
        return error_set(
            error,
            "%u workers of %u threads are more than the scoreboard has room for while the "
            "old ones are there: restart the server",
            plan->processes, plan->slots_per_process);
    }
    return true;
}

/* ---- Moving connections between loops ---- */

static bool open_inboxes(struct server *server, const struct server *predecessor,
                         struct error *error)
{
    uint32_t loops = server->config.rebalance ? server->plan.processes * server->plan.loops : 0;
    return inboxes_open(&server->inboxes, server->scoreboard, loops,
                        predecessor != NULL ? &predecessor->inboxes : NULL) ||
           error_set(error,
                     "cannot make the event loops' inboxes: %s; raise the limit of open files",
                     strerror(errno));
}

bool server_renew_inboxes(struct server *server)
{
    struct inboxes fresh;
    uint32_t loops = server->plan.processes * server->plan.loops;
    if (!inboxes_open(&fresh, server->scoreboard, loops, &server->inboxes)) {
        int saved_errno = errno;
        inboxes_close(&fresh);
        errno = saved_errno;
        return false;
    }
    inboxes_close(&server->inboxes);
    server->inboxes = fresh;
    return true;
}

/* ---- All of it ---- */

static bool open_parts(struct server *server, const struct endpoints *endpoints,
                       const struct server *predecessor, struct error *error)
{
    if (!plan_make(&server->plan, &server->config, server->kind->server, error)) {
        return false;
    }
    CHECK(server->plan.dispatch != NULL);
    bool threads = server->plan.dispatch[0] != '\0';
    server->run = threads ? server->kind->run_threads : server->kind->run_single;
    if (predecessor != NULL ? !share_memory(server, predecessor, error)
                            : !(map_scoreboard(server, error) && map_shared_cell(server, error))) {
        return false;
    }
    return privileges_resolve(&server->privileges, server->config.user, error) &&
           open_root(server, error) && open_inboxes(server, predecessor, error) &&
           open_all_listeners(server, endpoints, predecessor, error) &&
           open_observing(server, predecessor, error) && open_logs(server, predecessor, error);
}

static void begin(struct server *server, const struct server_kind *kind, struct config *config,
                  uint32_t epoch)
{
    *server = (struct server){
        .kind = kind,
        .config = *config,
        .epoch = epoch,
        .access_log_fd = -1,
        .error_log_fd = -1,
    };
    *config = (struct config){0};
}

bool server_try(struct server *server, const struct server_kind *kind, struct config *config,
                struct error *error)
{
    begin(server, kind, config, 1);
    if (plan_make(&server->plan, &server->config, kind->server, error) &&
        privileges_resolve(&server->privileges, server->config.user, error) &&
        open_root(server, error)) {
        return true;
    }
    server_close(server);
    return false;
}

static bool open_server(struct server *server, const struct server_kind *kind,
                        struct config *config, const struct endpoints *endpoints,
                        const struct server *predecessor, uint32_t epoch, struct error *error)
{
    begin(server, kind, config, epoch);
    if (open_parts(server, endpoints, predecessor, error)) {
        server->is_local = listeners_are_loopback(&server->listeners);
        server_use_log(server); /* nothing can fail any more */
        warn_of_root(server);
        return true;
    }
    server_close(server);
    return false;
}

bool server_open(struct server *server, const struct server_kind *kind, struct config *config,
                 const struct endpoints *endpoints, struct error *error)
{
    if (open_server(server, kind, config, endpoints, NULL, 1, error)) {
        return true;
    }
    server_unmap(server);
    return false;
}

bool server_read_config(const struct server_origin *origin, struct config *config,
                        struct error *error)
{
    return config_load(config, origin->kind->server, origin->argc, origin->argv, error) !=
           CONFIG_INVALID;
}

bool server_reopen(struct server *server, struct config *config, const struct endpoints *endpoints,
                   const struct server *predecessor, uint32_t epoch, struct error *error)
{
    return open_server(server, predecessor->kind, config, endpoints, predecessor, epoch, error);
}

bool server_has_bench(const struct server *server)
{
    enum config_bench wanted = server->config.bench;
    return wanted == CONFIG_BENCH_ON || (wanted == CONFIG_BENCH_AUTO && server->is_local);
}

void server_describe(const struct server *server, char *out, size_t bytes)
{
    char shape[160];
    size_t used = (size_t)snprintf(out, bytes, "serving");
    for (size_t i = 0; i < server->listeners.count && used < bytes; i++) {
        char address[ENDPOINT_TEXT_BYTES];
        endpoint_format_for_url(&server->listeners.list[i].bound, address);
        used +=
            (size_t)snprintf(out + used, bytes - used, "%s http://%s", i == 0 ? "" : ",", address);
    }
    plan_describe(&server->plan, shape, sizeof(shape));
    if (used < bytes) {
        snprintf(out + used, bytes - used, " with %s", shape);
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void server_move(struct server *to, struct server *from)
{
    *to = *from;
    *from = (struct server){.access_log_fd = -1, .error_log_fd = -1};
}

void server_close(struct server *server)
{
    listeners_close(&server->listeners);
    listeners_close(&server->observing);
    inboxes_close(&server->inboxes);
    document_root_close(server->root);
    server->root = NULL;
    close_fd(&server->access_log_fd);
    if (server->error_log_fd == log_descriptor()) {
        log_use(STDERR_FILENO);
    }
    close_fd(&server->error_log_fd);
    config_free(&server->config);
}

static void unmap_shared_cell(struct server *server)
{
    if (server->shared_cell != NULL) {
        munmap(server->shared_cell, sizeof(struct shared_cell));
    }
    server->shared_cell = NULL;
}

void server_forget_shared(struct server *server)
{
    inboxes_close(&server->inboxes);
    unmap_shared_cell(server);
}

void server_unmap(struct server *server)
{
    ledger_destroy(server->ledger);
    scoreboard_destroy(server->scoreboard);
    unmap_shared_cell(server);
    server->ledger = NULL;
    server->scoreboard = NULL;
}
