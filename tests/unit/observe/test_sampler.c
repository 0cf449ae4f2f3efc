/* What is told when: the state, the stream of events, and the metrics of a server made by hand. */
#include "server/observe/sampler.h"

#include <event2/event.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "server/observe/metrics.h"
#include "tests/unit/observe/observe_testing.h"
#include "tests/unit/patience.h"

enum { STREAM_BYTES = 4 * 1024 * 1024 };

static struct event_base *base;
static struct sampler *sampler;
static struct state_identity identity;
static char *stream; /* what the viewer has received */
static size_t stream_bytes;
static int viewer_fd = -1;

static int begin(uint32_t processes, uint32_t slots_each)
{
    make_server(processes, slots_each);
    identity = (struct state_identity){.server = "prefork-server",
                                       .version = "1.2.3",
                                       .model = "prefork",
                                       .dispatch = "",
                                       .listen = "127.0.0.1:8080",
                                       .on_death = "cut",
                                       .bench = true,
                                       .interval_ms = SAMPLER_INTERVAL_MS,
                                       .pid = 99,
                                       .started_ms = clock_monotonic_ms()};
    base = event_base_new();
    sampler = sampler_create(&(struct sampler_options){.base = base,
                                                       .scoreboard = scoreboard,
                                                       .bulletin = bulletin,
                                                       .identity = &identity,
                                                       .boot = "boot",
                                                       .procfs_root = "/proc"});
    stream = memory_alloc_zeroed(1, STREAM_BYTES);
    stream_bytes = 0;
    return sampler == NULL;
}

static int make(void **state)
{
    (void)state;
    return begin(2, 2);
}

static int make_large(void **state)
{
    (void)state;
    return begin(64, 1);
}

static int discard(void **state)
{
    (void)state;
    if (viewer_fd >= 0) {
        close(viewer_fd);
        viewer_fd = -1;
    }
    sampler_destroy(sampler);
    event_base_free(base);
    discard_server();
    free(stream);
    return 0;
}

static void watch(const char *last_id)
{
    int ends[2];
    assert_true(viewers_reserve(sampler_viewers(sampler)));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    viewer_fd = ends[1];
    viewers_take(sampler_viewers(sampler), ends[0], span_of(last_id));
}

static void receive(void)
{
    ssize_t bytes =
        recv(viewer_fd, stream + stream_bytes, STREAM_BYTES - 1 - stream_bytes, MSG_DONTWAIT);
    stream_bytes += bytes > 0 ? (size_t)bytes : 0;
    stream[stream_bytes] = '\0';
}

static void turn(void)
{
    event_base_loop(base, EVLOOP_ONCE);
    if (viewer_fd >= 0) {
        receive();
    }
}

/* The data of the next event of that name behind *from, which moves behind it. The caller frees it.
 */
static json_t *next_event(const char *name, size_t *from)
{
    char head[64];
    const uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    snprintf(head, sizeof(head), "event: %s\ndata: ", name);
    for (;;) {
        const char *at = strstr(stream + *from, head);
        const char *end = at != NULL ? strstr(at, "\n\n") : NULL;
        if (end != NULL) {
            const char *data = at + strlen(head);
            json_t *json = json_loadb(data, (size_t)(end - data), 0, NULL);
            assert_non_null(json);
            *from = (size_t)(end - stream);
            return json;
        }
        assert_true(clock_monotonic_ms() < end_ms);
        turn();
    }
}

static json_t *state_of(void)
{
    struct buffer text = {0};
    struct json_writer json;
    json_init(&json, &text);
    state_json_put(&json, sampler_look(sampler));
    json_t *state = json_loadb(text.data, text.len, 0, NULL);
    assert_non_null(state);
    buffer_free(&text);
    return state;
}

