#include "server/setup/plan.h"

#include "common/base/cpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

/* A plan made in a child process with a limit of its own. */
struct result {
    bool made;
    struct plan plan;
    struct rlimit after;
    struct error error;
};
static struct result *result; /* shared with the children */

static int map_result(void **state)
{
    (void)state;
    result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return result == MAP_FAILED;
}

static bool plan_with(uint64_t soft, uint64_t hard, const struct config *config,
                      enum config_server server)
{
    static char listen[] = "127.0.0.1:8080";
    struct config listening = *config;
    listening.listen = config->listen != NULL ? config->listen : listen;
    memset(result, 0, sizeof(*result));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {soft, hard};
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            _exit(1);
        }
        result->made = plan_make(&result->plan, &listening, server, &result->error);
        getrlimit(RLIMIT_NOFILE, &result->after);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return result->made;
}

static bool plan(const struct config *config, enum config_server server)
{
    return plan_with(4096, 4096, config, server);
}

static void assert_shape(const char *model, const char *dispatch, uint32_t processes,
                         uint32_t loops, uint32_t pool_threads, const char *description)
{
    char text[128];
    const struct plan *made = &result->plan;
    assert_string_equal(plan_model_name(made->model), model);
    assert_string_equal(made->dispatch, dispatch);
    assert_int_equal(made->processes, processes);
    assert_int_equal(made->loops, loops);
    assert_int_equal(made->pool_threads, pool_threads);
    assert_int_equal(made->slots_per_process, loops + pool_threads);
    plan_describe(made, text, sizeof(text));
    assert_string_equal(text, description);
}

static void test_prefork(void **state)
{
    (void)state;
    struct config config = {.workers = 3};
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
    assert_shape("prefork", "", 3, 1, 0, "3 workers");
    config.dispatch = CONFIG_DISPATCH_REQUEST; /* means nothing without threads */
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
    assert_shape("prefork", "", 3, 1, 0, "3 workers");
    config.workers = 1;
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
    assert_shape("prefork", "", 1, 1, 0, "1 worker");
}

static void test_threadpool(void **state)
{
    (void)state;
    struct config config = {.threads = 4, .workers = 9, .loops = 9};
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_shape("threadpool", "connection", 1, 4, 0, "4 threads, connection dispatch");
    config.dispatch = CONFIG_DISPATCH_REQUEST;
    config.loops = 2;
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_shape("threadpool", "request", 1, 2, 4, "4 threads, 2 loops, request dispatch");
    config.loops = config.threads = 1;
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_shape("threadpool", "request", 1, 1, 1, "1 thread, 1 loop, request dispatch");
}

static void test_hybrid(void **state)
{
    (void)state;
    struct config config = {.workers = 2, .threads = 4};
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
    assert_shape("hybrid", "connection", 2, 4, 0, "2 workers x 4 threads, connection dispatch");
    config.dispatch = CONFIG_DISPATCH_REQUEST;
    config.loops = 3;
    config.workers = 1;
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
    assert_shape("hybrid", "request", 1, 3, 4, "1 worker x 4 threads, 3 loops, request dispatch");
}

static void test_what_is_left_open_is_the_number_of_cpus(void **state)
{
    (void)state;
    struct config config = {0};
    uint32_t cpus = cpus_available();
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
    assert_int_equal(result->plan.processes, cpus);
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_int_equal(result->plan.loops, cpus);
    config.dispatch = CONFIG_DISPATCH_REQUEST;
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_int_equal(result->plan.loops, cpus);
    assert_int_equal(result->plan.pool_threads, cpus);
}

