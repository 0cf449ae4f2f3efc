/* The small handlers; the static files have a program of their own. */
#include "tests/unit/handlers/handlers_testing.h"

#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t id)
{
    struct timespec now;
    assert_int_equal(clock_gettime(id, &now), 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void test_plaintext(void **state)
{
    (void)state;
    assert_int_equal(get("/plaintext"), 200);
    assert_string_equal(body(), "Hello, World!");
    assert_string_equal(exchange->response.content_type, "text/plain");
    assert_int_equal(ask("POST", "/plaintext", "", ""), 405);
}

static void test_json(void **state)
{
    (void)state;
    assert_int_equal(get("/json"), 200);
    assert_string_equal(body(), "{\"message\":\"Hello, World!\"}");
    assert_string_equal(exchange->response.content_type, "application/json");
}

static void test_echo(void **state)
{
    (void)state;
    assert_int_equal(ask("POST", "/echo", "Content-Type: text/x; a=b\r\n", "hello"), 200);
    assert_string_equal(body(), "hello");
    assert_null(exchange->response.content_type);
    assert_string_equal(headers(),
                        "Content-Type: text/x; a=b\r\nX-Content-Type-Options: nosniff\r\n");
    assert_true(exchange->request.body_wanted);
    assert_int_equal(ask("POST", "/echo", "", ""), 200);
    assert_string_equal(body(), "");
    assert_string_equal(exchange->response.content_type, "application/octet-stream");
    assert_string_equal(headers(), "X-Content-Type-Options: nosniff\r\n");
    assert_int_equal(get("/echo"), 405);
    assert_string_equal(headers(), "Allow: POST, OPTIONS\r\n");
}

static void test_cpu(void **state)
{
    (void)state;
    uint64_t before_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    assert_int_equal(get("/cpu?us=20000"), 200);
    assert_in_range(clock_ns(CLOCK_THREAD_CPUTIME_ID) - before_ns, 20000000, UINT64_MAX);
    assert_string_equal(body(), "burned 20000 us of CPU time\n");
    assert_int_equal(get("/cpu"), 200);
    assert_string_equal(body(), "burned 1000 us of CPU time\n");
    assert_int_equal(get("/cpu?us=0"), 200);
    assert_true(exchange->route->blocks);
}

static void test_sleep(void **state)
{
    (void)state;
    uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t cpu_before_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    assert_int_equal(get("/sleep?ms=60"), 200);
    assert_in_range(clock_ns(CLOCK_MONOTONIC) - before_ns, 60000000, UINT64_MAX);
    assert_in_range(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_before_ns, 0, 30000000);
    assert_string_equal(body(), "slept 60 ms\n");
    assert_int_equal(get("/sleep"), 200);
    assert_string_equal(body(), "slept 10 ms\n");
    assert_true(exchange->route->blocks);
}

static void test_bad_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "/cpu?us=",
        "/cpu?us=10000001",
        "/cpu?us=-1",
        "/cpu?us=1.5",
        "/cpu?us=x",
        "/sleep?ms=",
        "/sleep?ms=x",
        "/sleep?ms=60001",
        "/counter?n=",
        "/counter?n=-1",
        "/counter?n=1000001",
        "/counter?mode=",
        "/counter?mode=Mutex",
        "/counter?cell=",
        "/counter?cell=none",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(get(bad[i]), 400);
        const char *text = body();
        assert_contains(text, "must be ");
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    }
    assert_int_equal(atomic_load(&process_cell.value), 0);
}

static void assert_counted_in(const char *cell, const char *target, const char *mode,
                              unsigned process, unsigned shared)
{
    char expected[160];
    assert_int_equal(get(target), 200);
    snprintf(expected, sizeof(expected),
             "{\"mode\":\"%s\",\"cell\":\"%s\",\"process\":%u,\"shared\":%u,\"recoveries\":0,"
             "\"pid\":%d,\"slot\":1,\"worker\":1}",
             mode, cell, process, shared, (int)getpid());
    assert_string_equal(body(), expected);
    assert_string_equal(exchange->response.content_type, "application/json");
}

static void assert_counted(const char *target, const char *mode, unsigned process, unsigned shared)
{
    assert_counted_in("both", target, mode, process, shared);
}

static void test_counter(void **state)
{
    (void)state;
    atomic_store(&shared_cell.value, 100); /* what other processes have added */
    assert_counted("/counter", "atomic", 1, 101);
    assert_counted("/counter?mode=none", "none", 2, 102);
    assert_counted("/counter?mode=mutex&n=10", "mutex", 12, 112);
    assert_counted("/counter?n=1000&mode=atomic", "atomic", 1012, 1112);
    assert_counted("/counter?n=0&mode=fragile", "fragile", 1012, 1112);
    assert_counted("/counter?n=0&mode=mutex", "mutex", 1012, 1112);
    assert_counted("/counter?n=0&mode=none", "none", 1012, 1112);
    assert_counted("/counter?n=0&cell=both", "atomic", 1012, 1112);
    assert_int_equal(pthread_mutex_trylock(&process_cell.mutex), 0); /* given back */
    assert_int_equal(pthread_mutex_trylock(&shared_cell.mutex), 0);
    pthread_mutex_unlock(&process_cell.mutex);
    pthread_mutex_unlock(&shared_cell.mutex);
}

