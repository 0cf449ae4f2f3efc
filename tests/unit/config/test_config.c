#include "tests/unit/config/config_testing.h"

static void test_defaults(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(load(both_servers[i], NULL), CONFIG_RUN);
        assert_string_equal(error.text, "");
        assert_defaults();
    }
}

/* ---- every setting, from the command line and from the file ---- */

struct number_case {
    const char *name; /* of the option; the key has '_' for '-' */
    size_t offset;
    uint64_t min;
    uint64_t max;
    bool takes_auto;
    enum config_server server;
    const char *companion; /* the option that must be high as well; NULL: none */
};

#define NUMBER(member, option, min, max, auto_word, server)                                        \
    {option, offsetof(struct config, member), min, max, auto_word, server, NULL}

static const struct number_case number_cases[] = {
    NUMBER(workers, "workers", 1, 512, true, CONFIG_SERVER_PREFORK),
    NUMBER(threads, "threads", 1, 1024, true, CONFIG_SERVER_THREADPOOL),
    NUMBER(threads, "threads", 0, 1024, true, CONFIG_SERVER_PREFORK),
    NUMBER(loops, "loops", 1, 64, true, CONFIG_SERVER_THREADPOOL),
    NUMBER(queue_length, "queue-length", 1, 1000000, false, CONFIG_SERVER_THREADPOOL),
    NUMBER(max_connections, "max-connections", 1, 1000000, true, CONFIG_SERVER_PREFORK),
    NUMBER(max_connections_per_client, "max-connections-per-client", 0, 1000000, false,
           CONFIG_SERVER_THREADPOOL),
    {"max-request-line-bytes", offsetof(struct config, max_request_line_bytes), 64, 1048576, false,
     CONFIG_SERVER_PREFORK, "max-header-bytes"},
    {"max-header-bytes", offsetof(struct config, max_header_bytes), 256, 16777216, false,
     CONFIG_SERVER_PREFORK, "max-request-line-bytes"},
    NUMBER(max_headers, "max-headers", 1, 10000, false, CONFIG_SERVER_PREFORK),
    NUMBER(max_body_bytes, "max-body-bytes", 0, 1099511627776, false, CONFIG_SERVER_PREFORK),
    NUMBER(header_timeout_ms, "header-timeout-ms", 1, 86400000, false, CONFIG_SERVER_PREFORK),
    NUMBER(body_timeout_ms, "body-timeout-ms", 1, 86400000, false, CONFIG_SERVER_THREADPOOL),
    NUMBER(idle_timeout_ms, "idle-timeout-ms", 1, 86400000, false, CONFIG_SERVER_PREFORK),
    NUMBER(send_timeout_ms, "send-timeout-ms", 1, 86400000, false, CONFIG_SERVER_THREADPOOL),
    NUMBER(min_send_bytes_per_s, "min-send-bytes-per-s", 0, 1000000000, false,
           CONFIG_SERVER_PREFORK),
    NUMBER(linger_timeout_ms, "linger-timeout-ms", 1, 86400000, false, CONFIG_SERVER_PREFORK),
    NUMBER(max_linger_ms, "max-linger-ms", 1, 86400000, false, CONFIG_SERVER_THREADPOOL),
    NUMBER(max_linger_bytes, "max-linger-bytes", 0, 1099511627776, false, CONFIG_SERVER_PREFORK),
    NUMBER(drain_timeout_ms, "drain-timeout-ms", 1, 86400000, false, CONFIG_SERVER_THREADPOOL),
    NUMBER(start_timeout_ms, "start-timeout-ms", 1, 86400000, false, CONFIG_SERVER_PREFORK),
    NUMBER(upgrade_trial_ms, "upgrade-trial-ms", 1, 86400000, false, CONFIG_SERVER_PREFORK),
    NUMBER(recycle_after_requests, "recycle-after-requests", 0, 1000000000000, false,
           CONFIG_SERVER_PREFORK),
    NUMBER(recycle_after_s, "recycle-after-s", 0, 31536000, false, CONFIG_SERVER_THREADPOOL),
    NUMBER(recycle_above_pss_kib, "recycle-above-pss-kib", 0, 1099511627776, false,
           CONFIG_SERVER_PREFORK),
};

