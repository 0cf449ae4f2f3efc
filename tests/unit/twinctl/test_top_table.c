#include "server/twinctl/top_table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static const struct top_row row = {.process = 1,
                                   .slot = 3,
                                   .pid = 2649,
                                   .state = "ready",
                                   .current = "GET /sleep?ms=10 HTTP/1.1",
                                   .heartbeat_us = 12000,
                                   .per_second = 28540,
                                   .p50_us = 87,
                                   .p99_us = 2100,
                                   .memory_kib = 5120,
                                   .cpu_share = 0.25,
                                   .waiting_share = 0.01};

static void assert_text(struct buffer *text, const char *expected)
{
    buffer_append(text, "", 1);
    assert_string_equal(text->data, expected);
    buffer_free(text);
}

static void assert_row(const struct top_row *shown, const struct top_row *above, int width,
                       const char *expected)
{
    struct buffer text = {0};
    top_table_row(shown, above, width, &text);
    assert_text(&text, expected);
}

static void assert_titles(int width, enum top_sort sort, const char *marked, const char *expected)
{
    struct buffer text = {0};
    struct top_mark mark = top_table_titles(&text, width, sort);
    char title[16] = "";
    memcpy(title, text.data + mark.first, (size_t)(mark.end - mark.first));
    assert_non_null(strstr(title, marked));
    assert_text(&text, expected);
}

#define NARROW "PROC SLOT     PID STATE      BEAT  REQ/S   P50   P99   MEM  CPU WAIT REQUEST"
#define WIDE                                                                                       \
    "PROC SLOT     PID STATE     STUCK      BEAT  REQ/S   P50   P99   MEM  CPU WAIT REQUEST"

static void test_titles(void **state)
{
    (void)state;
    assert_titles(80, TOP_SORT_PROCESS, "PROC", NARROW);
    assert_titles(80, TOP_SORT_WAITING, "WAIT", NARROW);
    assert_titles(80, TOP_SORT_STUCK, "STATE", NARROW);
    assert_titles(120, TOP_SORT_STUCK, "STUCK", WIDE);
    assert_titles(120, TOP_SORT_RATE, "REQ/S", WIDE);
    assert_true(strlen(NARROW) <= 80);
}

static void test_a_row_stands_below_its_titles(void **state)
{
    (void)state;
    assert_row(
        &row, NULL, 80,
        "   1    3    2649 ready      12ms  28540  87us 2.1ms  5.0M  25% 1.0% GET /sleep?ms=10");
    assert_row(&row, NULL, 120,
               "   1    3    2649 ready     -          12ms  28540  87us 2.1ms  5.0M  25% 1.0% GET "
               "/sleep?ms=10");
}

static void test_what_belongs_to_the_process_is_shown_once(void **state)
{
    (void)state;
    struct top_row other = row;
    assert_row(
        &row, &other, 80,
        "        3         ready      12ms  28540  87us 2.1ms                 GET /sleep?ms=10");
    other.pid++; /* a successor beside it */
    assert_row(
        &row, &other, 80,
        "   1    3    2649 ready      12ms  28540  87us 2.1ms  5.0M  25% 1.0% GET /sleep?ms=10");
}

static void test_who_is_stuck(void **state)
{
    (void)state;
    struct top_row stuck = row;
    memcpy(stuck.stuck, "spinning", sizeof("spinning"));
    assert_row(
        &stuck, NULL, 80,
        "   1    3    2649 !spinning  12ms  28540  87us 2.1ms  5.0M  25% 1.0% GET /sleep?ms=10");
    assert_row(&stuck, NULL, 120,
               "   1    3    2649 ready     spinning   12ms  28540  87us 2.1ms  5.0M  25% 1.0% GET "
               "/sleep?ms=10");
    assert_int_equal(top_table_mood(&stuck), TOP_BAD);
}

