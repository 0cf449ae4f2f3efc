#include "server/twinctl/top_input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct top_model model;
static struct top_input input;

static int begin(void **state)
{
    (void)state;
    input = (struct top_input){.may_signal = true};
    top_model_set(&model, json_loads("{\"processes\":[{\"number\":0,\"pid\":10},{\"number\":1,"
                                     "\"pid\":11},{\"number\":2,\"pid\":12}],"
                                     "\"deaths\":[{},{}]}",
                                     0, NULL));
    return 0;
}

static int end(void **state)
{
    (void)state;
    top_model_free(&model);
    return 0;
}

static enum top_action press(const char *keys)
{
    enum top_action action = TOP_ACT_DRAW;
    for (; *keys != '\0'; keys++) {
        action = top_input_key(&input, &model, *keys);
    }
    return action;
}

static void assert_marked(int key, long long process)
{
    assert_int_equal(top_input_key(&input, &model, key), TOP_ACT_DRAW);
    assert_int_equal(input.process, process);
    assert_int_equal(model.rows[input.row].process, process);
}

static void test_pages(void **state)
{
    (void)state;
    press("d");
    assert_int_equal(input.page, TOP_DEATHS);
    press("?");
    assert_int_equal(input.page, TOP_HELP);
    press("?");
    assert_int_equal(input.page, TOP_GRID);
    press("d");
    top_input_key(&input, &model, TOP_KEY_ESCAPE);
    assert_int_equal(input.page, TOP_GRID);
    assert_int_equal(press("q"), TOP_ACT_QUIT);
}

static void test_order_and_pause(void **state)
{
    (void)state;
    press("s");
    assert_int_equal(input.sort, TOP_SORT_STUCK);
    press("SS");
    assert_int_equal(input.sort, TOP_SORT_WAITING);
    press("s");
    assert_int_equal(input.sort, TOP_SORT_PROCESS);
    press(" ");
    assert_true(input.paused);
    press(" ");
    assert_false(input.paused);
}

static void test_the_mark_moves(void **state)
{
    (void)state;
    top_input_follow(&input, &model);
    assert_marked(TOP_KEY_UP, 0);
    assert_marked(TOP_KEY_DOWN, 1);
    assert_marked(TOP_KEY_END, 2);
    assert_marked(TOP_KEY_DOWN, 2);
    assert_marked(TOP_KEY_PAGE_UP, 0);
    assert_marked(TOP_KEY_PAGE_DOWN, 2);
    assert_marked(TOP_KEY_HOME, 0);
    press("d");
    top_input_key(&input, &model, TOP_KEY_END);
    assert_int_equal(input.death, 1);
}

static void test_the_mark_follows_its_row(void **state)
{
    (void)state;
    assert_marked(TOP_KEY_DOWN, 1);
    top_model_set(&model, json_loads("{\"processes\":[{\"number\":7},{\"number\":8},"
                                     "{\"number\":1,\"pid\":99}]}",
                                     0, NULL));
    top_input_follow(&input, &model);
    assert_int_equal(input.row, 2);
    top_model_set(&model, json_loads("{\"processes\":[{\"number\":5}]}", 0, NULL));
    top_input_follow(&input, &model);
    assert_int_equal(input.row, 0);
    assert_int_equal(input.process, 5);
    top_model_set(&model, json_loads("{}", 0, NULL));
    top_input_follow(&input, &model);
    assert_int_equal(input.row, 0);
    press("k");
    assert_false(input.asking);
    assert_non_null(strstr(input.notice, "no process"));
}

static void test_a_signal_is_asked_for(void **state)
{
    (void)state;
    assert_marked(TOP_KEY_DOWN, 1);
    press("k");
    assert_true(input.asking);
    press("sexq"); /* no commands meanwhile */
    top_input_key(&input, &model, TOP_KEY_BACKSPACE);
    top_input_key(&input, &model, TOP_KEY_BACKSPACE);
    assert_int_equal(press("gv"), TOP_ACT_DRAW);
    assert_int_equal(top_input_key(&input, &model, TOP_KEY_ENTER), TOP_ACT_SIGNAL);
    assert_string_equal(input.signal, "SEGV");
    assert_int_equal(input.pid, 11);
    assert_false(input.asking);
}

static void test_the_pid_stays_whose_it_was(void **state)
{
    (void)state;
    press("k");
    top_model_set(&model, json_loads("{\"processes\":[{\"number\":0,\"pid\":77}]}", 0, NULL));
    top_input_follow(&input, &model);
    assert_int_equal(top_input_key(&input, &model, TOP_KEY_ENTER), TOP_ACT_SIGNAL);
    assert_int_equal(input.pid, 10);
    assert_string_equal(input.signal, "TERM");
}

static void test_a_question_can_be_left(void **state)
{
    (void)state;
    press("kKILL");
    assert_int_equal(top_input_key(&input, &model, TOP_KEY_ESCAPE), TOP_ACT_DRAW);
    assert_false(input.asking);
    press("k");
    assert_string_equal(input.signal, "");
    press("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ");
    assert_true(strlen(input.signal) < sizeof(input.signal));
}

static void test_no_signal_without_a_control_socket(void **state)
{
    (void)state;
    input.may_signal = false;
    press("k");
    assert_false(input.asking);
    assert_non_null(strstr(input.notice, "--control PATH"));
    press("s");
    assert_string_equal(input.notice, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pages, begin, end),
        cmocka_unit_test_setup_teardown(test_order_and_pause, begin, end),
        cmocka_unit_test_setup_teardown(test_the_mark_moves, begin, end),
        cmocka_unit_test_setup_teardown(test_the_mark_follows_its_row, begin, end),
        cmocka_unit_test_setup_teardown(test_a_signal_is_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(test_the_pid_stays_whose_it_was, begin, end),
        cmocka_unit_test_setup_teardown(test_a_question_can_be_left, begin, end),
        cmocka_unit_test_setup_teardown(test_no_signal_without_a_control_socket, begin, end),
    };
    return cmocka_run_group_tests_name("top_input", tests, NULL, NULL);
}
