/* The settings table, and how a text becomes a value. */
#include "common/config/config_internal.h"

#include "common/base/decimal.h"
#include "common/base/memory.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    BOTH_SERVERS = CONFIG_SERVER_PREFORK | CONFIG_SERVER_THREADPOOL,
    LISTEN_HOST_BYTES = 256, /* a DNS name has at most 253 */
    SHOWN_VALUE_BYTES = 80   /* of a bad value in an error */
};

static const char *const accept_names[] = {"shared", "reuseport", NULL};
static const char *const dispatch_names[] = {"connection", "request", NULL};
static const char *const offload_names[] = {"blocking", "all", NULL};
static const char *const seccomp_names[] = {"off", "log", "on", NULL};
static const char *const on_fault_names[] = {"die", "recover", NULL};
static const char *const on_death_names[] = {"cut", "adopt", NULL};
static const char *const bench_names[] = {"auto", "on", "off", NULL};
static const char *const stuck_names[] = {"replace", "report", "spare", NULL};
static const char *const etag_names[] = {"portable", "inode", "off", NULL};
static const char *const access_log_format_names[] = {"combined", "json", NULL};
static const char *const log_level_names[] = {"debug", "info", "notice", "warn", "error", NULL};

#define MEMBER(name)        .key = #name, .offset = offsetof(struct config, name)
#define RANGE(low, high)    .kind = CONFIG_KIND_COUNT, .min = (low), .max = (high)
#define CHOICE(choice_list) .kind = CONFIG_KIND_CHOICE, .names = (choice_list)
#define TIMEOUT             RANGE(1, 86400000)

