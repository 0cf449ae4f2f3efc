#include "tests/unit/config/config_testing.h"

#include <sys/stat.h>

static void assert_text_equal(const char *actual, const char *expected)
{
    if (actual == NULL || expected == NULL) {
        assert_ptr_equal(actual, expected);
    } else {
        assert_string_equal(actual, expected);
    }
}

static void assert_configs_equal(const struct config *a, const struct config *b)
{
    struct config plain_a = *a;
    struct config plain_b = *b;
    assert_text_equal(a->listen, b->listen);
    assert_text_equal(a->root, b->root);
    assert_text_equal(a->access_log, b->access_log);
    assert_text_equal(a->control, b->control);
    assert_text_equal(a->error_log, b->error_log);
    plain_a.listen = plain_a.root = plain_a.access_log = plain_a.error_log = NULL;
    plain_a.control = plain_b.control = NULL;
    plain_b.listen = plain_b.root = plain_b.access_log = plain_b.error_log = NULL;
    assert_memory_equal(&plain_a, &plain_b, sizeof(plain_a));
}

static void test_file_without_settings(void **state)
{
    (void)state;
    static const char *const empty[] = {"", "\n\n", "# a comment\n", "---\n", "---\n...\n", "{}"};
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        assert_int_equal(load_yaml(CONFIG_SERVER_PREFORK, empty[i]), CONFIG_RUN);
        assert_defaults();
    }
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--config", "/dev/null", NULL), CONFIG_RUN);
}

static void test_command_line_wins_wherever_config_stands(void **state)
{
    (void)state;
    static const char yaml[] = "workers: 3\nmax_headers: 33\nlisten: 127.0.0.1:3\nfaults: on\n";
    write_yaml_bytes(yaml, strlen(yaml));
    for (int i = 0; i < 2; i++) {
        enum config_action action =
            i == 0 ? load(CONFIG_SERVER_PREFORK, "--config", yaml_path, "--workers", "5",
                          "--listen", "*:5", "--faults", "off", NULL)
                   : load(CONFIG_SERVER_PREFORK, "--workers", "5", "--listen", "*:5", "--faults",
                          "off", "--config", yaml_path, NULL);
        assert_int_equal(action, CONFIG_RUN);
        assert_int_equal(config.workers, 5);
        assert_string_equal(config.listen, "*:5");
        assert_false(config.faults);
        assert_int_equal(config.max_headers, 33); /* the file wins over the default */
        assert_int_equal(config.max_body_bytes, 1048576);
    }
}

static void test_auto_on_the_command_line_wins_too(void **state)
{
    (void)state;
    write_yaml_bytes("workers: 3\n", 11);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers=auto", "--config", yaml_path, NULL),
                     CONFIG_RUN);
    assert_int_equal(config.workers, 0);
}

static void test_a_good_option_does_not_hide_a_bad_file(void **state)
{
    (void)state;
    write_yaml_bytes("workers: 0\n", 11);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--workers=2", "--config", yaml_path, NULL),
                     CONFIG_INVALID);
    assert_contains(error.text, ":1: workers: \"0\" is not valid");
}

static void test_config_given_twice(void **state)
{
    (void)state;
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--config", "a", "--config", "b", NULL),
                   "--config is given twice; put all settings in one file");
}

static void test_keys_of_the_other_server(void **state)
{
    (void)state;
    static const char pair[] = "workers: 7\nthreads: 5\nbare: on\n";
    assert_int_equal(load_yaml(CONFIG_SERVER_PREFORK, pair), CONFIG_RUN);
    assert_int_equal(config.workers, 7);
    assert_int_equal(config.threads, 5);
    assert_false(config.bare);
    assert_int_equal(load_yaml(CONFIG_SERVER_THREADPOOL, pair), CONFIG_RUN);
    assert_int_equal(config.workers, 0);
    assert_int_equal(config.threads, 5);
    assert_true(config.bare);
    assert_yaml_refused("threads: 1\nworkers: 513\n",
                        "2: workers: \"513\" is not valid; use auto or a number from 1 to 512");
    assert_yaml_refused("bare: 7\n", "1: bare: \"7\" is not valid; use on|off");
}

static void test_zero_threads_in_the_file(void **state)
{
    (void)state;
    assert_int_equal(load_yaml(CONFIG_SERVER_PREFORK, "threads: 0"), CONFIG_RUN);
    assert_yaml_refused_by(CONFIG_SERVER_THREADPOOL, "threads: 0",
                           "1: threads: \"0\" is not valid; use auto or a number from 1 to 1024");
}

