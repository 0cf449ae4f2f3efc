/* /live and /ready, in every phase of the master. */
#include "server/observe/observer.h"

#include "common/base/clock.h"
#include "tests/unit/patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct bulletin *bulletin;
static struct bulletin_copy posted;
static struct bulletin_copy last_heard, reading;
static struct observer_environment environment;
static struct router *router;
static struct http_response response;

/* In the place of the guard. */
void observer_route(struct router *to, struct observer_environment *of, const struct route *route)
{
    assert_ptr_equal(of, &environment);
    router_add(to, route);
}

static int make(void **state)
{
    (void)state;
    bulletin = bulletin_create();
    router = router_create();
    last_heard = (struct bulletin_copy){.phase = BULLETIN_STARTING};
    environment = (struct observer_environment){
        .bulletin = bulletin, .last_heard = &last_heard, .reading = &reading};
    health_register(router, &environment);
    /* Recent for as long as the test may take. */
    posted = (struct bulletin_copy){.beat_ms = clock_monotonic_ms() + PATIENCE_MS,
                                    .phase = BULLETIN_RUNNING,
                                    .process_count = 1,
                                    .processes = {{.state = BULLETIN_CHILD_READY}}};
    bulletin_post(bulletin, &posted);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    http_response_free(&response);
    router_destroy(router);
    bulletin_destroy(bulletin);
    return 0;
}

static void expect(const char *path, unsigned status, const char *text)
{
    const struct http_request request = {.method = METHOD_GET};
    const struct route *route = router_find(router, span_of(path));
    assert_non_null(route);
    http_response_reset(&response);
    route->handler(&request, &response, NULL, route->data);
    buffer_append(&response.text, "", 1);
    assert_int_equal(response.status, status);
    if (strstr(response.text.data, text) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", text, response.text.data);
    }
}

static void test_phases(void **state)
{
    (void)state;
    static const struct {
        enum bulletin_phase phase;
        unsigned status;
        const char *text;
    } cases[] = {
        {BULLETIN_STARTING, 503, "starting\n"},
        {BULLETIN_RUNNING, 200, "ready\n"},
        {BULLETIN_DRAINING, 503, "draining\n"},
        {BULLETIN_STOPPING, 503, "stopping\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        posted.phase = cases[i].phase;
        bulletin_post(bulletin, &posted);
        expect("/ready", cases[i].status, cases[i].text);
        expect("/live", 200, "the master is alive\n");
    }
}

static void test_without_a_process_that_is_ready(void **state)
{
    (void)state;
    posted.processes[0].state = BULLETIN_CHILD_STARTING;
    bulletin_post(bulletin, &posted);
    expect("/ready", 503, "no process is ready\n");
    posted.processes[0].state = BULLETIN_CHILD_RETIRING;
    bulletin_post(bulletin, &posted);
    expect("/ready", 503, "no process is ready\n");
    posted.process_count = 0;
    bulletin_post(bulletin, &posted);
    expect("/ready", 503, "no process is ready\n");
}

/* Its processes serve without it. */
static void test_a_silent_master(void **state)
{
    (void)state;
    unsigned long long silent_ms = 0;
    posted.beat_ms = clock_monotonic_ms() - 5000;
    bulletin_post(bulletin, &posted);
    expect("/live", 503, "the master has not been heard for ");
    assert_int_equal(
        sscanf(response.text.data, "the master has not been heard for %llu ms\n", &silent_ms), 1);
    assert_in_range(silent_ms, 5000, 5000 + PATIENCE_MS);
    expect("/ready", 200, "ready\n");
}

/* It has stopped in the middle of a word: what it said last counts. */
static void test_half_a_word(void **state)
{
    (void)state;
    expect("/ready", 200, "ready\n");
    bulletin_begin(bulletin);
    expect("/ready", 200, "ready\n");
    expect("/live", 200, "the master is alive\n");
}

/* ... before it has said anything. */
static void test_nothing_heard_yet(void **state)
{
    (void)state;
    bulletin_begin(bulletin);
    expect("/ready", 503, "starting\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_phases),
        TEST(test_without_a_process_that_is_ready),
        TEST(test_a_silent_master),
        TEST(test_half_a_word),
        TEST(test_nothing_heard_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