enum { NUMBER_CASES = sizeof(number_cases) / sizeof(number_cases[0]) };

static enum config_action load_option(const struct number_case *one, const char *value)
{
    char option[CASE_BYTES];
    char companion[CASE_BYTES];
    snprintf(option, sizeof(option), "--%s=%s", one->name, value);
    if (one->companion == NULL) {
        return load(one->server, option, NULL);
    }
    bool is_header = strcmp(one->companion, "max-header-bytes") == 0;
    snprintf(companion, sizeof(companion), "--%s=%s", one->companion,
             is_header ? "16777216" : "64");
    return load(one->server, companion, option, NULL);
}

static enum config_action load_key(const struct number_case *one, const char *value)
{
    char yaml[CASE_BYTES * 2];
    char key[CASE_BYTES];
    make_key(one->name, key);
    bool is_header = strcmp(key, "max_header_bytes") == 0;
    snprintf(yaml, sizeof(yaml), "%s: %s\n%s", key, value,
             is_header                                    ? "max_request_line_bytes: 64"
             : strcmp(key, "max_request_line_bytes") == 0 ? "max_header_bytes: 16777216"
                                                          : "");
    return load_yaml(one->server, yaml);
}

static void assert_number_taken(const struct number_case *one, const char *value, uint64_t number)
{
    assert_int_equal(load_option(one, value), CONFIG_RUN);
    assert_int_equal(*(uint64_t *)((char *)&config + one->offset), number);
    assert_int_equal(load_key(one, value), CONFIG_RUN);
    assert_int_equal(*(uint64_t *)((char *)&config + one->offset), number);
}

static void assert_number_refused(const struct number_case *one, const char *value)
{
    char message[ERROR_TEXT_BYTES + CASE_BYTES];
    char tail[CASE_BYTES];
    char key[CASE_BYTES];
    make_key(one->name, key);
    snprintf(tail, sizeof(tail), "\"%s\" is not valid; use %sa number from %llu to %llu", value,
             one->takes_auto ? "auto or " : "", (unsigned long long)one->min,
             (unsigned long long)one->max);
    snprintf(message, sizeof(message), "--%s: %s", one->name, tail);
    assert_invalid(load_option(one, value), message);
    snprintf(message, sizeof(message), "%s:1: %s: %s", yaml_path, key, tail);
    assert_invalid(load_key(one, value), message);
}

static void assert_number_limits(const struct number_case *one)
{
    char text[CASE_BYTES];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)one->min);
    assert_number_taken(one, text, one->min);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)one->max);
    assert_number_taken(one, text, one->max);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)one->max + 1);
    assert_number_refused(one, text);
    if (one->min > 0) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)one->min - 1);
        assert_number_refused(one, text);
    }
}

static void test_limits_of_every_number(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUMBER_CASES; i++) {
        assert_number_limits(&number_cases[i]);
    }
}

static void test_numbers_are_strictly_decimal(void **state)
{
    (void)state;
    static const char *const bad[] = {"abc",
                                      "-1",
                                      "+300",
                                      "0x100",
                                      "300k",
                                      "300 ms",
                                      "300.0",
                                      "1e3",
                                      "3 0 0",
                                      "18446744073709551616",
                                      "18446744073709551916",
                                      "99999999999999999999999999"};
    for (size_t i = 0; i < NUMBER_CASES; i++) {
        for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
            assert_number_refused(&number_cases[i], bad[j]);
        }
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers=", NULL), CONFIG_INVALID);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers", " 3", NULL), CONFIG_INVALID);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers", "010", NULL), CONFIG_RUN);
    assert_int_equal(config.workers, 10); /* not octal */
    assert_int_equal(load_yaml(CONFIG_SERVER_PREFORK, "workers: 010"), CONFIG_RUN);
    assert_int_equal(config.workers, 10);
}

static void test_auto(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUMBER_CASES; i++) {
        if (number_cases[i].takes_auto) {
            assert_number_taken(&number_cases[i], "auto", 0);
        } else {
            assert_number_refused(&number_cases[i], "auto");
        }
    }
}