static void test_unknown_key(void **state)
{
    (void)state;
    assert_yaml_refused("workers: 2\n# comment\nbogus: 3\nthreads: 4\n",
                        "3: unknown key \"bogus\"; see --help for the settings");
    assert_yaml_refused("bogus: 3\n", "1: unknown key \"bogus\"; see --help for the settings");
    assert_yaml_refused("workers: 2\n\n\nmax-headers: 3\n",
                        "4: unknown key \"max-headers\"; see --help for the settings");
    assert_yaml_refused("Workers: 2\n", "1: unknown key \"Workers\"; see --help for the settings");
    assert_yaml_refused("config: a\n", "1: unknown key \"config\"; see --help for the settings");
    assert_yaml_refused("{workers: 2,\n \"a\\nb\": 3}\n",
                        "2: unknown key \"a?b\"; see --help for the settings");
}

static void test_duplicate_key(void **state)
{
    (void)state;
    assert_yaml_refused("workers: 2\nthreads: 1\n\nworkers: 2\n",
                        "4: duplicate key \"workers\" (first on line 1); keep one of them");
    assert_yaml_refused("listen: 'a:1'\nlisten: 'a:1'\n",
                        "2: duplicate key \"listen\" (first on line 1); keep one of them");
}

static void test_wrong_types(void **state)
{
    (void)state;
    assert_yaml_refused("threads: 1\nworkers: [1, 2]\n",
                        "2: workers: a list is not valid; use auto or a number from 1 to 512 (in "
                        "quotes if need be)");
    assert_yaml_refused("\nworkers:\n  - 1\n",
                        "2: workers: a list is not valid; use auto or a number from 1 to 512 (in "
                        "quotes if need be)");
    assert_yaml_refused("root:\n  a: b\n",
                        "1: root: a mapping is not valid; use auto or a path (in "
                        "quotes if need be)");
    assert_yaml_refused("workers: &n 2\nfaults: *n\n",
                        "2: faults: an alias is not valid; use on|off (in quotes if need be)");
    assert_yaml_refused("workers: two\n",
                        "1: workers: \"two\" is not valid; use auto or a number from 1 to 512");
}

static void test_files_that_are_not_settings(void **state)
{
    (void)state;
    static const char tail[] = "write lines of the form \"key: value\"";
    char message[CASE_BYTES];
    snprintf(message, sizeof(message), "1: not a setting; %s", tail);
    assert_yaml_refused("just a sentence", message);
    assert_yaml_refused("- workers\n- threads\n", message);
    snprintf(message, sizeof(message), "2: not a key; %s", tail);
    assert_yaml_refused("workers: 1\n? [a, b]\n: 3\n", message);
    assert_yaml_refused("workers: 1\n---\nworkers: 2\n",
                        "2: a second document; keep all settings in the first");
}

static void test_syntax_errors(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        size_t bytes;
        const char *where;
    } cases[] = {
        {"workers: 1\nlisten: *:8080\n", 0, ":2: YAML syntax error: "},
        {"workers: 1\n\nthreads: \"2\n", 0, ":4: YAML syntax error: "},
        {"workers: 1\n  threads: 2\n", 0, ":2: YAML syntax error: "},
        {"workers: 1\n\tthreads: 2\n", 0, ":2: YAML syntax error: "},
        {"workers: 1\n# \xff\n", 0, ":2: YAML syntax error: "},
        {"# one\n# two\nroot: a\0b\n", 22, ":3: YAML syntax error: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t bytes = cases[i].bytes == 0 ? strlen(cases[i].yaml) : cases[i].bytes;
        write_yaml_bytes(cases[i].yaml, bytes);
        assert_int_equal(load(CONFIG_SERVER_PREFORK, "--config", yaml_path, NULL), CONFIG_INVALID);
        assert_one_line();
        assert_contains(error.text, yaml_path);
        assert_contains(error.text, cases[i].where);
        assert_contains(error.text,
                        "; correct the line, and put a value that begins with * or [ in "
                        "quotes");
        assert_holds_nothing();
    }
}