const struct config_setting config_settings[] = {
    {MEMBER(listen), .option = "listen", .kind = CONFIG_KIND_LISTEN,
     .default_value = "127.0.0.1:8080", .servers = BOTH_SERVERS,
     .help = "Addresses and ports to listen on; *: all addresses, IPv6 too; port 0: the kernel\n"
             "      chooses. Several with commas, or with the option several times."},
    {MEMBER(root), .option = "root", .kind = CONFIG_KIND_PATH, .empty_word = "auto",
     .default_value = "auto", .servers = BOTH_SERVERS,
     .help = "Directory of the static files; auto: the sample site that comes along."},
    {MEMBER(workers), .option = "workers", RANGE(1, 512), .empty_word = "auto",
     .default_value = "auto", .servers = CONFIG_SERVER_PREFORK,
     .elsewhere = "it has one process: use --threads, or prefork-server --threads for several",
     .help = "Worker processes; auto: one for each CPU."},
    {MEMBER(threads), .option = "threads", RANGE(1, 1024), .empty_word = "auto",
     .default_value = "auto", .servers = BOTH_SERVERS, .zero_servers = CONFIG_SERVER_PREFORK,
     .help = "threadpool-server: threads in the pool; auto: one for each CPU.\n      "
             "prefork-server: threads in each worker process; 0 or auto: none."},
    {MEMBER(loops), .option = "loops", RANGE(1, 64), .empty_word = "auto", .default_value = "auto",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_POOL,
     .help = "Request dispatch: event loop threads beside the pool; auto: chosen for you."},
    {MEMBER(queue_length), .option = "queue-length", RANGE(1, 1000000), .default_value = "1024",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_POOL,
     .help = "Request dispatch: requests that may wait for a pool thread; more are answered 503."},
    {MEMBER(accept), .option = "accept", CHOICE(accept_names), .default_value = "shared",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_LOOPS,
     .help = "One listening socket for all event loops, or one for each (SO_REUSEPORT)."},
    {MEMBER(rebalance), .option = "rebalance", .kind = CONFIG_KIND_SWITCH, .default_value = "on",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_LOOPS,
     .help = "Event loops hand open connections to others that have clearly fewer of them."},
    {MEMBER(dispatch), .option = "dispatch", CHOICE(dispatch_names), .default_value = "connection",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_THREADS,
     .help = "With threads: a thread serves connections, or takes one request at a time."},
    {MEMBER(offload), .option = "offload", CHOICE(offload_names), .default_value = "blocking",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_POOL,
     .help = "Request dispatch: which requests go to the pool: those that block, or all."},
    {MEMBER(on_fault), .option = "on-fault", CHOICE(on_fault_names), .default_value = "die",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_POOL,
     .help = "Request dispatch: what a fault in a pool thread's handler ends: the process, or the\n"
             "      thread alone, which answers 500. The latter may leave damage behind."},
    {MEMBER(on_death), .option = "on-death", CHOICE(on_death_names), .default_value = "cut",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help = "What becomes of the connections of a process that dies: cut, or its successor goes\n"
             "      on with them."},
    {MEMBER(gzip), .option = "gzip", .kind = CONFIG_KIND_SWITCH, .default_value = "off",
     .servers = BOTH_SERVERS,
     .help = "Compress text on the fly, for clients that accept gzip; stored .br, .zst and .gz\n"
             "      files are served in any case."},
    {MEMBER(etag), .option = "etag", CHOICE(etag_names), .default_value = "portable",
     .servers = BOTH_SERVERS,
     .help = "Entity tags of files: the same for equal copies on all hosts, or with the inode."},
    {MEMBER(bench), .option = "bench", CHOICE(bench_names), .default_value = "auto",
     .servers = BOTH_SERVERS,
     .help =
         "Serve /sleep, /cpu, /counter, /whoami, /echo, /json and /plaintext, by which a client\n"
         "      can keep a worker busy; auto: as long as only this machine can reach the server."},
    {MEMBER(faults), .option = "faults", .kind = CONFIG_KIND_SWITCH, .default_value = "off",
     .servers = BOTH_SERVERS,
     .help = "Serve /fault/... and /lab/...: clients may crash workers and read their memory."},
    {MEMBER(core_files), .option = "core-files", .kind = CONFIG_KIND_SWITCH, .default_value = "off",
     .servers = BOTH_SERVERS,
     .help = "Workers that die of a signal leave core files, up to the hard limit (ulimit -Hc)."},
    {MEMBER(bare), .option = "bare", .kind = CONFIG_KIND_FLAG, .default_value = "off",
     .servers = CONFIG_SERVER_THREADPOOL,
     .elsewhere = "it always has a master: leave it out, or run threadpool-server --bare",
     .help = "Run without a master: a crash ends the server."},
    {MEMBER(access_log), .option = "access-log", .kind = CONFIG_KIND_PATH, .empty_word = "off",
     .default_value = "off", .servers = BOTH_SERVERS, .help = "File of the access log."},
    {MEMBER(access_log_format), .option = "access-log-format", CHOICE(access_log_format_names),
     .default_value = "combined", .servers = BOTH_SERVERS, .needs = CONFIG_HAS_ACCESS_LOG,
     .help = "Lines of the access log."},
    {MEMBER(error_log), .option = "error-log", .kind = CONFIG_KIND_PATH, .empty_word = "stderr",
     .default_value = "stderr", .servers = BOTH_SERVERS, .help = "File of the error log."},
    {MEMBER(control), .option = "control", .kind = CONFIG_KIND_PATH, .empty_word = "off",
     .default_value = "off", .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help = "Unix socket at which twinctl reaches the master."},
    {MEMBER(observe), .option = "observe", .kind = CONFIG_KIND_ADDRESS, .empty_word = "off",
     .default_value = "off", .servers = BOTH_SERVERS,
     .help = "Address at which a process of its own shows what the server does: a page, metrics,\n"
             "      /live and /ready; port 0: the kernel chooses."},
    {MEMBER(observe_control), .option = "observe-control", .kind = CONFIG_KIND_SWITCH,
     .default_value = "off", .servers = BOTH_SERVERS, .needs = CONFIG_HAS_OBSERVER,
     .help = "It also takes commands, as twinctl does, from who has the token that is printed at\n"
             "      the start."},
    {MEMBER(observe_names), .option = "observe-names", .kind = CONFIG_KIND_NAMES,
     .empty_word = "none", .default_value = "none", .servers = BOTH_SERVERS,
     .needs = CONFIG_HAS_OBSERVER,
     .help = "It answers who asks for it by one of these names, too, as a scraper on another host\n"
             "      does; else by number and as localhost only."},
    {MEMBER(log_level), .option = "log-level", CHOICE(log_level_names), .default_value = "info",
     .servers = BOTH_SERVERS, .help = "The error log keeps this level and those behind it."},
    {MEMBER(user), .option = "user", .kind = CONFIG_KIND_USER, .empty_word = "keep",
     .default_value = "keep", .servers = BOTH_SERVERS,
     .help =
         "Who the serving processes become when root starts the server; the master stays root."},
    {MEMBER(seccomp), .option = "seccomp", CHOICE(seccomp_names), .default_value = "off",
     .servers = BOTH_SERVERS,
     .help = "Kill serving processes that make a system call they have no need of (on), or only\n"
             "      note it in the kernel's log (log)."},
    {MEMBER(pid_file), .option = "pid-file", .kind = CONFIG_KIND_PATH, .empty_word = "off",
     .default_value = "off", .servers = BOTH_SERVERS,
     .help = "File for the pid of the master; a second server with the same file is refused."},
    {MEMBER(max_connections), .option = "max-connections", RANGE(1, 1000000), .empty_word = "auto",
     .default_value = "auto", .servers = BOTH_SERVERS,
     .help =
         "Open connections of one event loop; auto: what the file descriptors allow, up to 65536."},
    {MEMBER(max_connections_per_client), .option = "max-connections-per-client", RANGE(0, 1000000),
     .default_value = "0", .servers = BOTH_SERVERS,
     .help = "Open connections of one client address (IPv6: /64 network) on one event loop;\n      "
             "more are answered 503; 0: any number."},
    {MEMBER(max_request_line_bytes), .option = "max-request-line-bytes", RANGE(64, 1048576),
     .default_value = "8192", .servers = BOTH_SERVERS,
     .help = "Longest request line; never more than max-header-bytes."},
    {MEMBER(max_header_bytes), .option = "max-header-bytes", RANGE(256, 16777216),
     .default_value = "32768", .servers = BOTH_SERVERS,
     .help = "Request line and all header fields together."},
    {MEMBER(max_headers), .option = "max-headers", RANGE(1, 10000), .default_value = "100",
     .servers = BOTH_SERVERS, .help = "Header fields of one request."},
    {MEMBER(max_body_bytes), .option = "max-body-bytes", RANGE(0, 1099511627776),
     .default_value = "1048576", .servers = BOTH_SERVERS, .help = "Body of one request."},
    {MEMBER(header_timeout_ms), .option = "header-timeout-ms", TIMEOUT, .default_value = "10000",
     .servers = BOTH_SERVERS, .help = "For the whole of a request's headers."},
    {MEMBER(body_timeout_ms), .option = "body-timeout-ms", TIMEOUT, .default_value = "30000",
     .servers = BOTH_SERVERS, .help = "For the whole of a request's body."},
    {MEMBER(idle_timeout_ms), .option = "idle-timeout-ms", TIMEOUT, .default_value = "60000",
     .servers = BOTH_SERVERS, .help = "Between two requests on a connection."},
    {MEMBER(send_timeout_ms), .option = "send-timeout-ms", TIMEOUT, .default_value = "30000",
     .servers = BOTH_SERVERS, .help = "Without progress while a response is sent."},
    {MEMBER(min_send_bytes_per_s), .option = "min-send-bytes-per-s", RANGE(0, 1000000000),
     .default_value = "1024", .servers = BOTH_SERVERS,
     .help = "Slowest reader of a response, beyond its send timeout; 0: as slow as it likes."},
    {MEMBER(linger_timeout_ms), .option = "linger-timeout-ms", TIMEOUT, .default_value = "2000",
     .servers = BOTH_SERVERS,
     .help = "Without a byte of what a client still sends after an error response, before the\n"
             "      close."},
    {MEMBER(max_linger_ms), .option = "max-linger-ms", TIMEOUT, .default_value = "30000",
     .servers = BOTH_SERVERS,
     .help = "For all that a client still sends after an error response, so that it can read it."},
    {MEMBER(max_linger_bytes), .option = "max-linger-bytes", RANGE(0, 1099511627776),
     .default_value = "268435456", .servers = BOTH_SERVERS,
     .help = "What a client may still send after an error response; more is cut off."},
    {MEMBER(drain_timeout_ms), .option = "drain-timeout-ms", TIMEOUT, .default_value = "30000",
     .servers = BOTH_SERVERS,
     .help =
         "For open connections, at a graceful stop (SIGQUIT) and when their process is replaced."},
    {MEMBER(start_timeout_ms), .option = "start-timeout-ms", TIMEOUT, .default_value = "30000",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help = "For a process to become ready; one that needs longer is killed, and counts as dead."},
    {MEMBER(upgrade_trial_ms), .option = "upgrade-trial-ms", TIMEOUT, .default_value = "10000",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help = "How long after an upgrade (SIGUSR2) the old program stays, to serve if the new one "
             "dies."},
    {MEMBER(stuck_after_ms), .option = "stuck-after-ms", RANGE(1000, 86400000), .empty_word = "off",
     .default_value = "30000", .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help = "A worker or thread whose heart has not beaten for so long is stuck; off: nobody "
             "looks."},
    {MEMBER(on_stuck), .option = "on-stuck", CHOICE(stuck_names), .default_value = "replace",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER | CONFIG_HAS_WATCHDOG,
     .help =
         "Replace the process in which something is stuck, only report it, or (request dispatch)\n"
         "      add a spare thread to its pool."},
    {MEMBER(max_spare_threads), .option = "max-spare-threads", RANGE(1, 64), .default_value = "4",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER | CONFIG_HAS_WATCHDOG | CONFIG_HAS_SPARES,
     .help = "With on_stuck spare: so many in each process; after that it is replaced."},
    {MEMBER(recycle_after_requests), .option = "recycle-after-requests", RANGE(0, 1000000000000),
     .default_value = "0", .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help =
         "Replace a process that has served so many requests (or up to a tenth less); 0: never."},
    {MEMBER(recycle_after_s), .option = "recycle-after-s", RANGE(0, 31536000), .default_value = "0",
     .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help = "Replace a process that is so many seconds old (or up to a tenth less); 0: never."},
    {MEMBER(recycle_above_pss_kib), .option = "recycle-above-pss-kib", RANGE(0, 1099511627776),
     .default_value = "0", .servers = BOTH_SERVERS, .needs = CONFIG_HAS_MASTER,
     .help = "Replace a process that has more KiB of memory (Pss); 0: never."},
};

