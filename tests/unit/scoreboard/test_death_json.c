/* What is told of a death: neither query strings nor addresses. */
#include "common/scoreboard/death_json.h"

#include "common/scoreboard/ledger.h"
#include "common/scoreboard/scoreboard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/client_at.h"

static struct scoreboard *scoreboard;
static struct ledger *ledger;
static struct client_address client;
static struct buffer text;

static int make(void **state)
{
    (void)state;
    client = client_at("127.0.0.1", 4711);
    scoreboard = scoreboard_create(4);
    ledger = ledger_create(scoreboard);
    ledger_claim(ledger, 4);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    buffer_free(&text);
    ledger_destroy(ledger);
    scoreboard_destroy(scoreboard);
    return 0;
}

/* Until the next call. */
static const char *told(uint64_t number)
{
    static struct death_record death; /* too large for a stack */
    struct json_writer json;
    assert_true(deaths_copy(scoreboard, number, &death));
    buffer_clear(&text);
    json_init(&json, &text);
    death_json_put(&json, &death);
    buffer_append(&text, "", 1);
    return text.data;
}

static void assert_told(uint64_t number, const char *part)
{
    if (strstr(told(number), part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, text.data);
    }
}

static void set_connections(struct worker_slot *slot)
{
    slot->counters.requests_started = 2;
    slot->connections_open = 4;
    slot->connections_idle = 1;
}

static void test_a_signal(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[3];
    set_connections(slot);
    slot_enter(slot, 1, 6, SLOT_LOOP);
    slot_note_begin(slot, SPAN("GET /\"x\"?token=secret HTTP/1.1"), &client);
    struct death_record killed = {.time_ms = 1795222923456u,
                                  .process = 1,
                                  .first_slot = 2,
                                  .slot_count = 2,
                                  .pid = 55,
                                  .generation = 6,
                                  .signal = SIGSEGV,
                                  .lived_ns = 1234567890};
    ledger_bury(ledger, &killed);
    ledger_note_recovery(ledger, killed.number, 1234567);
    assert_string_equal(
        told(0),
        "{\"number\":0,\"time\":\"2026-11-21T01:02:03.456Z\",\"process\":1,"
        "\"pid\":55,\"generation\":6,\"cause\":\"signal\","
        "\"signal\":\"SIGSEGV\",\"exit_status\":null,\"lived_ms\":1234,"
        "\"requests_lost\":5,\"in_progress\":2,\"awaited\":3,\"idle_cut\":1,\"in_progress_lost\":2,"
        "\"left_to_successor\":false,\"adoption\":null,"
        "\"recovery_ms\":1.234,\"requests\":[{\"slot\":3,\"worker\":3,"
        "\"line\":\"GET /\\\"x\\\"\",\"client\":\"127.0.0.1:4711\"}],\"crash\":null}");
}

static void test_an_exit(void **state)
{
    (void)state;
    ledger_bury(ledger, &(struct death_record){.process = 0, .slot_count = 2, .exit_status = 3});
    assert_told(0, "\"cause\":\"exit\",\"signal\":null,\"exit_status\":3,");
    assert_told(0, "\"recovery_ms\":null,\"requests\":[],\"crash\":null}");
}

/* Its successor goes on with what it had, and says what becomes of it. */
static void test_a_successor(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[3];
    set_connections(slot);
    struct death_record killed = {
        .process = 1, .first_slot = 2, .slot_count = 2, .signal = SIGKILL, .left = 1};
    ledger_bury(ledger, &killed);
    ledger_claim(ledger, 2);
    ledger_name_heir(ledger, 0, 2, 2);
    for (uint64_t i = 0; i < ADOPTION_KINDS; i++) {
        slot->counters.adoption[i] = 10 + i;
    }
    assert_told(0, "\"requests_lost\":25,\"in_progress\":2,\"awaited\":3,\"idle_cut\":0,"
                   "\"in_progress_lost\":12,"
                   "\"left_to_successor\":true,\"adoption\":{\"connections\":10,\"lost\":11,"
                   "\"repeated\":14,\"resumed\":15,\"skipped\":16,"
                   "\"refused_500\":17,\"refused_502\":18},");
}