static json_int_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void test_state(void **state)
{
    (void)state;
    struct client_address client = client_at("10.1.2.3", 77);
    scoreboard->slots[2].counters.requests_finished = 8;
    scoreboard->slots[2].verdict = SLOT_SPINNING;
    slot_note_begin(&scoreboard->slots[2], SPAN("GET /x?secret HTTP/1.1"), &client);
    bury_process(0, SIGSEGV, true);
    json_t *told = state_of();
    assert_int_equal(number(told, "api"), 1);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(told, "server"), "listen")),
        "127.0.0.1:8080");
    assert_true(json_is_null(json_object_get(json_object_get(told, "server"), "dispatch")));
    assert_int_equal(number(json_object_get(told, "master"), "pid"), 4242);
    assert_int_equal(number(json_object_get(told, "totals"), "requests_finished"), 8);
    assert_int_equal(number(json_object_get(told, "totals"), "deaths"), 1);
    const json_t *processes = json_object_get(told, "processes");
    assert_int_equal(json_array_size(processes), 2);
    const json_t *process = json_array_get(processes, 0);
    assert_int_equal(number(process, "number"), 1);
    assert_in_range(number(json_object_get(process, "memory"), "rss_kib"), 100, 10000000);
    const json_t *slot = json_array_get(json_object_get(process, "slots"), 0);
    assert_int_equal(number(slot, "slot"), 2);
    assert_string_equal(json_string_value(json_object_get(slot, "stuck")), "spinning");
    const json_t *current = json_object_get(slot, "current");
    assert_string_equal(json_string_value(json_object_get(current, "line")), "GET /x");
    assert_string_equal(json_string_value(json_object_get(current, "client")), "10.1.2.3:77");
    assert_true(json_is_null(json_object_get(slot, "p99_us")));
    const json_t *death = json_array_get(json_object_get(told, "deaths"), 0);
    assert_int_equal(number(death, "number"), 0);
    assert_string_equal(json_string_value(json_object_get(death, "signal")), "SIGSEGV");
    json_decref(told);
}

/* Each second what was measured moves into the windows, also when nobody watches. */
static void test_windows_are_fed(void **state)
{
    (void)state;
    histogram_add(&scoreboard->slots[0].latency.requests, 3000000, 40);
    const uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    json_t *told = state_of();
    for (;;) {
        const json_t *window = json_object_get(json_object_get(told, "latency"), "10s");
        if (number(window, "count") == 40) {
            assert_in_range(number(window, "p50_us"), 3000, 3200);
            break;
        }
        assert_true(clock_monotonic_ms() < end_ms);
        json_decref(told);
        turn();
        told = state_of();
    }
    json_decref(told);
}

static void test_a_viewer(void **state)
{
    (void)state;
    size_t at = 0;
    watch("");
    json_decref(next_event("hello", &at));
    json_t *tick = next_event("tick", &at);
    assert_int_equal(json_array_size(json_object_get(tick, "slots")), 4); /* all, at first */
    json_decref(tick);
    scoreboard->slots[1].counters.requests_finished = 5;
    histogram_add(&scoreboard->slots[0].latency.requests, 1000000, 5);
    const json_t *row;
    for (bool found = false; !found;) {
        tick = next_event("tick", &at);
        row = json_array_get(json_object_get(tick, "slots"), 0);
        found = row != NULL && json_integer_value(json_array_get(row, 0)) == 1 &&
                json_integer_value(json_array_get(row, 4)) == 5;
        if (found) { /* it alone, and how long the requests of this interval took */
            assert_int_equal(json_array_size(json_object_get(tick, "slots")), 1);
            assert_int_equal(json_array_size(row), 9);
            assert_in_range(number(tick, "p50_us"), 1000, 1100);
            assert_int_equal(number(tick, "finished"), 5);
        }
        json_decref(tick);
    }
    tick = next_event("tick", &at);
    assert_true(json_is_null(json_object_get(tick, "p99_us"))); /* nobody has asked meanwhile */
    json_decref(tick);
    json_t *processes = next_event("processes", &at);
    assert_int_equal(json_array_size(json_object_get(processes, "processes")), 2);
    assert_non_null(json_object_get(json_object_get(processes, "latency"), "60s"));
    assert_non_null(json_object_get(processes, "totals"));
    json_decref(processes);
}

