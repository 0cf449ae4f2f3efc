#include "server/twinctl/top_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct top_model model;

static void show(const char *text)
{
    json_t *state = json_loads(text, 0, NULL);
    assert_non_null(state);
    top_model_set(&model, state);
}

static int forget(void **state)
{
    (void)state;
    top_model_free(&model);
    return 0;
}

#define SLOT(number, rest) "{\"slot\":" number ",\"state\":\"ready\"" rest "}"
#define PROCESS(number, slots)                                                                     \
    "{\"number\":" number ",\"pid\":1" number                                                      \
    ",\"state\":\"starting\",\"memory\":{\"pss_kib\":null,\"rss_kib\":" number "00},"              \
    "\"cpu_share\":0." number ",\"slots\":[" slots "]}"
#define STATE(processes) "{\"processes\":[" processes "]}"

static void test_a_row_for_each_thread(void **state)
{
    (void)state;
    show(STATE(PROCESS(
        "3", SLOT("6", ",\"stuck\":\"blocked\",\"heartbeat_age_ms\":1500,\"per_second\":2.5,"
                       "\"p50_us\":10,\"p99_us\":20,\"current\":{\"line\":\"GET /x HTTP/1.1\","
                       "\"client\":\"127.0.0.1\"}") "," SLOT("7", ",\"p99_us\":null"))));
    assert_int_equal(model.row_count, 2);
    const struct top_row *row = &model.rows[0];
    assert_int_equal(row->process, 3);
    assert_int_equal(row->slot, 6);
    assert_int_equal(row->pid, 13);
    assert_string_equal(row->state, "ready");
    assert_string_equal(row->stuck, "blocked");
    assert_string_equal(row->current, "GET /x HTTP/1.1");
    assert_true(row->heartbeat_us == 1500000 && row->per_second == 2.5 && row->p50_us == 10 &&
                row->p99_us == 20);
    assert_true(row->memory_kib == 300 && row->cpu_share == 0.3 && isnan(row->waiting_share));
    assert_string_equal(model.rows[1].stuck, "");
    assert_string_equal(model.rows[1].current, "");
    assert_true(isnan(model.rows[1].p99_us));
}

static void test_a_process_without_threads_has_a_row(void **state)
{
    (void)state;
    show(STATE(PROCESS("1", "")));
    assert_int_equal(model.row_count, 1);
    assert_int_equal(model.rows[0].slot, TOP_NO_SLOT);
    assert_string_equal(model.rows[0].state, "starting");
    assert_true(isnan(model.rows[0].per_second) && isnan(model.rows[0].heartbeat_us));
}

static void test_proportional_memory_is_better(void **state)
{
    (void)state;
    show(STATE("{\"number\":0,\"memory\":{\"pss_kib\":7,\"rss_kib\":9}}"));
    assert_true(model.rows[0].memory_kib == 7);
}

/* Whatever an observer says, twinctl goes on. */
static void test_nonsense(void **state)
{
    (void)state;
    const char *const texts[] = {
        "{}", "{\"processes\":5}", "{\"processes\":[1,null,\"x\",[],{}]}",
        "{\"processes\":[{\"number\":\"x\",\"pid\":[],\"memory\":1,\"slots\":[7,{}]}]}",
        "{\"processes\":[{\"slots\":[{\"current\":9,\"state\":{},\"p50_us\":\"1\"}]}],"
        "\"deaths\":{}}"};
    const size_t rows[] = {0, 0, 5, 2, 1};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        show(texts[i]);
        assert_int_equal(model.row_count, rows[i]);
        for (int sort = 0; sort < TOP_SORTS; sort++) {
            top_model_sort(&model, (enum top_sort)sort);
        }
        assert_int_equal(top_model_deaths(&model), 0);
        assert_null(top_model_death(&model, 0));
    }
}

static void assert_slots(enum top_sort sort, const long long slots[4])
{
    top_model_sort(&model, sort);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(model.rows[i].slot, slots[i]);
    }
}

static void test_orders(void **state)
{
    (void)state;
    show(STATE(PROCESS(
        "2",
        SLOT("5", ",\"per_second\":1,\"p99_us\":null,\"heartbeat_age_ms\":9") "," SLOT(
            "4",
            ",\"per_second\":3,\"p99_us\":7,\"heartbeat_age_ms\":1")) "," PROCESS("1",
                                                                                  SLOT(
                                                                                      "3",
                                                                                      ",\"per_"
                                                                                      "second\":2,"
                                                                                      "\"p99_us\":"
                                                                                      "8,"
                                                                                      "\"heartbeat_"
                                                                                      "age_ms\":5,"
                                                                                      "\"stuck\":"
                                                                                      "\"spinning"
                                                                                      "\"") "," SLOT("2",
                                                                                                     ",\"per_second\":2,\"p99_us\":9"))));
    assert_slots(TOP_SORT_PROCESS, (const long long[]){2, 3, 4, 5});
    assert_slots(TOP_SORT_RATE, (const long long[]){4, 2, 3, 5});
    assert_slots(TOP_SORT_P99, (const long long[]){2, 3, 4, 5});
    assert_slots(TOP_SORT_HEARTBEAT, (const long long[]){5, 3, 4, 2});
    assert_slots(TOP_SORT_STUCK, (const long long[]){3, 2, 4, 5});
    assert_slots(TOP_SORT_MEMORY, (const long long[]){4, 5, 2, 3});
    assert_slots(TOP_SORT_CPU, (const long long[]){4, 5, 2, 3});
    assert_slots(TOP_SORT_WAITING, (const long long[]){2, 3, 4, 5});
}

static void test_the_latest_death_comes_first(void **state)
{
    (void)state;
    show("{\"deaths\":[{\"number\":7},{\"number\":8}]}");
    assert_int_equal(top_model_deaths(&model), 2);
    assert_int_equal(top_integer(top_model_death(&model, 0), "number"), 8);
    assert_int_equal(top_integer(top_model_death(&model, 1), "number"), 7);
    assert_null(top_model_death(&model, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_a_row_for_each_thread, forget),
        cmocka_unit_test_teardown(test_a_process_without_threads_has_a_row, forget),
        cmocka_unit_test_teardown(test_proportional_memory_is_better, forget),
        cmocka_unit_test_teardown(test_nonsense, forget),
        cmocka_unit_test_teardown(test_orders, forget),
        cmocka_unit_test_teardown(test_the_latest_death_comes_first, forget),
    };
    return cmocka_run_group_tests_name("top_model", tests, NULL, NULL);
}