static void test_a_watchdog_that_is_off(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(load(both_servers[i], "--stuck-after-ms=off", NULL), CONFIG_RUN);
        assert_int_equal(config.stuck_after_ms, 0);
        assert_int_equal(load_yaml(both_servers[i], "stuck_after_ms: off"), CONFIG_RUN);
        assert_int_equal(config.stuck_after_ms, 0);
        assert_int_equal(load(both_servers[i], "--stuck-after-ms=1000", NULL), CONFIG_RUN);
        assert_int_equal(config.stuck_after_ms, 1000);
        assert_invalid(load(both_servers[i], "--stuck-after-ms=999", NULL),
                       "--stuck-after-ms: \"999\" is not valid; use off or a number from 1000 to "
                       "86400000");
    }
}

struct choice_case {
    const char *option;
    size_t offset;
    const char *allowed; /* as shown in errors: names in the order of their values */
};

static const struct choice_case choice_cases[] = {
    {"accept", offsetof(struct config, accept), "shared|reuseport"},
    {"dispatch", offsetof(struct config, dispatch), "connection|request"},
    {"offload", offsetof(struct config, offload), "blocking|all"},
    {"seccomp", offsetof(struct config, seccomp), "off|log|on"},
    {"on-fault", offsetof(struct config, on_fault), "die|recover"},
    {"on-stuck", offsetof(struct config, on_stuck), "replace|report|spare"},
    {"access-log-format", offsetof(struct config, access_log_format), "combined|json"},
    {"log-level", offsetof(struct config, log_level), "debug|info|notice|warn|error"},
};

/* Checks that the n-th name is stored as n, through both ways in. */
static void assert_choice_taken(const struct choice_case *one, const char *name, unsigned value)
{
    char option[CASE_BYTES];
    char key[CASE_BYTES];
    char yaml[CASE_BYTES * 2];
    make_key(one->option, key);
    snprintf(option, sizeof(option), "--%s", one->option);
    snprintf(yaml, sizeof(yaml), "%s: %s", key, name);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(load(both_servers[i], option, name, NULL), CONFIG_RUN);
        assert_int_equal(*(unsigned *)((char *)&config + one->offset), value);
        assert_int_equal(load_yaml(both_servers[i], yaml), CONFIG_RUN);
        assert_int_equal(*(unsigned *)((char *)&config + one->offset), value);
    }
}

static void assert_choice_refused(const struct choice_case *one, const char *name)
{
    char argument[CASE_BYTES];
    char message[ERROR_TEXT_BYTES];
    char yaml[CASE_BYTES * 2];
    char key[CASE_BYTES];
    make_key(one->option, key);
    snprintf(argument, sizeof(argument), "--%s=%s", one->option, name);
    snprintf(message, sizeof(message), "--%s: \"%s\" is not valid; use %s", one->option, name,
             one->allowed);
    assert_invalid(load(CONFIG_SERVER_THREADPOOL, argument, NULL), message);
    snprintf(yaml, sizeof(yaml), "\n\n%s: \"%s\"", key, name);
    snprintf(message, sizeof(message), "3: %s: \"%s\" is not valid; use %s", key, name,
             one->allowed);
    assert_yaml_refused(yaml, message);
}

static void test_every_choice(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(choice_cases) / sizeof(choice_cases[0]); i++) {
        const struct choice_case *one = &choice_cases[i];
        char names[CASE_BYTES];
        unsigned value = 0;
        snprintf(names, sizeof(names), "%s", one->allowed);
        for (char *name = strtok(names, "|"); name != NULL; name = strtok(NULL, "|")) {
            assert_choice_taken(one, name, value++);
        }
        assert_choice_refused(one, "bogus");
        assert_choice_refused(one, "");
        assert_choice_refused(one, "0");
        assert_choice_refused(one, "Shared");
    }
    assert_int_equal(CONFIG_ACCEPT_REUSEPORT, 1);
    assert_int_equal(CONFIG_DISPATCH_REQUEST, 1);
    assert_int_equal(CONFIG_OFFLOAD_ALL, 1);
    assert_int_equal(CONFIG_SECCOMP_ON, 2);
    assert_int_equal(CONFIG_ACCESS_LOG_JSON, 1);
    assert_int_equal(LOG_ERROR, 4);
}

