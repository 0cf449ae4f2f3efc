/* The settings: one table drives the command line, the YAML file and --help.
 * Defaults, then the file, then the command line: the later wins. */
#ifndef TWINHTTPD_COMMON_CONFIG_CONFIG_H
#define TWINHTTPD_COMMON_CONFIG_CONFIG_H

#include "common/base/error.h"
#include "common/base/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Which binary asks: a setting may belong to one of them alone. */
enum config_server { CONFIG_SERVER_PREFORK = 1, CONFIG_SERVER_THREADPOOL = 2 };

enum config_accept { CONFIG_ACCEPT_SHARED, CONFIG_ACCEPT_REUSEPORT };
enum config_dispatch { CONFIG_DISPATCH_CONNECTION, CONFIG_DISPATCH_REQUEST };
enum config_offload { CONFIG_OFFLOAD_BLOCKING, CONFIG_OFFLOAD_ALL };
enum config_seccomp { CONFIG_SECCOMP_OFF, CONFIG_SECCOMP_LOG, CONFIG_SECCOMP_ON };
enum config_on_fault { CONFIG_ON_FAULT_DIE, CONFIG_ON_FAULT_RECOVER };
enum config_bench { CONFIG_BENCH_AUTO, CONFIG_BENCH_ON, CONFIG_BENCH_OFF };
enum config_on_death { CONFIG_ON_DEATH_CUT, CONFIG_ON_DEATH_ADOPT };
enum config_stuck { CONFIG_STUCK_REPLACE, CONFIG_STUCK_REPORT, CONFIG_STUCK_SPARE };
enum config_etag { CONFIG_ETAG_PORTABLE, CONFIG_ETAG_INODE, CONFIG_ETAG_OFF };
enum config_access_log_format { CONFIG_ACCESS_LOG_COMBINED, CONFIG_ACCESS_LOG_JSON };

/* Immutable after config_load. Strings belong to the struct. 0 in a count means "choose for me". */
struct config {
    char *listen;          /* "127.0.0.1:8080,[::1]:8080": up to CONFIG_LISTEN_MOST; no spaces */
    char *root;            /* document root; NULL: the bundled one */
    char *access_log;      /* path; NULL: off */
    char *error_log;       /* path; NULL: standard error */
    char *pid_file;        /* path; NULL: off */
    char *user;            /* "name" or "name:group" of the serving processes; NULL: as started */
    char *control;         /* path of the control socket; NULL: off */
    char *observe;         /* "127.0.0.1:8090", where the observer answers; NULL: there is none */
    char *observe_names;   /* "web,web.example": how else the observer may be called; NULL: none */
    uint64_t workers;      /* prefork: worker processes */
    uint64_t threads;      /* threadpool: pool threads; prefork: threads in each worker, 0: none */
    uint64_t loops;        /* request dispatch: event loop threads beside the pool */
    uint64_t queue_length; /* request dispatch: requests that may wait for a pool thread */
    uint64_t max_connections;            /* for each event loop */
    uint64_t max_connections_per_client; /* for each event loop; 0: any number */
    uint64_t max_request_line_bytes;     /* never above max_header_bytes */
    uint64_t max_header_bytes;           /* request line and all header fields together */
    uint64_t max_headers;
    uint64_t max_body_bytes;
    uint64_t header_timeout_ms;      /* from the first byte (or accept) to the end of the headers */
    uint64_t body_timeout_ms;        /* from the end of the headers to the end of the body */
    uint64_t idle_timeout_ms;        /* between requests */
    uint64_t send_timeout_ms;        /* without progress while a response is sent */
    uint64_t min_send_bytes_per_s;   /* a client that reads more slowly is cut; 0: any rate */
    uint64_t linger_timeout_ms;      /* lingering close: without a byte */
    uint64_t max_linger_ms;          /* lingering close: in all */
    uint64_t max_linger_bytes;       /* lingering close: what is discarded */
    uint64_t drain_timeout_ms;       /* graceful stop, and replacement of a process */
    uint64_t start_timeout_ms;       /* for a process to become ready */
    uint64_t upgrade_trial_ms;       /* for which the old program stays */
    uint64_t stuck_after_ms;         /* without a heartbeat; 0: nobody looks */
    uint64_t max_spare_threads;      /* in the place of stuck ones, in each process */
    uint64_t recycle_after_requests; /* that a process has served; 0: never */
    uint64_t recycle_after_s;        /* age of a process; 0: never */
    uint64_t recycle_above_pss_kib;  /* memory of a process; 0: never */
    enum config_accept accept;
    enum config_dispatch dispatch;
    enum config_offload offload;
    enum config_seccomp seccomp; /* of the serving processes */
    enum config_on_fault on_fault;
    enum config_on_death on_death; /* what becomes of a dead process's connections */
    enum config_stuck on_stuck;
    enum config_etag etag;   /* what entity tags of files are made of */
    enum config_bench bench; /* /sleep, /cpu and their like; auto: if only this machine asks */
    enum config_access_log_format access_log_format;
    enum log_level log_level;
    bool rebalance;       /* event loops hand connections to others that have clearly fewer */
    bool gzip;            /* compress on the fly */
    bool faults;          /* /fault/... answers only when this is on */
    bool core_files;      /* a worker that dies of a signal leaves one */
    bool bare;            /* threadpool: run without a master */
    bool observe_control; /* the observer passes commands on */
    uint64_t chosen; /* a bit for each row of the settings table: its value is not the default */
};

/* What a server as a whole has, ORed: settings that need something else have no effect. */
enum config_trait {
    CONFIG_HAS_THREADS = 1,
    CONFIG_HAS_POOL = 2,  /* threads that take requests (request dispatch) */
    CONFIG_HAS_LOOPS = 4, /* more than one event loop */
    /* These the settings themselves tell: */
    CONFIG_HAS_MASTER = 8,
    CONFIG_HAS_SPARES = 16,
    CONFIG_HAS_WATCHDOG = 32,
    CONFIG_HAS_ACCESS_LOG = 64,
    CONFIG_HAS_OBSERVER = 128
};

/* What the command line asks for. */
enum config_action {
    CONFIG_RUN,
    CONFIG_TEST,         /* --test-config: whether a server could start with the settings */
    CONFIG_HELP,         /* --help */
    CONFIG_VERSION,      /* --version */
    CONFIG_HEALTH_CHECK, /* --health-check: ask the server that listens there, exit 0 or 1 */
    CONFIG_INVALID       /* error holds one line: cause and fix */
};

enum { CONFIG_LISTEN_MOST = 16 };

/* Fills *config from defaults, the file named by --config, and the options. Never exits, prints
 * nothing. With CONFIG_INVALID the struct holds nothing and error says why (one line, without the
 * program's name); otherwise the caller owns the contents and gives them back with config_free.
 * CONFIG_HELP and CONFIG_VERSION come with the defaults: the file has not been read. May be called
 * again; not from two threads at once, since getopt_long keeps its state in globals. */
enum config_action config_load(struct config *config, enum config_server server, int argc,
                               char *const *argv, struct error *error);

void config_free(struct config *config);

/* The settings, a bit for each, that somebody has chosen and that have no effect in a server with
 * these traits (those which depend on other settings need not be given). */
uint64_t config_idle_settings(const struct config *config, unsigned traits);

/* "queue_length has no effect: cause; fix", of the setting with that bit. */
void config_describe_idle(const struct config *config, unsigned traits, unsigned index,
                          struct error *out);

/* Prints usage and every option that this server has, with its default and range. */
void config_print_help(FILE *out, enum config_server server);

#endif