static void test_recovery_needs_pool_threads(void **state)
{
    (void)state;
    struct config config = {.threads = 2, .on_fault = CONFIG_ON_FAULT_RECOVER};
    assert_false(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_string_equal(result->error.text,
                        "on_fault recover needs pool threads, since a thread that has an event "
                        "loop cannot be replaced; add --dispatch request with threads, or use "
                        "--on-fault die");
    assert_false(plan(&config, CONFIG_SERVER_PREFORK));
    config.dispatch = CONFIG_DISPATCH_REQUEST;
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
}

static void test_spare_threads(void **state)
{
    (void)state;
    struct config config = {
        .threads = 2, .loops = 1, .on_stuck = CONFIG_STUCK_SPARE, .max_spare_threads = 3};
    assert_false(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_string_equal(result->error.text,
                        "on_stuck spare needs pool threads, since the connections of an event loop "
                        "that is stuck cannot be served by another; add --dispatch request with "
                        "threads, or use --on-stuck replace");
    assert_false(plan(&config, CONFIG_SERVER_PREFORK));
    config.dispatch = CONFIG_DISPATCH_REQUEST;
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_int_equal(result->plan.spare_threads, 3);
    assert_int_equal(result->plan.slots_per_process, 6);
    config.on_stuck = CONFIG_STUCK_REPLACE;
    assert_true(plan(&config, CONFIG_SERVER_THREADPOOL));
    assert_int_equal(result->plan.spare_threads, 0);
    assert_int_equal(result->plan.slots_per_process, 3);
}

static void test_description_is_cut(void **state)
{
    (void)state;
    struct config config = {.workers = 2, .threads = 4};
    char text[10];
    assert_true(plan(&config, CONFIG_SERVER_PREFORK));
    plan_describe(&result->plan, text, sizeof(text));
    assert_string_equal(text, "2 workers");
}

static void test_the_soft_limit_is_raised(void **state)
{
    (void)state;
    struct config config = {.workers = 1};
    assert_true(plan_with(64, 4096, &config, CONFIG_SERVER_PREFORK));
    assert_int_equal(result->after.rlim_cur, 4096);
    assert_int_equal(result->after.rlim_max, 4096);
    uint64_t connections = result->plan.max_connections;
    assert_true(plan_with(4096, 4096, &config, CONFIG_SERVER_PREFORK));
    assert_int_equal(result->plan.max_connections, connections);
}

/* What a process will have open at most: the fixed part is at least the standard streams, the
 * loop's own three and the listening socket. */
static uint64_t most_open(const struct plan *made, uint64_t listening)
{
    return 3 + listening + made->loops * 3 + made->slots_per_process * made->file_cache_entries +
           made->loops * made->max_connections;
}

static void test_descriptors_suffice(void **state)
{
    (void)state;
    static const uint64_t limits[] = {256, 512, 1024, 4096, 20000};
    static const uint64_t threads[] = {0, 1, 2, 4};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        for (size_t t = 0; t < 4; t++) {
            for (int variant = 0; variant < 8; variant++) {
                struct config config = {.workers = 2,
                                        .threads = threads[t],
                                        .loops = 2,
                                        .dispatch = (variant & 1) ? CONFIG_DISPATCH_REQUEST
                                                                  : CONFIG_DISPATCH_CONNECTION,
                                        .accept = (variant & 2) ? CONFIG_ACCEPT_REUSEPORT
                                                                : CONFIG_ACCEPT_SHARED,
                                        .max_connections = (variant & 4) ? 20 : 0};
                assert_true(plan_with(limits[i], limits[i], &config, CONFIG_SERVER_PREFORK));
                const struct plan *made = &result->plan;
                uint64_t listening = (variant & 2) ? made->processes * made->loops : 1;
                assert_in_range(most_open(made, listening), 0, limits[i]);
                assert_in_range(made->max_connections, 16, limits[i]);
                assert_in_range(made->file_cache_entries, 4, 512);
                if (variant & 4) {
                    assert_int_equal(made->max_connections, 20);
                }
            }
        }
    }
}

/* The two sides of the limit: 24 for the process, 1 to listen, 4 for the loop, 4 files. */
static void test_too_few_descriptors(void **state)
{
    (void)state;
    struct config config = {.workers = 8, .max_connections = 100};
    assert_true(plan_with(133, 133, &config, CONFIG_SERVER_PREFORK));
    assert_int_equal(result->plan.max_connections, 100);
    assert_int_equal(result->plan.file_cache_entries, 4);
    assert_false(plan_with(132, 132, &config, CONFIG_SERVER_PREFORK));
    assert_non_null(strstr(result->error.text, "too few file descriptors"));
    assert_non_null(strstr(result->error.text, "needs 133"));
    assert_non_null(strstr(result->error.text, "the limit is 132; raise it with ulimit -n"));
    assert_null(strchr(result->error.text, '\n'));
    config.max_connections = 0; /* at least 16 */
    assert_true(plan_with(49, 49, &config, CONFIG_SERVER_PREFORK));
    assert_int_equal(result->plan.max_connections, 16);
    assert_false(plan_with(48, 48, &config, CONFIG_SERVER_PREFORK));
    config.accept = CONFIG_ACCEPT_REUSEPORT; /* a socket for each of 8 loops */
    assert_true(plan_with(56, 56, &config, CONFIG_SERVER_PREFORK));
    assert_false(plan_with(55, 55, &config, CONFIG_SERVER_PREFORK));
    config.rebalance = true; /* and an inbox */
    assert_true(plan_with(64, 64, &config, CONFIG_SERVER_PREFORK));
    assert_false(plan_with(63, 63, &config, CONFIG_SERVER_PREFORK));
}

static void test_too_few_descriptors_for_threads(void **state)
{
    (void)state;
    struct config config = {.threads = 10, .max_connections = 50};
    assert_true(plan_with(605, 605, &config, CONFIG_SERVER_THREADPOOL));
    assert_false(plan_with(604, 604, &config, CONFIG_SERVER_THREADPOOL));
    config.dispatch = CONFIG_DISPATCH_REQUEST;
    config.loops = 2;
    assert_true(plan_with(181, 181, &config, CONFIG_SERVER_THREADPOOL));
    assert_false(plan_with(180, 180, &config, CONFIG_SERVER_THREADPOOL));
    config.max_connections = 1000000;
    assert_false(plan_with(20000, 20000, &config, CONFIG_SERVER_THREADPOOL));
}

/* What container managers with LimitNOFILE=infinity give; the C library asks for less. */
static rlim_t pretended;

int __real_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    if (pretended == 0 || resource != RLIMIT_NOFILE) {
        return __real_getrlimit(resource, limit);
    }
    *limit = (struct rlimit){pretended, pretended};
    return 0;
}

