#include "server/twinctl/top_story.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

typedef void (*tell_fn)(const json_t *death, struct buffer *out);

static void assert_told(tell_fn tell, const char *death, const char *expected)
{
    struct buffer text = {0};
    json_t *root = json_loads(death, 0, NULL);
    assert_non_null(root);
    tell(root, &text);
    buffer_append(&text, "", 1);
    assert_string_equal(text.data, expected);
    buffer_free(&text);
    json_decref(root);
}

#define DEATH(rest)          "{\"time\":\"2026-11-29T23:42:43.913Z\",\"process\":1,\"pid\":2649" rest "}"
#define KILLED(rest)         DEATH(",\"signal\":\"SIGKILL\",\"lived_ms\":2250" rest)
#define FRAME(number, place) "{\"frame\":" number "," place "}"
#define LIBRARY              FRAME("0", "\"function\":\"raise\",\"file\":\"./signal/raise.c\",\"line\":26")
#define OURS                 FRAME("1", "\"function\":\"segv\",\"file\":\"common/fault.c\",\"line\":61")
#define NAMELESS             FRAME("2", "\"function\":null,\"file\":null,\"module\":\"libc.so.6\"")
#define CRASH(rest)                                                                                \
    ",\"crash\":{\"signal\":\"SIGSEGV\",\"code\":\"SEGV_MAPERR\",\"tid\":2650" rest "}"

static void test_a_sentence(void **state)
{
    (void)state;
    assert_told(
        top_story_sentence,
        KILLED(",\"requests_lost\":29,\"recovery_ms\":0.892,\"requests\":[],\"crash\":null"),
        "23:42:43 process 1 (pid 2649) was killed by SIGKILL: 29 requests lost, replaced "
        "after 892us");
    assert_told(
        top_story_sentence,
        DEATH(",\"signal\":null,\"exit_status\":3,\"requests_lost\":1,\"recovery_ms\":null"),
        "23:42:43 process 1 (pid 2649) ended with status 3: 1 request lost, not replaced "
        "yet");
    assert_told(top_story_sentence,
                KILLED(",\"requests_lost\":0,\"recovery_ms\":12,\"adoption\":{\"connections\":31}"),
                "23:42:43 process 1 (pid 2649) was killed by SIGKILL: 0 requests lost, 31 "
                "connections taken over, replaced after 12ms");
}

static void test_it_names_the_request_and_our_frame(void **state)
{
    (void)state;
    assert_told(top_story_sentence,
                KILLED(",\"requests_lost\":0,\"requests\":[{\"line\":\"GET /first HTTP/1.1\"}]"),
                "23:42:43 process 1 (pid 2649) was killed by SIGKILL in \"GET /first HTTP/1.1\": "
                "0 requests lost, not replaced yet");
    assert_told(top_story_sentence,
                KILLED(CRASH(",\"request\":{\"line\":\"GET /x\"},\"frames\":[" LIBRARY "," OURS
                             "]") ",\"requests\":[{\"line\":\"GET /first\"}]"),
                "23:42:43 process 1 (pid 2649) was killed by SIGKILL in \"GET /x\": 0 requests "
                "lost, not replaced yet; segv at common/fault.c:61");
    assert_told(top_story_sentence, KILLED(CRASH(",\"frames\":[" NAMELESS "]")),
                "23:42:43 process 1 (pid 2649) was killed by SIGKILL: 0 requests lost, not "
                "replaced yet; ? in libc.so.6");
    assert_told(top_story_sentence,
                KILLED(CRASH(",\"assertion\":\"`a` at b.c:1\",\"frames\":[" LIBRARY "]")),
                "23:42:43 process 1 (pid 2649) was killed by SIGKILL: 0 requests lost, not "
                "replaced yet; assertion failed: `a` at b.c:1");
}

static void test_in_brief(void **state)
{
    (void)state;
    assert_told(top_story_brief, KILLED(",\"requests_lost\":29,\"recovery_ms\":0.892"),
                "23:42:43 process 1, SIGKILL: 29 requests lost, replaced after 892us");
    assert_told(top_story_brief,
                DEATH(",\"exit_status\":3,\"requests_lost\":1" CRASH(
                    ",\"request\":{\"line\":\"GET /x\"},\"frames\":[" OURS "]")),
                "23:42:43 process 1, status 3: 1 request lost, not replaced yet; GET /x; segv at "
                "common/fault.c:61");
}

static void test_a_row(void **state)
{
    (void)state;
    assert_told(top_story_row,
                KILLED(",\"requests_lost\":29,\"recovery_ms\":0.892,\"adoption\":null"),
                "23:42:43    1    2649 SIGKILL       2.2s    29       0 892us  -");
    assert_told(top_story_row,
                DEATH(",\"exit_status\":1,\"adoption\":{\"connections\":3},"
                      "\"requests\":[{\"line\":\"GET /\\u001b HTTP/1.1\"}]"),
                "23:42:43    1    2649 status 1         -     0       3     -  GET /? HTTP/1.1");
}

static void test_details(void **state)
{
    (void)state;
    assert_told(top_story_details,
                KILLED(",\"crash\":null,\"requests\":[{\"slot\":2,\"line\":"
                       "\"GET /x\",\"client\":\"127.0.0.1:1\"}]"),
                "in progress in slot 2: \"GET /x\" of 127.0.0.1:1\n"
                "no crash story: its signal left no time, or the names are being looked up\n");
    assert_told(
        top_story_details,
        KILLED(CRASH(",\"sender\":{\"pid\":7,\"uid\":0},\"frames\":[" LIBRARY "," OURS "]")),
        "SIGSEGV (SEGV_MAPERR) in thread 2650, sent by pid 7 of user 0; segv at "
        "common/fault.c:61\n"
        "#0 raise at ./signal/raise.c:26\n"
        "#1 segv at common/fault.c:61\n");
}

static void test_nonsense(void **state)
{
    (void)state;
    const char *const texts[] = {"{}", "{\"time\":5,\"signal\":[],\"requests\":{},\"crash\":7}",
                                 "{\"time\":\"T\",\"requests\":[1],\"crash\":{\"frames\":[2]}}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct buffer text = {0};
        json_t *root = json_loads(texts[i], 0, NULL);
        top_story_sentence(root, &text);
        top_story_row(root, &text);
        top_story_details(root, &text);
        assert_true(text.len > 0);
        buffer_free(&text);
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sentence),
        cmocka_unit_test(test_it_names_the_request_and_our_frame),
        cmocka_unit_test(test_in_brief),
        cmocka_unit_test(test_a_row),
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests_name("top_story", tests, NULL, NULL);
}