const size_t config_setting_count = sizeof(config_settings) / sizeof(config_settings[0]);
_Static_assert(sizeof(config_settings) / sizeof(config_settings[0]) <= CONFIG_SETTINGS_MOST,
               "a bit for each setting");

const struct config_setting *config_setting_find(const char *key)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        if (strcmp(config_settings[i].key, key) == 0) {
            return &config_settings[i];
        }
    }
    return NULL;
}

static bool parse_choice(const char *text, const char *const *names, uint64_t *out)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], text) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* YAML's own words for a boolean. libcyaml takes every word that it does not know for true. */
static bool parse_switch(const char *text, uint64_t *out)
{
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(words[i], text) == 0) {
            *out = i % 2;
            return true;
        }
    }
    return false;
}

static bool is_host_name(const char *host)
{
    bool has_letter = false;
    for (const char *c = host; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && *c != '.' && *c != '-') {
            return false;
        }
        has_letter = has_letter || isalpha((unsigned char)*c) || *c == '-';
    }
    struct in_addr address;
    return has_letter || inet_pton(AF_INET, host, &address) == 1;
}

static bool is_host(char *host)
{
    size_t len = strlen(host);
    if (strcmp(host, "*") == 0) {
        return true;
    }
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        struct in6_addr address;
        host[len - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, &address) == 1;
    }
    return len > 0 && is_host_name(host);
}

