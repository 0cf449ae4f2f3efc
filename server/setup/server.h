/* What a server has before its first process, made from its configuration: once at the start, and
 * again for each reload. Forked processes inherit it. */
#ifndef TWINHTTPD_SERVER_SETUP_SERVER_H
#define TWINHTTPD_SERVER_SETUP_SERVER_H

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/handlers/handlers.h"
#include "common/http/document_root.h"
#include "common/scoreboard/ledger.h"
#include "common/scoreboard/scoreboard.h"
#include "server/balance/inboxes.h"
#include "server/listen/listener.h"
#include "server/setup/plan.h"
#include "server/setup/privileges.h"

#include <limits.h>

struct process;

/* A process model: serves in the calling process until it is told to stop; returns the process's
 * exit status. */
typedef int (*process_run_fn)(struct process *process);

/* What tells one binary from the other. */
struct server_kind {
    const char *name; /* "prefork-server" */
    enum config_server server;
    process_run_fn run_single; /* one thread in a process; NULL if there is no such model */
    process_run_fn run_threads;
};

/* How this program was started: what it takes to read its configuration again. */
struct server_origin {
    const struct server_kind *kind;
    int argc;
    char **argv;
    char program[PATH_MAX]; /* absolute path of its file; "": not known */
};

struct server {
    const struct server_kind *kind;
    struct config config;
    struct plan plan;
    struct privileges privileges; /* of the serving processes */
    process_run_fn run;
    uint32_t epoch; /* the first configuration has 1, each later one a higher number */
    struct listeners listeners;
    struct listeners observing; /* at one address, or none: for the observer alone */
    /* After an upgrade: whether it serves where the program before did, or in part... */
    bool inherited;
    uint32_t
        left_to_old; /* ...but not at these addresses of that one: a bit each, in their order */
    struct inboxes inboxes;
    struct document_root *root;
    bool is_local;     /* every listening socket is bound to a loopback address; asked when they are
                          opened, since serving processes may not */
    int access_log_fd; /* -1: off */
    bool owns_access_log; /* in a serving process: log_file_own says so of it */
    int error_log_fd;     /* -1: standard error */
    /* In memory that outlives any reload; server_unmap frees it. */
    struct scoreboard *scoreboard;
    struct ledger *ledger;           /* the master's own */
    struct shared_cell *shared_cell; /* placed where the model's workers all see it */
};

/* Takes over the configuration (also on failure) and opens everything; the log is this server's
 * then. endpoints are what "listen" stands for; a service manager's sockets win over them. False
 * with one line in error: cause and fix; the log stays as it was. Closed by server_close. */
bool server_open(struct server *server, const struct server_kind *kind, struct config *config,
                 const struct endpoints *endpoints, struct error *error);

/* Takes over the configuration (also on failure) and opens what nobody else sees: plan, user and
 * document root. False with one line in error. Closed by server_close. */
bool server_try(struct server *server, const struct server_kind *kind, struct config *config,
                struct error *error);

/* Moves all that from holds to to, which holds nothing: each descriptor has one owner. from holds
 * nothing afterwards. */
void server_move(struct server *to, struct server *from);

/* Closes this process's descriptors and frees the configuration; the memory that is shared stays.
 */
void server_close(struct server *server);

/* Unmaps what server_open without a predecessor mapped. */
void server_unmap(struct server *server);

/* Reads the configuration again as at the start. False with one line in error. */
bool server_read_config(const struct server_origin *origin, struct config *config,
                        struct error *error);

/* Opens a server of that epoch from it (as server_open) in the place of predecessor, with which it
 * shares the memory, and the listening sockets, too, where the address is the same. False with one
 * line in error: predecessor goes on. */
bool server_reopen(struct server *server, struct config *config, const struct endpoints *endpoints,
                   const struct server *predecessor, uint32_t epoch, struct error *error);

/* In a process that only looks: gives back what serving processes share, the scoreboard apart.
 * Their descriptors are the caller's business. */
void server_forget_shared(struct server *server);

/* Whether /sleep, /cpu and their like are served: as configured, or, with auto, where only this
 * machine can ask. */
bool server_has_bench(const struct server *server);

/* Where the observer is to answer: the setting "observe", in which localhost is 127.0.0.1. False:
 * it is no such address. */
bool server_observing_endpoint(const char *observe, struct endpoint *endpoint);

/* Whether the sockets come from a service manager: then "listen" says nothing. */
bool server_has_passed_sockets(const struct server *server);

/* New inboxes, for processes that are started from now on. False with errno set: the old ones stay.
 */
bool server_renew_inboxes(struct server *server);

/* "serving http://127.0.0.1:8080 with 2 workers": one line for people. */
void server_describe(const struct server *server, char *out, size_t bytes);

/* The log of errors, and its level, are this server's from now on. */
void server_use_log(const struct server *server);

/* In a process that has been forked: what it writes its logs to, and its standard streams, are its
 * own, so that it cannot make others wait, nor they it (log_file.h). Before it gives anything up.
 */
void server_own_logs(struct server *server);

/* Directs the logs to the files that have the logs' names now (after a rotation). What cannot be
 * opened is reported, and written to where it went before. Safe while other threads write. */
void server_reopen_logs(const struct server *server);

/* The same in the master, which also gives the files to the user that the serving processes become.
 * True: those can open them, too. False, reported: they get the new files with their fork alone. */
bool server_renew_logs(const struct server *server);

#endif