static void test_a_death_is_told(void **state)
{
    (void)state;
    size_t at = 0;
    bury_process(0, SIGKILL, true); /* stands in hello */
    watch("");
    json_t *hello = next_event("hello", &at);
    assert_int_equal(json_array_size(json_object_get(hello, "deaths")), 1);
    json_decref(hello);
    bury_process(0, SIGSEGV, true);
    json_t *death = next_event("death", &at);
    assert_int_equal(number(death, "number"), 1);
    assert_true(json_is_null(json_object_get(death, "recovery_ms")));
    json_decref(death);
    json_decref(next_event("processes", &at)); /* they have changed */
    ledger_note_recovery(ledger, 1, 2500000);
    death = next_event("death", &at); /* once more, as it is complete */
    assert_int_equal(number(death, "number"), 1);
    json_decref(death);
    json_t *recovered = next_event("recovered", &at);
    assert_int_equal(number(recovered, "number"), 1);
    assert_float_equal(json_real_value(json_object_get(recovered, "recovery_ms")), 2.5, 0.001);
    json_decref(recovered);
}

/* Who was cut off has what it missed, and no hello. */
static void test_coming_back(void **state)
{
    (void)state;
    size_t at = 0;
    watch("");
    json_decref(next_event("hello", &at));
    json_decref(next_event("tick", &at));
    const char *id = "id: boot-";
    const char *last = strstr(strstr(stream, "event: hello"), id) + strlen("id: ");
    char last_id[32];
    snprintf(last_id, sizeof(last_id), "%.*s", (int)strcspn(last, "\n"), last);
    close(viewer_fd);
    viewer_fd = -1;
    const uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (viewers_count(sampler_viewers(sampler)) > 0) {
        assert_true(clock_monotonic_ms() < end_ms);
        turn();
    }
    bury_process(1, SIGABRT, true);
    for (int i = 0; i < 3; i++) {
        turn(); /* nobody watches, and it is told */
    }
    stream_bytes = at = 0;
    stream[0] = '\0';
    watch(last_id);
    json_t *death = next_event("death", &at);
    assert_int_equal(number(death, "number"), 0);
    assert_null(strstr(stream, "event: hello"));
    json_decref(death);
}

static const char *metrics(enum metrics_format format, struct buffer *text)
{
    const struct state_view *view = sampler_look(sampler);
    metrics_put(text, format, view, sampler_latency(sampler));
    buffer_append(text, "", 1);
    return text->data;
}

#define assert_contains(text, part) assert_non_null(strstr(text, part))