static void test_switches(void **state)
{
    (void)state;
    static const char *const yes[] = {"on", "true", "yes", "True", "ON"};
    static const char *const no[] = {"off", "false", "no", "False", "OFF"};
    char yaml[CASE_BYTES];
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        snprintf(yaml, sizeof(yaml), "faults: %s\nbare: %s\n", yes[i], yes[i]);
        assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL, yaml), CONFIG_RUN);
        assert_true(config.faults && config.bare);
        snprintf(yaml, sizeof(yaml), "faults: %s\nbare: %s\n", no[i], no[i]);
        assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL, yaml), CONFIG_RUN);
        assert_false(config.faults || config.bare);
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--faults", "on", NULL), CONFIG_RUN);
    assert_true(config.faults);
    assert_false(config.bare);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--core-files", "on", NULL), CONFIG_RUN);
    assert_true(config.core_files);
    assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL, "core_files: on"), CONFIG_RUN);
    assert_true(config.core_files);
    assert_false(config.faults);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--faults", "off", NULL), CONFIG_RUN);
    assert_false(config.faults);
    assert_int_equal(load(CONFIG_SERVER_THREADPOOL, "--bare", NULL), CONFIG_RUN);
    assert_true(config.bare);
    assert_false(config.faults);
}

static void test_bad_switches(void **state)
{
    (void)state;
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--faults", "maybe", NULL),
                   "--faults: \"maybe\" is not valid; use on|off");
    assert_yaml_refused("faults: 1", "1: faults: \"1\" is not valid; use on|off");
    assert_yaml_refused("faults: onn", "1: faults: \"onn\" is not valid; use on|off");
    assert_yaml_refused("bare:", "1: bare: \"\" is not valid; use on|off");
}

static void test_paths(void **state)
{
    (void)state;
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--root", "/srv/www", "--access-log", "a.log",
                          "--error-log", "e.log", NULL),
                     CONFIG_RUN);
    assert_string_equal(config.root, "/srv/www");
    assert_string_equal(config.access_log, "a.log");
    assert_string_equal(config.error_log, "e.log");
    assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL,
                               "root: /srv/w w\naccess_log: 'a.log'\nerror_log: \"e.log\"\n"),
                     CONFIG_RUN);
    assert_string_equal(config.root, "/srv/w w");
    assert_string_equal(config.access_log, "a.log");
    assert_string_equal(config.error_log, "e.log");
}

static void test_words_that_mean_no_path(void **state)
{
    (void)state;
    static const char yaml[] = "root: /srv\naccess_log: a.log\nerror_log: e.log\n";
    write_yaml_bytes(yaml, strlen(yaml));
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--root", "auto", "--access-log", "off",
                          "--error-log", "stderr", "--config", yaml_path, NULL),
                     CONFIG_RUN);
    assert_null(config.root);
    assert_null(config.access_log);
    assert_null(config.error_log);
    assert_int_equal(
        load_yaml(CONFIG_SERVER_PREFORK, "root: auto\naccess_log: off\nerror_log: stderr\n"),
        CONFIG_RUN);
    assert_defaults();
}

static void test_empty_paths(void **state)
{
    (void)state;
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--root", "", NULL),
                   "--root: \"\" is not valid; use auto or a path");
    assert_yaml_refused("access_log: ''", "1: access_log: \"\" is not valid; use off or a path");
    assert_yaml_refused("error_log:", "1: error_log: \"\" is not valid; use stderr or a path");
}