static void test_a_huge_limit_is_not_used_up(void **state)
{
    (void)state;
    static const rlim_t limits[] = {1 << 20, 1073741816, RLIM_INFINITY};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct config config = {.threads = 64};
        pretended = limits[i];
        bool made = plan(&config, CONFIG_SERVER_THREADPOOL);
        pretended = 0;
        assert_true(made);
        assert_in_range(result->plan.max_connections, 16, 65536);
        assert_in_range(result->plan.descriptors, 64 * 16, 64 * 70000);
    }
}

static void test_connections_come_before_cached_files(void **state)
{
    (void)state;
    struct config config = {.workers = 1, .max_connections = 900};
    assert_true(plan_with(1024, 1024, &config, CONFIG_SERVER_PREFORK));
    assert_int_equal(result->plan.max_connections, 900);
    assert_int_equal(result->plan.file_cache_entries, 4);
    config.max_connections = 100;
    assert_true(plan_with(1024, 1024, &config, CONFIG_SERVER_PREFORK));
    assert_in_range(result->plan.file_cache_entries, 100, 512);
    config.max_connections = 0;
    assert_true(plan_with(20000, 20000, &config, CONFIG_SERVER_PREFORK));
    assert_int_equal(result->plan.file_cache_entries, 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefork),
        cmocka_unit_test(test_threadpool),
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_what_is_left_open_is_the_number_of_cpus),
        cmocka_unit_test(test_recovery_needs_pool_threads),
        cmocka_unit_test(test_spare_threads),
        cmocka_unit_test(test_description_is_cut),
        cmocka_unit_test(test_the_soft_limit_is_raised),
        cmocka_unit_test(test_descriptors_suffice),
        cmocka_unit_test(test_too_few_descriptors),
        cmocka_unit_test(test_too_few_descriptors_for_threads),
        cmocka_unit_test(test_a_huge_limit_is_not_used_up),
        cmocka_unit_test(test_connections_come_before_cached_files),
    };
    return cmocka_run_group_tests_name("plan", tests, map_result, NULL);
}