static void test_metrics(void **state)
{
    (void)state;
    struct buffer text = {0};
    scoreboard->slots[0].counters.requests_finished = 8;
    scoreboard->slots[0].connections_open = 3;
    histogram_add(&scoreboard->slots[0].latency.requests, 131071, 2);
    histogram_add(&scoreboard->slots[0].latency.requests, 131072, 1);
    histogram_add(&scoreboard->slots[0].latency.requests, UINT64_C(100000000000), 1);
    bury_process(1, SIGSEGV, true);
    bury_process(1, SIGILL, true);
    bury_process(1, 0, true);
    ledger_note_recovery(ledger, 0, 3000000);
    post();
    const char *told = metrics(METRICS_TEXT, &text);
    assert_contains(told, "# TYPE twinhttpd_requests_finished_total counter\n"
                          "twinhttpd_requests_finished_total 8\n");
    assert_contains(told, "twinhttpd_deaths_total{cause=\"SIGSEGV\"} 1\n");
    assert_contains(told, "twinhttpd_deaths_total{cause=\"SIGKILL\"} 0\n");
    assert_contains(told, "twinhttpd_deaths_total{cause=\"exit\"} 1\n");
    assert_contains(told, "twinhttpd_deaths_total{cause=\"other\"} 1\n");
    assert_contains(told, "twinhttpd_request_duration_seconds_bucket{le=\"0.000131072\"} 2\n"
                          "twinhttpd_request_duration_seconds_bucket{le=\"0.000262144\"} 3\n");
    assert_contains(told, "twinhttpd_request_duration_seconds_bucket{le=\"34.359738368\"} 3\n"
                          "twinhttpd_request_duration_seconds_bucket{le=\"+Inf\"} 4\n"
                          "twinhttpd_request_duration_seconds_sum 100.000393\n"
                          "twinhttpd_request_duration_seconds_count 4\n");
    assert_contains(told, "twinhttpd_recovery_seconds_bucket{le=\"0.001024\"} 0\n"
                          "twinhttpd_recovery_seconds_bucket{le=\"0.004096\"} 1\n");
    assert_contains(told, "twinhttpd_recovery_seconds_sum 0.003\n");
    assert_contains(told, "twinhttpd_processes{state=\"ready\"} 2\n");
    assert_contains(told, "twinhttpd_worker_connections{worker=\"0\"} 3\n");
    assert_contains(told, "twinhttpd_info{version=\"1.2.3\",model=\"prefork\",dispatch=\"\"} 1\n");
    assert_null(strstr(told, "# EOF"));
    buffer_free(&text);
    told = metrics(METRICS_OPENMETRICS, &text);
    assert_contains(told, "# TYPE twinhttpd_requests_finished counter\n"
                          "twinhttpd_requests_finished_total 8\n");
    assert_string_equal(told + strlen(told) - 6, "# EOF\n");
    buffer_free(&text);
}

static void test_so_many_series(void **state)
{
    (void)state;
    struct buffer text = {0};
    uint32_t series = 0;
    for (const char *line = metrics(METRICS_TEXT, &text); *line != '\0';
         line = strchr(line, '\n') + 1) {
        series += line[0] != '#';
    }
    assert_in_range(series, 64 * 5, 400);
    assert_in_range(text.len, 1000, 65536);
    buffer_free(&text);
}

/* Whatever a worker writes, the observer tells something, and goes on. */
static void test_garbage(void **state)
{
    (void)state;
    size_t at = 0;
    watch("");
    json_decref(next_event("hello", &at));
    for (size_t i = 0; i < SCRIBBLES; i++) {
        struct buffer text = {0};
        scribble(scribbles[i]);
        post();
        json_decref(state_of());
        json_decref(next_event("tick", &at));
        metrics(METRICS_OPENMETRICS, &text);
        buffer_free(&text);
    }
}

static void test_which_format(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum metrics_format format;
    } cases[] = {
        {"", METRICS_TEXT},
        {"*/*", METRICS_TEXT},
        {"text/html", METRICS_TEXT},
        {"application/openmetrics-text", METRICS_OPENMETRICS},
        {"application/openmetrics-text; version=1.0.0; charset=utf-8", METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
         "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=0.0.1", METRICS_TEXT},
        {"application/openmetrics-text;q=0.4, text/plain;q=0.5", METRICS_TEXT},
        {"Application/OpenMetrics-Text;Q=0.5;Version=1.0.0,*/*;q=0.5", METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=0", METRICS_TEXT},
        {"application/openmetrics-text;q=x,;,,==;", METRICS_TEXT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(metrics_choose(span_of(cases[i].accept)), cases[i].format);
    }
    assert_int_equal(metrics_choose((struct span){NULL, 0}), METRICS_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_state, make, discard),
        cmocka_unit_test_setup_teardown(test_windows_are_fed, make, discard),
        cmocka_unit_test_setup_teardown(test_a_viewer, make, discard),
        cmocka_unit_test_setup_teardown(test_a_death_is_told, make, discard),
        cmocka_unit_test_setup_teardown(test_coming_back, make, discard),
        cmocka_unit_test_setup_teardown(test_metrics, make, discard),
        cmocka_unit_test_setup_teardown(test_so_many_series, make_large, discard),
        cmocka_unit_test_setup_teardown(test_garbage, make, discard),
        cmocka_unit_test(test_which_format),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