/* A lock that has never been taken before: for ThreadSanitizer, too, whose order of locks the tests
 * below would turn round. */
static void renew(struct shared_cell *cell)
{
    pthread_mutex_destroy(&cell->mutex);
    shared_cell_init(cell, SHARED_CELL_THREADS);
}

static void renew_cells(void)
{
    renew(&process_cell);
    renew(&shared_cell);
}

static void test_counter_of_one_cell(void **state)
{
    (void)state;
    renew_cells();
    assert_counted_in("process", "/counter?cell=process&n=2", "atomic", 2, 0);
    assert_counted_in("shared", "/counter?cell=shared&n=3", "atomic", 2, 3);
}

/* The lock of the other cell is held by somebody else: nobody asks for it. */
static void test_counter_of_the_process_alone(void **state)
{
    (void)state;
    renew_cells();
    pthread_mutex_lock(&shared_cell.mutex);
    assert_counted_in("process", "/counter?mode=mutex&cell=process", "mutex", 1, 0);
    pthread_mutex_unlock(&shared_cell.mutex);
}

static void test_counter_of_all_alone(void **state)
{
    (void)state;
    renew_cells();
    pthread_mutex_lock(&process_cell.mutex);
    assert_counted_in("shared", "/counter?mode=mutex&cell=shared&n=2", "mutex", 0, 2);
    pthread_mutex_unlock(&process_cell.mutex);
}

static void test_whoami(void **state)
{
    (void)state;
    char expected[256];
    strcpy(scoreboard->server, "some-server");
    strcpy(scoreboard->model, "hybrid");
    assert_int_equal(get("/whoami"), 200);
    snprintf(expected, sizeof(expected),
             "{\"server\":\"some-server\",\"model\":\"hybrid\",\"pid\":%d,\"ppid\":%d,\"tid\":%d,"
             "\"slot\":1,\"worker\":1,\"generation\":3}",
             (int)getpid(), (int)getppid(), (int)getpid());
    assert_string_equal(body(), expected);
}

static void test_faults_are_off(void **state)
{
    (void)state;
    assert_null(router_match(router, SPAN("/fault/segv"))->path);
    assert_null(router_match(router, SPAN("/fault/exit"))->path);
    assert_null(router_match(router, SPAN("/lab/peek"))->path);
}

static void test_faults_are_on(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool blocks;
    } faults[] = {{"/fault/segv", false},
                  {"/fault/abort", false},
                  {"/fault/check", false},
                  {"/fault/fpe", false},
                  {"/fault/bus", false},
                  {"/fault/ill", false},
                  {"/fault/stack-overflow", false},
                  {"/fault/hang", true},
                  {"/fault/deadlock", true},
                  {"/fault/leak", false},
                  {"/fault/exit", false},
                  {"/fault/exec", false},
                  {"/fault/segv-damaged-heap", false},
                  {"/fault/segv-holding-lock", false},
                  {"/fault/die-holding-lock", false}};
    fault_register(router, &environment);
    scribble_register(router, &environment);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        const struct route *route = router_match(router, span_of(faults[i].path));
        assert_string_equal(route->path, faults[i].path);
        assert_int_equal(route->blocks, faults[i].blocks);
    }
    scoreboard->deaths = 5;
    assert_int_equal(get("/fault/scribble?ms=0"), 200);
    assert_int_equal(scoreboard->deaths, 5);
    assert_int_equal(get("/fault/scribble?ms=10001"), 400);
    assert_int_equal(get("/fault/scribble?ms=1&seed=x"), 400);
    assert_int_equal(get("/fault/leak?bytes=4096"), 200);
    assert_string_equal(body(), "leaked 4096 bytes\n");
    assert_int_equal(get("/fault/leak?bytes=0"), 200);
    assert_int_equal(get("/fault/leak?bytes=x"), 400);
    assert_int_equal(get("/fault/exit?status=256"), 400);
    assert_int_equal(get("/fault/die-holding-lock?lock=x"), 400);
}

static void test_benchmarks_are_off(void **state)
{
    (void)state;
    static const char *const paths[] = {"/plaintext", "/json",    "/cpu",   "/sleep",
                                        "/echo",      "/counter", "/whoami"};
    struct router *bare = router_create();
    environment.bench = false;
    handlers_register(bare, &environment);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_non_null(router_find(router, span_of(paths[i])));
        assert_null(router_find(bare, span_of(paths[i])));
    }
    assert_null(router_match(bare, SPAN("/plaintext"))->path); /* as any file */
    router_destroy(bare);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_handlers, close_handlers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_plaintext),
        TEST(test_json),
        TEST(test_echo),
        TEST(test_cpu),
        TEST(test_sleep),
        TEST(test_bad_numbers),
        TEST(test_counter),
        TEST(test_counter_of_one_cell),
        TEST(test_counter_of_the_process_alone),
        TEST(test_counter_of_all_alone),
        TEST(test_whoami),
        TEST(test_benchmarks_are_off),
        TEST(test_faults_are_off),
        TEST(test_faults_are_on),
    };
    return cmocka_run_group_tests_name("handlers", tests, NULL, NULL);
}
