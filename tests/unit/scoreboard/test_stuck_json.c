/* What is told of a process in which a thread was stuck: no query strings. */
#include "common/scoreboard/stuck_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct stuck_record record; /* too large for a stack */

static void test_threads(void **state)
{
    (void)state;
    record = (struct stuck_record){
        .time_ms = 1795222923456u, .process = 1, .pid = 77, .generation = 5, .thread_count = 2};
    struct stuck_thread *stuck = &record.threads[0];
    *stuck = (struct stuck_thread){.tid = 78,
                                   .slot = 3,
                                   .role = SLOT_POOL,
                                   .verdict = SLOT_BLOCKED,
                                   .state = 'S',
                                   .wait_channel = "futex_do_wait",
                                   .has_request = true};
    strcpy(stuck->request.line, "GET /?token=secret HTTP/1.1");
    strcpy(stuck->request.client, "127.0.0.1:4711");
    stuck->stack.frame_count = 1;
    strcpy(stuck->stack.frames[0].function, "wait_for_ever");
    record.threads[1] = (struct stuck_thread){.tid = 77, .slot = -1, .state = 'R'};
    struct buffer text = {0};
    struct json_writer json;
    json_init(&json, &text);
    stuck_json_put(&json, &record);
    buffer_append(&text, "", 1);
    assert_string_equal(
        text.data, "{\"time\":\"2026-11-21T01:02:03.456Z\",\"process\":1,\"pid\":77,"
                   "\"generation\":5,\"threads\":[{\"tid\":78,\"slot\":3,\"worker\":3,"
                   "\"role\":\"pool\",\"stuck\":\"blocked\",\"state\":\"S\","
                   "\"wait_channel\":\"futex_do_wait\","
                   "\"request\":{\"line\":\"GET /\",\"client\":\"127.0.0.1:4711\"},"
                   "\"frames_left_out\":0,\"frames\":[{\"frame\":0,\"function\":\"wait_for_ever\","
                   "\"file\":null,\"line\":null,\"module\":null,\"offset\":null}]},"
                   "{\"tid\":77,\"slot\":null,\"worker\":null,\"role\":null,\"stuck\":null,"
                   "\"state\":\"R\",\"wait_channel\":null,\"request\":null,"
                   "\"frames_left_out\":0,\"frames\":[]}]}");
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests_name("stuck_json", tests, NULL, NULL);
}
