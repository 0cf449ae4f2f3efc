/* What the tests of config.c and config_file.c share. Include it first. */
#ifndef TWINHTTPD_TESTS_UNIT_CONFIG_CONFIG_TESTING_H
#define TWINHTTPD_TESTS_UNIT_CONFIG_CONFIG_TESTING_H

#include "common/base/error.h"
#include "common/config/config_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { ARGUMENTS_MAX = 16, CASE_BYTES = 256 };

static const enum config_server both_servers[] = {CONFIG_SERVER_PREFORK, CONFIG_SERVER_THREADPOOL};

static struct config config;
static struct error error;
static char yaml_path[] = "/tmp/twinhttpd-test-config-XXXXXX";

/* Loads with the given arguments, up to NULL. */
static inline enum config_action load(enum config_server server, ...)
{
    char *argv[ARGUMENTS_MAX] = {"server"};
    int argc = 1;
    va_list arguments;
    va_start(arguments, server);
    for (char *one; (one = va_arg(arguments, char *)) != NULL;) {
        assert_in_range(argc, 0, ARGUMENTS_MAX - 2);
        argv[argc++] = one;
    }
    va_end(arguments);
    config_free(&config);
    return config_load(&config, server, argc, argv, &error);
}

static inline void write_yaml_bytes(const char *text, size_t bytes)
{
    FILE *file = fopen(yaml_path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static inline enum config_action load_yaml(enum config_server server, const char *text)
{
    write_yaml_bytes(text, strlen(text));
    return load(server, "--config", yaml_path, NULL);
}

static inline void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    }
}

static inline void assert_one_line(void)
{
    assert_true(error.text[0] != '\0');
    assert_null(strchr(error.text, '\n'));
    assert_in_range(strlen(error.text), 1, ERROR_TEXT_BYTES - 1);
}

/* A failed load leaves nothing behind that would have to be freed. */
static inline void assert_holds_nothing(void)
{
    static const struct config nothing;
    assert_memory_equal(&config, &nothing, sizeof(nothing));
}

static inline void assert_invalid(enum config_action action, const char *message)
{
    assert_int_equal(action, CONFIG_INVALID);
    assert_one_line();
    assert_string_equal(error.text, message);
    assert_holds_nothing();
}

/* The YAML text must be refused, with this line number and text behind the file's name. */
static inline void assert_yaml_refused_by(enum config_server server, const char *yaml,
                                          const char *message)
{
    char expected[ERROR_TEXT_BYTES];
    snprintf(expected, sizeof(expected), "%s:%s", yaml_path, message);
    assert_invalid(load_yaml(server, yaml), expected);
}

static inline void assert_yaml_refused(const char *yaml, const char *message)
{
    assert_yaml_refused_by(CONFIG_SERVER_PREFORK, yaml, message);
    assert_yaml_refused_by(CONFIG_SERVER_THREADPOOL, yaml, message);
}

static inline void assert_defaults(void)
{
    assert_string_equal(config.listen, "127.0.0.1:8080");
    assert_null(config.root);
    assert_null(config.access_log);
    assert_null(config.error_log);
    assert_null(config.user);
    assert_null(config.pid_file);
    assert_null(config.control);
    assert_int_equal(config.workers, 0);
    assert_int_equal(config.threads, 0);
    assert_int_equal(config.loops, 0);
    assert_int_equal(config.queue_length, 1024);
    assert_int_equal(config.max_connections, 0);
    assert_int_equal(config.max_connections_per_client, 0);
    assert_int_equal(config.max_request_line_bytes, 8192);
    assert_int_equal(config.max_header_bytes, 32768);
    assert_int_equal(config.max_headers, 100);
    assert_int_equal(config.max_body_bytes, 1048576);
    assert_int_equal(config.header_timeout_ms, 10000);
    assert_int_equal(config.body_timeout_ms, 30000);
    assert_int_equal(config.idle_timeout_ms, 60000);
    assert_int_equal(config.send_timeout_ms, 30000);
    assert_int_equal(config.min_send_bytes_per_s, 1024);
    assert_int_equal(config.linger_timeout_ms, 2000);
    assert_int_equal(config.max_linger_ms, 30000);
    assert_int_equal(config.max_linger_bytes, 268435456);
    assert_int_equal(config.drain_timeout_ms, 30000);
    assert_int_equal(config.start_timeout_ms, 30000);
    assert_int_equal(config.upgrade_trial_ms, 10000);
    assert_int_equal(config.stuck_after_ms, 30000);
    assert_int_equal(config.max_spare_threads, 4);
    assert_int_equal(config.recycle_after_requests, 0);
    assert_int_equal(config.recycle_after_s, 0);
    assert_int_equal(config.recycle_above_pss_kib, 0);
    assert_int_equal(config.accept, CONFIG_ACCEPT_SHARED);
    assert_int_equal(config.dispatch, CONFIG_DISPATCH_CONNECTION);
    assert_int_equal(config.offload, CONFIG_OFFLOAD_BLOCKING);
    assert_int_equal(config.seccomp, CONFIG_SECCOMP_OFF);
    assert_int_equal(config.on_fault, CONFIG_ON_FAULT_DIE);
    assert_int_equal(config.on_stuck, CONFIG_STUCK_REPLACE);
    assert_int_equal(config.etag, CONFIG_ETAG_PORTABLE);
    assert_int_equal(config.access_log_format, CONFIG_ACCESS_LOG_COMBINED);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_true(config.rebalance);
    assert_false(config.gzip);
    assert_false(config.faults);
    assert_false(config.core_files);
    assert_false(config.bare);
}

static inline void make_key(const char *option, char key[CASE_BYTES])
{
    snprintf(key, CASE_BYTES, "%s", option);
    for (char *c = key; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : *c;
    }
}

static inline char *read_whole_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    assert_in_range(fread(text, 1, 65535, file), 1, 65534);
    fclose(file);
    return text;
}

static inline int make_yaml_path(void **state)
{
    (void)state;
    int fd = mkstemp(yaml_path);
    return fd < 0 || close(fd) != 0;
}

static inline int remove_yaml_path(void **state)
{
    (void)state;
    config_free(&config);
    return unlink(yaml_path);
}

#endif