static bool is_listen_address(const char *text)
{
    char host[LISTEN_HOST_BYTES];
    uint64_t port = 0;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    return decimal_parse(colon + 1, 0, 65535, &port) && is_host(host);
}

/* No name: nobody is asked for what it stands for. */
static bool is_numeric_address(const char *text)
{
    const size_t host_bytes = strcspn(text, ":");
    const bool is_local = strncmp(text, "localhost:", host_bytes + 1) == 0;
    char host[LISTEN_HOST_BYTES];
    struct in_addr address;
    if (!is_listen_address(text)) {
        return false;
    }
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    return is_local || text[0] == '[' || strcmp(host, "*") == 0 ||
           inet_pton(AF_INET, host, &address) == 1;
}

static bool is_listen_list(const char *text)
{
    for (size_t i = 0; i < CONFIG_LISTEN_MOST; i++) {
        char address[LISTEN_HOST_BYTES + sizeof(":65535")];
        size_t bytes = strcspn(text, ",");
        if (bytes >= sizeof(address)) {
            return false;
        }
        memcpy(address, text, bytes);
        address[bytes] = '\0';
        if (!is_listen_address(address)) {
            return false;
        }
        if (text[bytes] == '\0') {
            return true;
        }
        text += bytes + 1;
    }
    return false;
}