static void test_user(void **state)
{
    (void)state;
    static const char *const good[] = {"nobody", "www-data:adm", "1000", "a.b-c_d"};
    static const char *const bad[] = {"", ":", ":group", "name:", "name:group:more"};
    char yaml[CASE_BYTES];
    char message[ERROR_TEXT_BYTES];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(load(CONFIG_SERVER_PREFORK, "--user", good[i], NULL), CONFIG_RUN);
        assert_string_equal(config.user, good[i]);
        snprintf(yaml, sizeof(yaml), "user: %s", good[i]);
        assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL, yaml), CONFIG_RUN);
        assert_string_equal(config.user, good[i]);
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--user", "keep", NULL), CONFIG_RUN);
    assert_null(config.user);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(message, sizeof(message),
                 "--user: \"%s\" is not valid; use keep or USER or USER:GROUP, by name or number",
                 bad[i]);
        assert_invalid(load(CONFIG_SERVER_PREFORK, "--user", bad[i], NULL), message);
        snprintf(yaml, sizeof(yaml), "user: '%s'", bad[i]);
        snprintf(message, sizeof(message),
                 "1: user: \"%s\" is not valid; use keep or USER or USER:GROUP, by name or number",
                 bad[i]);
        assert_yaml_refused(yaml, message);
    }
}

static void test_listen(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1:8080", "0.0.0.0:0",   "[::1]:65535",
                                       "[::]:80",        "*:8080",      "localhost:8080",
                                       "a-b.example:1",  "1and1.de:80", "[2001:db8::ffff:1]:443",
                                       "a:1,[::1]:2,*:3"};
    char yaml[CASE_BYTES];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(load(CONFIG_SERVER_PREFORK, "--listen", good[i], NULL), CONFIG_RUN);
        assert_string_equal(config.listen, good[i]);
        snprintf(yaml, sizeof(yaml), "listen: \"%s\"", good[i]);
        assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL, yaml), CONFIG_RUN);
        assert_string_equal(config.listen, good[i]);
    }
}

static void test_bad_listen(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "8080",
                                      ":8080",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:-1",
                                      "::1:8080",
                                      "[::1]",
                                      "[::1]8080",
                                      "[]:80",
                                      "[127.0.0.1]:80",
                                      "[::g]:80",
                                      "256.0.0.1:80",
                                      "1.2.3:80",
                                      "1.2.3.4.5:80",
                                      "a b:80",
                                      "*:http",
                                      "**:80",
                                      "[::1:80",
                                      "http://a:80",
                                      "a:1,",
                                      ",a:1",
                                      "a:1,,b:2",
                                      "a:1, b:2",
                                      "a:1,b:2,c"};
    static const char allowed[] = "HOST:PORT, [IPv6]:PORT or *:PORT with a port from 0 to "
                                  "65535, or up to 16 of them";
    char message[ERROR_TEXT_BYTES];
    char yaml[CASE_BYTES];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(message, sizeof(message), "--listen: \"%s\" is not valid; use %s", bad[i],
                 allowed);
        assert_invalid(load(CONFIG_SERVER_PREFORK, "--listen", bad[i], NULL), message);
        snprintf(yaml, sizeof(yaml), "# first\nlisten: '%s'", bad[i]);
        snprintf(message, sizeof(message), "2: listen: \"%s\" is not valid; use %s", bad[i],
                 allowed);
        assert_yaml_refused(yaml, message);
    }
}

/* By number: nobody is asked for what a name stands for. */
static void test_observe(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1:8090", "localhost:0", "[::1]:8090", "0.0.0.0:1",
                                       "*:65535"};
    static const char *const bad[] = {"example.com:8090",
                                      "localhost",
                                      "localhosts:1",
                                      "local:1",
                                      ":1",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:1,127.0.0.1:2",
                                      "[::1:1",
                                      "*",
                                      "on",
                                      ""};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(load(CONFIG_SERVER_PREFORK, "--observe", good[i], NULL), CONFIG_RUN);
        assert_string_equal(config.observe, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char message[256];
        snprintf(message, sizeof(message),
                 "--observe: \"%s\" is not valid; use off or HOST:PORT, HOST being localhost, a "
                 "number or *",
                 bad[i]);
        assert_invalid(load(CONFIG_SERVER_PREFORK, "--observe", bad[i], NULL), message);
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--observe", "off", NULL), CONFIG_RUN);
    assert_null(config.observe);
    assert_false(config.observe_control);
}