static void test_what_is_not_known(void **state)
{
    (void)state;
    const double no = (double)NAN;
    const struct top_row starting = {.process = 0,
                                     .slot = TOP_NO_SLOT,
                                     .pid = 5,
                                     .state = "starting",
                                     .heartbeat_us = no,
                                     .per_second = no,
                                     .p50_us = no,
                                     .p99_us = no,
                                     .memory_kib = no,
                                     .cpu_share = no,
                                     .waiting_share = no};
    assert_row(&starting, NULL, 80,
               "   0    -       5 starting      -      -     -     -     -    -    - -");
    assert_int_equal(top_table_mood(&starting), TOP_CHANGING);
    assert_int_equal(top_table_mood(&row), TOP_FINE);
}

static void assert_head(const char *state, const char *expected)
{
    struct top_model model = {0};
    struct buffer text = {0};
    size_t lines = 0;
    top_model_set(&model, json_loads(state, 0, NULL));
    top_table_head(&model, &text);
    for (size_t i = 0; i < text.len; i++) {
        lines += text.data[i] == '\n';
    }
    assert_int_equal(lines, TOP_HEAD_LINES);
    assert_text(&text, expected);
    top_model_free(&model);
}

#define LATENCY "latency      req/s     mean      p50      p90      p99    p99.9      max\n"
#define UNKNOWN "        -        -        -        -        -        -        -\n"

static void test_the_lines_above(void **state)
{
    (void)state;
    assert_head(
        "{\"server\":{\"name\":\"threadpool-server\",\"version\":\"0.1.0\",\"model\":"
        "\"threadpool\","
        "\"dispatch\":\"request\",\"listen\":\"127.0.0.1:80\",\"on_death\":\"cut\"},"
        "\"uptime_ms\":61000,\"master\":{\"pid\":10,\"phase\":\"running\",\"heard_ms\":3,"
        "\"processes_wanted\":2},\"totals\":{\"deaths\":1,\"stuck_incidents\":4,"
        "\"requests_finished\":1234567,\"requests_aborted\":5,\"requests_lost\":29,"
        "\"connections_open\":64,\"connections_idle\":2},\"latency\":{\"1s\":{\"per_second\":28540."
        "0,"
        "\"mean_us\":1,\"p50_us\":2,\"p90_us\":3,\"p99_us\":4,\"p999_us\":5,\"max_us\":6000}},"
        "\"processes\":[{\"state\":\"ready\"},{\"state\":\"starting\"}],"
        "\"deaths\":[{\"time\":\"2026-11-29T23:42:43.913Z\",\"signal\":\"SIGBUS\"}]}",
        "threadpool-server 0.1.0, threadpool request, 127.0.0.1:80, on_death cut, up 61s\n"
        "master 10 running, heard 3.0ms ago; 1 of 2 processes ready; 1 deaths, 4 stuck\n"
        "requests 28540/s: 1,234,567 finished, 5 aborted, 29 lost; connections 64, 2 idle\n" LATENCY
        "1s           28540      1us      2us      3us      4us      5us    6.0ms\n"
        "10s      " UNKNOWN "60s      " UNKNOWN
        "last death 23:42:43 process 0, SIGBUS: 0 requests lost, not replaced yet\n");
}

static void test_a_state_without_anything(void **state)
{
    (void)state;
    assert_head("{}", " , , , on_death , up -\n"
                      "master 0 , heard - ago; 0 of 0 processes ready; - deaths, 0 stuck\n"
                      "requests -/s: - finished, - aborted, - lost; connections -, - idle\n" LATENCY
                      "1s       " UNKNOWN "10s      " UNKNOWN "60s      " UNKNOWN
                      "no process has died\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_titles),
        cmocka_unit_test(test_a_row_stands_below_its_titles),
        cmocka_unit_test(test_what_belongs_to_the_process_is_shown_once),
        cmocka_unit_test(test_who_is_stuck),
        cmocka_unit_test(test_what_is_not_known),
        cmocka_unit_test(test_the_lines_above),
        cmocka_unit_test(test_a_state_without_anything),
    };
    return cmocka_run_group_tests_name("top_table", tests, NULL, NULL);
}