/* The name that text begins with is copied to host. Returns what comes behind its comma; NULL: it
 * was the last. */
static const char *next_name(const char *text, char host[LISTEN_HOST_BYTES])
{
    const size_t bytes = strcspn(text, ",");
    snprintf(host, LISTEN_HOST_BYTES, "%.*s", (int)bytes, text);
    return text[bytes] == ',' ? text + bytes + 1 : NULL;
}

static bool is_name_list(const char *text)
{
    bool all = true;
    while (text != NULL && all) {
        char host[LISTEN_HOST_BYTES];
        all = strcspn(text, ",") < sizeof(host);
        text = next_name(text, host);
        all = all && host[0] != '\0' && is_host_name(host);
    }
    return all;
}

/* Whether there is such a user is found out at the start, not here. */
static bool is_user(const char *text)
{
    const char *colon = strchr(text, ':');
    return *text != '\0' && colon != text &&
           (colon == NULL || (colon[1] != '\0' && strchr(colon + 1, ':') == NULL));
}

static uint64_t lowest(const struct config_setting *setting, enum config_server server)
{
    return (setting->zero_servers & server) != 0 ? 0 : setting->min;
}

/* Numbers, choices and booleans end up in *number; for text it is enough to be valid. */
static bool parse(const struct config_setting *setting, enum config_server server, const char *text,
                  uint64_t *number)
{
    switch (setting->kind) {
    case CONFIG_KIND_COUNT:
        return decimal_parse(text, lowest(setting, server), setting->max, number);
    case CONFIG_KIND_CHOICE:
        return parse_choice(text, setting->names, number);
    case CONFIG_KIND_SWITCH:
    case CONFIG_KIND_FLAG:
        return parse_switch(text, number);
    case CONFIG_KIND_PATH:
        return *text != '\0';
    case CONFIG_KIND_USER:
        return is_user(text);
    case CONFIG_KIND_LISTEN:
        return is_listen_list(text);
    case CONFIG_KIND_ADDRESS:
        return is_numeric_address(text);
    case CONFIG_KIND_NAMES:
        return is_name_list(text);
    }
    return false;
}