static void test_names_of_the_observer(void **state)
{
    (void)state;
    static const char *const good[] = {"web", "web.example,a-b", "127.0.0.1", "A.b,c,d"};
    static const char *const bad[] = {"",    ",",    "a,",    ",a", "a,,b",
                                      "a b", "a:80", "[::1]", "*",  "1.2"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(load(CONFIG_SERVER_THREADPOOL, "--observe-names", good[i], NULL),
                         CONFIG_RUN);
        assert_string_equal(config.observe_names, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char message[256];
        snprintf(message, sizeof(message),
                 "--observe-names: \"%s\" is not valid; use none or names of hosts with a comma "
                 "between them",
                 bad[i]);
        assert_invalid(load(CONFIG_SERVER_PREFORK, "--observe-names", bad[i], NULL), message);
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, NULL), CONFIG_RUN);
    assert_null(config.observe_names);
}

static void test_listen_lists(void **state)
{
    (void)state;
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--listen", "a:1", "--listen", "b:2,c:3",
                          "--listen=[::1]:4", NULL),
                     CONFIG_RUN);
    assert_string_equal(config.listen, "a:1,b:2,c:3,[::1]:4");
    static const char *const yaml[] = {"listen: [\"a:1\", b:2, '[::1]:4']",
                                       "listen:\n- a:1\n- b:2\n- \"[::1]:4\"\nworkers: 3",
                                       "listen: 'a:1,b:2,[::1]:4'"};
    for (size_t i = 0; i < sizeof(yaml) / sizeof(yaml[0]); i++) {
        assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL, yaml[i]), CONFIG_RUN);
        assert_string_equal(config.listen, "a:1,b:2,[::1]:4");
    }
    char most[256] = "a:0";
    for (int i = 1; i < CONFIG_LISTEN_MOST; i++) {
        strcat(most, ",a:0");
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--listen", most, NULL), CONFIG_RUN);
    strcat(most, ",a:0");
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--listen", most, NULL), CONFIG_INVALID);
}

static void test_bad_listen_lists(void **state)
{
    (void)state;
    static const char *const yaml[] = {"listen: []",           "listen: [a:1, b]",
                                       "listen: [a:1, [b:2]]", "listen: [{a: 1}]",
                                       "workers: [1]",         "listen:"};
    for (size_t i = 0; i < sizeof(yaml) / sizeof(yaml[0]); i++) {
        assert_int_equal(load_yaml(CONFIG_SERVER_PREFORK, yaml[i]), CONFIG_INVALID);
        assert_one_line();
        assert_holds_nothing();
    }
}

static void test_host_longer_than_a_name(void **state)
{
    (void)state;
    char address[300];
    memset(address, 'a', sizeof(address));
    memcpy(address + 256, ":80", 4);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--listen", address, NULL), CONFIG_INVALID);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--listen", address + 1, NULL), CONFIG_RUN);
}

/* ---- the command line ---- */

static void test_actions(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(load(both_servers[i], "--help", NULL), CONFIG_HELP);
        assert_int_equal(load(both_servers[i], "--version", NULL), CONFIG_VERSION);
        assert_int_equal(load(both_servers[i], "--test-config", NULL), CONFIG_TEST);
        assert_int_equal(load(both_servers[i], "--health-check", "--listen", "*:1", NULL),
                         CONFIG_HEALTH_CHECK);
        assert_string_equal(config.listen, "*:1");
    }
}

static void test_help_does_not_need_a_good_configuration(void **state)
{
    (void)state;
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--config", "/nonexistent", "--workers", "x",
                          "--help", "--bogus", NULL),
                     CONFIG_HELP);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--config", "/nonexistent", "--version", NULL),
                     CONFIG_VERSION);
    assert_defaults();
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--bogus", "--help", NULL), CONFIG_INVALID);
}

static void test_check_actions_need_a_good_configuration(void **state)
{
    (void)state;
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--test-config", "--workers", "0", NULL),
                     CONFIG_INVALID);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--health-check", "--workers", "0", NULL),
                     CONFIG_INVALID);
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--health-check", "--test-config", NULL),
                   "--test-config and --health-check exclude each other; give one");
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--test-config", "--test-config", NULL),
                     CONFIG_TEST);
}

