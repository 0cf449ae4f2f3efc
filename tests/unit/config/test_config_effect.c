/* Settings that have no effect. */
#include "tests/unit/config/config_testing.h"

#include <stdio.h>

enum { EVERYTHING = CONFIG_HAS_THREADS | CONFIG_HAS_POOL | CONFIG_HAS_LOOPS };

/* All that is named, a line each. */
static const char *idle(unsigned traits)
{
    static char lines[4096];
    struct error text;
    size_t used = 0;
    uint64_t bits = config_idle_settings(&config, traits);
    lines[0] = '\0';
    for (unsigned i = 0; bits != 0; i++, bits >>= 1) {
        if ((bits & 1) != 0) {
            config_describe_idle(&config, traits, i, &text);
            used += (size_t)snprintf(lines + used, sizeof(lines) - used, "%s\n", text.text);
        }
    }
    return lines;
}

static void test_defaults_are_never_named(void **state)
{
    (void)state;
    load(CONFIG_SERVER_PREFORK, NULL);
    assert_string_equal(idle(0), "");
    load(CONFIG_SERVER_THREADPOOL, "--bare", NULL);
    assert_string_equal(idle(0), "");
    load_yaml(CONFIG_SERVER_PREFORK, "offload: blocking\nloops: auto\nqueue_length: 1024\n");
    assert_string_equal(idle(0), "");
}

static void test_what_only_a_pool_needs(void **state)
{
    (void)state;
    load(CONFIG_SERVER_PREFORK, "--queue-length", "9", "--offload", "all", "--loops", "2", NULL);
    assert_string_equal(
        idle(CONFIG_HAS_THREADS | CONFIG_HAS_LOOPS),
        "loops has no effect: there are no pool threads; add --dispatch request, with threads, or "
        "leave it out\n"
        "queue_length has no effect: there are no pool threads; add --dispatch request, with "
        "threads, or leave it out\n"
        "offload has no effect: there are no pool threads; add --dispatch request, with threads, "
        "or leave it out\n");
    assert_string_equal(idle(EVERYTHING), "");
}

static void test_dispatch_needs_threads(void **state)
{
    (void)state;
    load_yaml(CONFIG_SERVER_PREFORK, "dispatch: request\n");
    assert_string_equal(idle(CONFIG_HAS_LOOPS),
                        "dispatch has no effect: its processes have no threads; add --threads, or "
                        "leave it out\n");
    assert_string_equal(idle(CONFIG_HAS_THREADS), "");
}

static void test_what_one_loop_cannot_do(void **state)
{
    (void)state;
    load(CONFIG_SERVER_PREFORK, "--accept", "reuseport", "--rebalance", "off", NULL);
    assert_contains(idle(0), "accept has no effect: there is one event loop;");
    assert_contains(idle(0), "rebalance has no effect: there is one event loop;");
    assert_string_equal(idle(CONFIG_HAS_LOOPS), "");
}

static void test_what_only_a_master_does(void **state)
{
    (void)state;
    static const char *const masters[] = {"--control",          "x", "--start-timeout-ms", "1",
                                          "--upgrade-trial-ms", "1", "--on-stuck",         "report",
                                          "--recycle-after-s",  "1"};
    for (size_t i = 0; i < sizeof(masters) / sizeof(masters[0]); i += 2) {
        load(CONFIG_SERVER_THREADPOOL, "--bare", masters[i], masters[i + 1], NULL);
        assert_contains(idle(EVERYTHING),
                        " has no effect: that is for a master to do; leave --bare out, or leave it "
                        "out\n");
        load(CONFIG_SERVER_THREADPOOL, masters[i], masters[i + 1], NULL);
        assert_string_equal(idle(EVERYTHING), "");
    }
}

static void test_settings_that_need_another(void **state)
{
    (void)state;
    load(CONFIG_SERVER_PREFORK, "--access-log-format", "json", "--max-spare-threads", "2", NULL);
    assert_string_equal(
        idle(EVERYTHING),
        "access_log_format has no effect: there is no access log; name one with --access-log, or "
        "leave it out\n"
        "max_spare_threads has no effect: no spare threads are asked for; add --on-stuck spare, or "
        "leave it out\n");
    load(CONFIG_SERVER_PREFORK, "--access-log-format", "json", "--access-log", "x",
         "--max-spare-threads", "2", "--on-stuck", "spare", NULL);
    assert_string_equal(idle(EVERYTHING), "");
    load(CONFIG_SERVER_PREFORK, "--stuck-after-ms", "off", "--on-stuck", "report", NULL);
    assert_contains(idle(EVERYTHING), "on_stuck has no effect: nobody looks who is stuck;");
}

/* The later wins, also when it is the default again. */
static void test_what_is_taken_back_is_not_named(void **state)
{
    (void)state;
    write_yaml_bytes("queue_length: 9\n", sizeof("queue_length: 9\n") - 1);
    load(CONFIG_SERVER_PREFORK, "--config", yaml_path, NULL);
    assert_contains(idle(0), "queue_length");
    load(CONFIG_SERVER_PREFORK, "--config", yaml_path, "--queue-length", "1024", NULL);
    assert_string_equal(idle(0), "");
}

static int make(void **state)
{
    (void)state;
    return mkstemp(yaml_path) < 0;
}

static int discard(void **state)
{
    (void)state;
    config_free(&config);
    return unlink(yaml_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_never_named),
        cmocka_unit_test(test_what_only_a_pool_needs),
        cmocka_unit_test(test_dispatch_needs_threads),
        cmocka_unit_test(test_what_one_loop_cannot_do),
        cmocka_unit_test(test_what_only_a_master_does),
        cmocka_unit_test(test_settings_that_need_another),
        cmocka_unit_test(test_what_is_taken_back_is_not_named),
    };
    return cmocka_run_group_tests_name("config_effect", tests, make, discard);
}