/* text is NULL or number 0 for the word that means "none" or "choose for me". */
static void store(const struct config_setting *setting, struct config *config, const char *text,
                  uint64_t number)
{
    void *member = (char *)config + setting->offset;
    switch (setting->kind) {
    case CONFIG_KIND_COUNT:
        *(uint64_t *)member = number;
        break;
    case CONFIG_KIND_CHOICE: {
        /* The enums are different types of one size: the bytes are copied, not assigned. */
        unsigned choice = (unsigned)number;
        _Static_assert(sizeof(choice) == sizeof(config->accept), "enums are as wide as unsigned");
        memcpy(member, &choice, sizeof(choice));
        break;
    }
    case CONFIG_KIND_SWITCH:
    case CONFIG_KIND_FLAG:
        *(bool *)member = number != 0;
        break;
    case CONFIG_KIND_PATH:
    case CONFIG_KIND_USER:
    case CONFIG_KIND_LISTEN:
    case CONFIG_KIND_ADDRESS:
    case CONFIG_KIND_NAMES:
        free(*(char **)member);
        *(char **)member = text == NULL ? NULL : memory_copy_string(text);
        break;
    }
}

static void note_choice(const struct config_setting *setting, struct config *config,
                        bool is_default)
{
    uint64_t bit = UINT64_C(1) << (setting - config_settings);
    config->chosen = is_default ? config->chosen & ~bit : config->chosen | bit;
}

bool config_setting_apply(const struct config_setting *setting, enum config_server server,
                          const char *text, struct config *config)
{
    uint64_t number = 0;
    bool is_default = strcmp(text, setting->default_value) == 0;
    if (setting->empty_word != NULL && strcmp(setting->empty_word, text) == 0) {
        text = NULL;
    } else if (!parse(setting, server, text, &number)) {
        return false;
    }
    if ((setting->servers & server) != 0) {
        store(setting, config, text, number);
        note_choice(setting, config, is_default);
    }
    return true;
}

static void join_names(const char *const *names, char out[CONFIG_ALLOWED_BYTES])
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL && used < CONFIG_ALLOWED_BYTES; i++) {
        used += (size_t)snprintf(out + used, CONFIG_ALLOWED_BYTES - used, "%s%s", i == 0 ? "" : "|",
                                 names[i]);
    }
}

void config_setting_allowed(const struct config_setting *setting, enum config_server server,
                            char out[CONFIG_ALLOWED_BYTES])
{
    const char *word = setting->empty_word == NULL ? "" : setting->empty_word;
    const char *or_word = setting->empty_word == NULL ? "" : " or ";
    switch (setting->kind) {
    case CONFIG_KIND_COUNT:
        snprintf(out, CONFIG_ALLOWED_BYTES, "%s%sa number from %llu to %llu", word, or_word,
                 (unsigned long long)lowest(setting, server), (unsigned long long)setting->max);
        break;
    case CONFIG_KIND_CHOICE:
        join_names(setting->names, out);
        break;
    case CONFIG_KIND_SWITCH:
    case CONFIG_KIND_FLAG:
        snprintf(out, CONFIG_ALLOWED_BYTES, "on|off");
        break;
    case CONFIG_KIND_PATH:
        snprintf(out, CONFIG_ALLOWED_BYTES, "%s%sa path", word, or_word);
        break;
    case CONFIG_KIND_USER:
        snprintf(out, CONFIG_ALLOWED_BYTES, "%s%sUSER or USER:GROUP, by name or number", word,
                 or_word);
        break;
    case CONFIG_KIND_LISTEN:
        snprintf(
            out, CONFIG_ALLOWED_BYTES,
            "HOST:PORT, [IPv6]:PORT or *:PORT with a port from 0 to 65535, or up to %d of them",
            CONFIG_LISTEN_MOST);
        break;
    case CONFIG_KIND_ADDRESS:
        snprintf(out, CONFIG_ALLOWED_BYTES, "%s%sHOST:PORT, HOST being localhost, a number or *",
                 word, or_word);
        break;
    case CONFIG_KIND_NAMES:
        snprintf(out, CONFIG_ALLOWED_BYTES, "%s%snames of hosts with a comma between them", word,
                 or_word);
        break;
    }
}

bool config_fail_value(struct error *error, const char *where, const struct config_setting *setting,
                       enum config_server server, const char *text)
{
    char allowed[CONFIG_ALLOWED_BYTES];
    config_setting_allowed(setting, server, allowed);
    return error_set(error, "%s: \"%.*s\" is not valid; use %s", where, SHOWN_VALUE_BYTES, text,
                     allowed);
}