static void test_unknown_options(void **state)
{
    (void)state;
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--bogus", NULL),
                   "unknown option \"--bogus\"; see --help");
    assert_invalid(load(CONFIG_SERVER_THREADPOOL, "--threads", "2", "--bogus=3", NULL),
                   "unknown option \"--bogus\"; see --help");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "-x", NULL), "unknown option \"-x\"; see --help");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "-abc", NULL), "unknown option \"-a\"; see --help");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--max_headers", "3", NULL),
                   "unknown option \"--max_headers\"; see --help");
}

static void test_errors_stay_one_line(void **state)
{
    (void)state;
    char longer[2000];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers", longer, NULL), CONFIG_INVALID);
    assert_one_line();
    assert_contains(error.text, "is not valid; use auto or a number from 1 to 512");
    assert_int_equal(load(CONFIG_SERVER_PREFORK, longer, NULL), CONFIG_INVALID);
    assert_contains(error.text, "see --help");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--workers", "1\n2\x1b[31m", NULL),
                   "--workers: \"1?2?[31m\" is not valid; use auto or a number from 1 to 512");
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--config", longer, NULL), CONFIG_INVALID);
    assert_contains(error.text, "File name too long; check the path after --config");
}

static void test_values_of_options(void **state)
{
    (void)state;
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--workers", NULL),
                   "--workers needs a value; use auto or a number from 1 to 512");
    assert_invalid(load(CONFIG_SERVER_THREADPOOL, "--accept", NULL),
                   "--accept needs a value; use shared|reuseport");
    assert_invalid(load(CONFIG_SERVER_THREADPOOL, "--threads", NULL),
                   "--threads needs a value; use auto or a number from 1 to 1024");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--threads", NULL),
                   "--threads needs a value; use auto or a number from 0 to 1024");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--config", NULL),
                   "--config needs a value; use the path of a YAML file");
    assert_invalid(load(CONFIG_SERVER_THREADPOOL, "--bare=on", NULL),
                   "--bare takes no value; give it alone");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--help=me", NULL),
                   "--help takes no value; give it alone");
}

static void test_positional_arguments(void **state)
{
    (void)state;
    static const char tail[] = "every setting is an --option, see --help";
    char message[CASE_BYTES];
    static const char *const stray[] = {"8080", "", "-"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(message, sizeof(message), "unexpected argument \"%s\"; %s", stray[i], tail);
        assert_invalid(load(CONFIG_SERVER_PREFORK, "--workers", "2", stray[i], NULL), message);
        assert_invalid(load(CONFIG_SERVER_PREFORK, stray[i], "--workers", "2", NULL), message);
        assert_invalid(load(CONFIG_SERVER_PREFORK, "--", stray[i], NULL), message);
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers", "2", "--", NULL), CONFIG_RUN);
}

static void test_options_of_the_other_server(void **state)
{
    (void)state;
    assert_invalid(load(CONFIG_SERVER_THREADPOOL, "--workers", "2", NULL),
                   "threadpool-server does not have --workers; it has one process: use --threads, "
                   "or prefork-server --threads for several");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--bare", NULL),
                   "prefork-server does not have --bare; it always has a master: leave it out, or "
                   "run threadpool-server --bare");
}

static void test_last_option_counts(void **state)
{
    (void)state;
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers", "2", "--workers=7", NULL),
                     CONFIG_RUN);
    assert_int_equal(config.workers, 7);
}

static void test_arguments_are_not_reordered(void **state)
{
    (void)state;
    char *argv[] = {"server", "--workers", "2", "stray", "--faults", "on", NULL};
    char *before[7];
    memcpy(before, argv, sizeof(argv));
    config_free(&config);
    assert_int_equal(config_load(&config, CONFIG_SERVER_PREFORK, 6, argv, &error), CONFIG_INVALID);
    assert_memory_equal(before, argv, sizeof(argv));
}

/* Nothing may reach standard error: the caller prints the one line. */
static void test_nothing_is_printed(void **state)
{
    (void)state;
    char captured[] = "/tmp/twinhttpd-test-stderr-XXXXXX";
    int fd = mkstemp(captured);
    int saved = dup(STDERR_FILENO);
    assert_true(fd >= 0 && saved >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    load(CONFIG_SERVER_PREFORK, "--bogus", NULL);
    load(CONFIG_SERVER_PREFORK, "--workers", NULL);
    load(CONFIG_SERVER_PREFORK, "-x", NULL);
    load(CONFIG_SERVER_THREADPOOL, "--bare=1", NULL);
    load_yaml(CONFIG_SERVER_PREFORK, "bogus: [\n");
    load_yaml(CONFIG_SERVER_PREFORK, "workers: [1]\n");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0);
    close(saved);
    close(fd);
    unlink(captured);
}