static void test_unreadable_files(void **state)
{
    (void)state;
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--config", "/nonexistent/a.yaml", NULL),
                   "/nonexistent/a.yaml: cannot be opened: No such file or directory; check the "
                   "path after --config");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--config", "/tmp", NULL),
                   "/tmp: cannot be read: Is a directory; give --config a YAML file");
    assert_invalid(load(CONFIG_SERVER_PREFORK, "--config", "/dev/zero", NULL),
                   "/dev/zero: is larger than 1048576 bytes; give --config a YAML file");
    if (geteuid() != 0) { /* root may read every file */
        write_yaml_bytes("workers: 1\n", 11);
        assert_int_equal(chmod(yaml_path, 0), 0);
        assert_int_equal(load(CONFIG_SERVER_PREFORK, "--config", yaml_path, NULL), CONFIG_INVALID);
        assert_contains(error.text, "Permission denied");
        assert_int_equal(chmod(yaml_path, 0600), 0);
    }
}

static void test_request_line_fits_in_headers(void **state)
{
    (void)state;
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--max-header-bytes", "8191", NULL), CONFIG_RUN);
    assert_int_equal(config.max_request_line_bytes, 8191);
    assert_int_equal(load(CONFIG_SERVER_PREFORK, "--max-header-bytes", "8193", NULL), CONFIG_RUN);
    assert_int_equal(config.max_request_line_bytes, 8192);
    assert_int_equal(
        load_yaml(CONFIG_SERVER_PREFORK, "max_header_bytes: 300\nmax_request_line_bytes: 301\n"),
        CONFIG_RUN);
    assert_int_equal(config.max_request_line_bytes, 300);
}

/* ---- the files that come along, and --help ---- */

static void test_commented_file_is_the_defaults(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct config defaults;
        char *argv[] = {"server", NULL};
        assert_int_equal(config_load(&defaults, both_servers[i], 1, argv, &error), CONFIG_RUN);
        enum config_action action =
            load(both_servers[i], "--config", TWINHTTPD_SOURCE_DIR "/config/twinhttpd.yaml", NULL);
        assert_string_equal(error.text, "");
        assert_int_equal(action, CONFIG_RUN);
        assert_configs_equal(&config, &defaults);
        config_free(&defaults);
    }
}

/* Every key stands in the commented file, at the beginning of a line. */
static void test_commented_file_is_complete(void **state)
{
    (void)state;
    char *text = read_whole_file(TWINHTTPD_SOURCE_DIR "/config/twinhttpd.yaml");
    for (size_t i = 0; i < config_setting_count; i++) {
        char line[CASE_BYTES + 8];
        snprintf(line, sizeof(line), "\n%s: ", config_settings[i].key);
        assert_contains(text, line);
    }
    free(text);
}

static void test_example_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            load(both_servers[i], "--config", TWINHTTPD_SOURCE_DIR "/config/faults.yaml", NULL),
            CONFIG_RUN);
        assert_true(config.faults);
        assert_null(config.access_log);
        assert_int_equal(
            load(both_servers[i], "--config", TWINHTTPD_SOURCE_DIR "/config/docker.yaml", NULL),
            CONFIG_RUN);
        assert_string_equal(config.listen, "*:8080");
        assert_string_equal(config.access_log, "/dev/stdout");
        assert_int_equal(config.access_log_format, CONFIG_ACCESS_LOG_JSON);
        assert_int_equal(config.drain_timeout_ms, 7000);
        assert_int_equal(config.seccomp, CONFIG_SECCOMP_ON); /* others can reach it */
        assert_int_equal(config.bench, CONFIG_BENCH_AUTO);
        assert_false(config.faults);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_without_settings),
        cmocka_unit_test(test_command_line_wins_wherever_config_stands),
        cmocka_unit_test(test_auto_on_the_command_line_wins_too),
        cmocka_unit_test(test_a_good_option_does_not_hide_a_bad_file),
        cmocka_unit_test(test_config_given_twice),
        cmocka_unit_test(test_keys_of_the_other_server),
        cmocka_unit_test(test_zero_threads_in_the_file),
        cmocka_unit_test(test_unknown_key),
        cmocka_unit_test(test_duplicate_key),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_files_that_are_not_settings),
        cmocka_unit_test(test_syntax_errors),
        cmocka_unit_test(test_unreadable_files),
        cmocka_unit_test(test_request_line_fits_in_headers),
        cmocka_unit_test(test_commented_file_is_the_defaults),
        cmocka_unit_test(test_commented_file_is_complete),
        cmocka_unit_test(test_example_files),
    };
    return cmocka_run_group_tests_name("config_file", tests, make_yaml_path, remove_yaml_path);
}