static void test_crash_of_a_thread(void **state)
{
    (void)state;
    struct crash_story story = {.told = true,
                                .signal = SIGSEGV,
                                .code = SEGV_MAPERR,
                                .tid = 78,
                                .slot = 3,
                                .address = 0x18,
                                .has_request = true,
                                .stack.left_out = 7,
                                .stack.left_out_at = 1,
                                .stack.frame_count = 2,
                                .stack.frames = {{.address = 0x1234,
                                                  .offset = 0x34,
                                                  .line = 25,
                                                  .function = "write_to_null",
                                                  .file = "common/handlers/lab/fault.c",
                                                  .module = "prefork-server"},
                                                 {.address = UINT64_MAX}}};
    strcpy(story.request.line, "GET /\"x\"?token=secret HTTP/1.1");
    strcpy(story.request.client, "127.0.0.1:4711");
    ledger_bury(ledger, &(struct death_record){.signal = SIGSEGV});
    deaths_publish_crash(scoreboard, 0, &story);
    assert_told(0, "\"crash\":{\"signal\":\"SIGSEGV\",\"code\":\"SEGV_MAPERR\","
                   "\"address\":\"0x18\",\"stack_overflow\":false,\"assertion\":null,"
                   "\"sender\":null,\"tid\":78,"
                   "\"slot\":3,\"worker\":3,\"request\":{\"line\":\"GET /\\\"x\\\"\","
                   "\"client\":\"127.0.0.1:4711\"},\"frames_left_out\":7,\"frames\":["
                   "{\"frame\":0,\"function\":\"write_to_null\","
                   "\"file\":\"common/handlers/lab/fault.c\",\"line\":25,"
                   "\"module\":\"prefork-server\",\"offset\":\"0x34\"},"
                   "{\"frame\":8,\"function\":null,\"file\":null,\"line\":null,"
                   "\"module\":null,\"offset\":null}]}}");
}

static void test_crash_by_a_signal_from_outside(void **state)
{
    (void)state;
    struct crash_story story = {.told = true,
                                .signal = SIGABRT,
                                .code = SI_USER,
                                .tid = 78,
                                .slot = -1,
                                .sender_pid = 99,
                                .sender_uid = 1000,
                                .assertion = "`c != '\"'` at x.c:7"};
    ledger_bury(ledger, &(struct death_record){.signal = SIGABRT});
    deaths_publish_crash(scoreboard, 0, &story);
    assert_told(0, "\"crash\":{\"signal\":\"SIGABRT\",\"code\":\"SI_USER\","
                   "\"address\":null,\"stack_overflow\":false,"
                   "\"assertion\":\"`c != '\\\"'` at x.c:7\","
                   "\"sender\":{\"pid\":99,\"uid\":1000},\"tid\":78,"
                   "\"slot\":null,\"worker\":null,\"request\":null,\"frames_left_out\":0,"
                   "\"frames\":[]}}");
}

/* Where code lies, or data, is nobody's business: the address of a fault may be either. */
static void test_no_address_that_means_something(void **state)
{
    (void)state;
    static const uint64_t addresses[] = {0x10000, 0x55d336c19609, 0x7ffc12345678, UINT64_MAX};
    struct crash_story story = {.told = true, .signal = SIGSEGV, .code = SEGV_MAPERR, .slot = 3};
    ledger_bury(ledger, &(struct death_record){.signal = SIGSEGV});
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        story.address = addresses[i];
        deaths_publish_crash(scoreboard, 0, &story);
        assert_told(0, "\"code\":\"SEGV_MAPERR\",\"address\":null,");
    }
    story.address = 0xffff;
    deaths_publish_crash(scoreboard, 0, &story);
    assert_told(0, "\"address\":\"0xffff\",");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_signal),
        TEST(test_an_exit),
        TEST(test_a_successor),
        TEST(test_crash_of_a_thread),
        TEST(test_crash_by_a_signal_from_outside),
        TEST(test_no_address_that_means_something),
    };
    return cmocka_run_group_tests_name("death_json", tests, NULL, NULL);
}