/* ---- --help ---- */

static char *help_of(enum config_server server)
{
    FILE *file = fopen(yaml_path, "w");
    assert_non_null(file);
    config_print_help(file, server);
    assert_int_equal(fclose(file), 0);
    return read_whole_file(yaml_path);
}

static void test_help_names_every_option(void **state)
{
    (void)state;
    char *prefork = help_of(CONFIG_SERVER_PREFORK);
    char *threadpool = help_of(CONFIG_SERVER_THREADPOOL);
    assert_in_range(config_setting_count, 40, CONFIG_SETTINGS_MOST);
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct config_setting *setting = &config_settings[i];
        char option[CASE_BYTES];
        snprintf(option, sizeof(option), "\n  --%s%s", setting->option,
                 setting->kind == CONFIG_KIND_FLAG ? "\n" : " VALUE\n");
        assert_int_equal(strstr(prefork, option) != NULL,
                         (setting->servers & CONFIG_SERVER_PREFORK) != 0);
        assert_int_equal(strstr(threadpool, option) != NULL,
                         (setting->servers & CONFIG_SERVER_THREADPOOL) != 0);
    }
    assert_null(strstr(prefork, "\n  --bare"));
    assert_null(strstr(threadpool, "\n  --workers"));
    free(prefork);
    free(threadpool);
}

static void test_help_shows_defaults_and_ranges(void **state)
{
    (void)state;
    char *prefork = help_of(CONFIG_SERVER_PREFORK);
    char *threadpool = help_of(CONFIG_SERVER_THREADPOOL);
    static const char *const commands[] = {"--config FILE", "--test-config", "--health-check",
                                           "--help", "--version"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        assert_contains(prefork, commands[i]);
    }
    assert_contains(prefork, "Usage: prefork-server ");
    assert_contains(threadpool, "Usage: threadpool-server ");
    assert_contains(prefork, "VALUE: auto or a number from 0 to 1024; default: auto");
    assert_contains(threadpool, "VALUE: auto or a number from 1 to 1024; default: auto");
    assert_contains(prefork, "VALUE: a number from 1 to 86400000; default: 10000");
    assert_contains(prefork, "VALUE: debug|info|notice|warn|error; default: info");
    assert_contains(prefork, "VALUE: stderr or a path; default: stderr");
    free(prefork);
    free(threadpool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_limits_of_every_number),
        cmocka_unit_test(test_a_watchdog_that_is_off),
        cmocka_unit_test(test_numbers_are_strictly_decimal),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_every_choice),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_bad_switches),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_words_that_mean_no_path),
        cmocka_unit_test(test_empty_paths),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_bad_listen),
        cmocka_unit_test(test_observe),
        cmocka_unit_test(test_names_of_the_observer),
        cmocka_unit_test(test_listen_lists),
        cmocka_unit_test(test_bad_listen_lists),
        cmocka_unit_test(test_host_longer_than_a_name),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_help_does_not_need_a_good_configuration),
        cmocka_unit_test(test_check_actions_need_a_good_configuration),
        cmocka_unit_test(test_unknown_options),
        cmocka_unit_test(test_errors_stay_one_line),
        cmocka_unit_test(test_values_of_options),
        cmocka_unit_test(test_positional_arguments),
        cmocka_unit_test(test_options_of_the_other_server),
        cmocka_unit_test(test_last_option_counts),
        cmocka_unit_test(test_arguments_are_not_reordered),
        cmocka_unit_test(test_nothing_is_printed),
        cmocka_unit_test(test_help_names_every_option),
        cmocka_unit_test(test_help_shows_defaults_and_ranges),
    };
    return cmocka_run_group_tests_name("config", tests, make_yaml_path, remove_yaml_path);
}
