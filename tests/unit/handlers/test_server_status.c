/* GET /status. */
#include "common/base/memory.h"
#include "common/scoreboard/stuck_record.h"
#include "tests/unit/handlers/handlers_testing.h"

#include <signal.h>

static const char *status(void)
{
    assert_int_equal(get("/status"), 200);
    assert_string_equal(exchange->response.content_type, "application/json");
    assert_true(exchange->response.no_store);
    return body();
}

static void test_server(void **state)
{
    (void)state;
    strcpy(scoreboard->server, "prefork-server");
    strcpy(scoreboard->version, "1.2.3");
    strcpy(scoreboard->model, "prefork");
    scoreboard->generation = 9;
    scoreboard->master_pid = 42;
    assert_contains(status(), "{\"server\":\"prefork-server\",\"version\":\"1.2.3\","
                              "\"model\":\"prefork\",\"dispatch\":null,\"generation\":9,"
                              "\"master_pid\":42,\"uptime_ms\":");
    strcpy(scoreboard->dispatch, "request");
    assert_contains(status(), "\"dispatch\":\"request\"");
    assert_contains(status(), "\"deaths\":[],\"stuck_processes\":[]}");
}

static void test_workers(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[2];
    slot_enter(slot, 1, 5, SLOT_POOL);
    slot_set_state(slot, SLOT_READY);
    slot->pid = 77;
    slot->tid = 78;
    slot->counters.requests_started = 10;
    slot->counters.requests_finished = 8;
    slot->counters.requests_aborted = 1;
    slot->counters.bytes_sent = 1234;
    slot->connections_open = 3;
    slot->connections_idle = 2;
    slot->deaths = 4;
    slot_note_begin(slot, SPAN("GET /sleep?ms=5 HTTP/1.1"), &client);
    come_back();
    const char *text = status();
    assert_contains(text,
                    "{\"slot\":2,\"worker\":2,\"tid\":78,\"role\":\"pool\",\"state\":\"ready\","
                    "\"process\":1,\"pid\":77,\"generation\":5,\"heartbeat_age_ms\":");
    assert_contains(
        text,
        "\"stuck\":null,\"requests_started\":10,\"requests_finished\":8,\"requests_aborted\":1,"
        "\"requests_handled\":0,\"bytes_sent\":1234,\"connections_accepted\":0,"
        "\"connections_adopted\":0,\"connections_refused\":0,"
        "\"faults_recovered\":0,"
        "\"connections_open\":3,\"connections_idle\":2,\"deaths\":4,"
        "\"current\":\"GET /sleep\"}");
    assert_contains(text,
                    "{\"slot\":0,\"worker\":0,\"tid\":0,\"role\":\"loop\",\"state\":\"starting\","
                    "\"process\":0,\"pid\":0,\"generation\":0,");
    assert_contains(text, "\"current\":\"GET /status HTTP/1.1\""); /* its own */
    assert_contains(text, "\"state\":\"starting\"");
    slot->state = SLOT_DRAINING;
    assert_contains(status(), "\"state\":\"draining\"");
    slot->state = SLOT_ENDED;
    assert_contains(status(), "\"state\":\"ended\"");
    slot->state = SLOT_DEAD;
    assert_contains(status(), "\"state\":\"dead\"");
    slot->state = SLOT_SPARE; /* nobody is there */
    assert_null(strstr(status(), "{\"slot\":2,\"worker\":2,"));
}

static void test_who_does_not_move(void **state)
{
    (void)state;
    static const char *const names[] = {[SLOT_STOPPED] = "\"stuck\":\"stopped\"",
                                        [SLOT_SPINNING] = "\"stuck\":\"spinning\"",
                                        [SLOT_BLOCKED] = "\"stuck\":\"blocked\""};
    for (uint32_t verdict = SLOT_STOPPED; verdict <= SLOT_BLOCKED; verdict++) {
        scoreboard->slots[0].verdict = verdict;
        assert_contains(status(), names[verdict]);
    }
}

static void test_stuck_processes(void **state)
{
    (void)state;
    struct stuck_record *record = memory_alloc_zeroed(1, sizeof(*record));
    *record = (struct stuck_record){
        .time_ms = 1795222923456u, .process = 1, .pid = 77, .generation = 5, .thread_count = 2};
    struct stuck_thread *stuck = &record->threads[0];
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
    record->threads[1] = (struct stuck_thread){.tid = 77, .slot = -1, .state = 'R'};
    stuck_record_publish(scoreboard, ledger_next_stuck_record(ledger), record);
    free(record);
    assert_contains(
        status(),
        "\"stuck_processes\":[{\"time\":\"2026-11-21T01:02:03.456Z\",\"process\":1,\"pid\":77,"
        "\"generation\":5,\"threads\":[{\"tid\":78,\"slot\":3,\"worker\":3,\"role\":\"pool\","
        "\"stuck\":\"blocked\",\"state\":\"S\",\"wait_channel\":\"futex_do_wait\","
        "\"request\":{\"line\":\"GET /\",\"client\":\"127.0.0.1:4711\"},"
        "\"frames_left_out\":0,\"frames\":[{\"frame\":0,\"function\":\"wait_for_ever\",");
    assert_contains(body(),
                    "{\"tid\":77,\"slot\":null,\"worker\":null,\"role\":null,\"stuck\":null,"
                    "\"state\":\"R\",\"wait_channel\":null,\"request\":null,"
                    "\"frames_left_out\":0,\"frames\":[]}]}]}");
}

/* The living and the dead together. */
static void test_totals(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct slot_counters *counters = &scoreboard->slots[i].counters;
        counters->requests_started = 10;
        counters->requests_finished = 7;
        counters->requests_aborted = 1;
        counters->requests_handled = 0;
        counters->bytes_sent = 100;
        counters->connections_accepted = 5;
        counters->connections_adopted = 3;
        counters->connections_refused = 2;
        counters->faults_recovered = 3;
        counters->adoption[ADOPTION_CONNECTIONS] = 5;
        counters->adoption[ADOPTION_LOST_AWAITED] = 1;
        scoreboard->slots[i].connections_open = 4;
        scoreboard->slots[i].connections_idle = 1;
    }
    ledger_bury(ledger, &(struct death_record){.process = 1, .first_slot = 2, .slot_count = 2});
    ledger_name_heir(ledger, 0, 0, 2);
    scoreboard->stuck_incidents = 3;
    assert_contains(status(),
                    "\"totals\":{\"requests_started\":40,\"requests_finished\":28,"
                    "\"requests_aborted\":4,\"requests_handled\":0,\"bytes_sent\":400,"
                    "\"connections_accepted\":20,\"connections_adopted\":12,"
                    "\"connections_refused\":8,\"faults_recovered\":12,\"connections_open\":8,"
                    "\"connections_idle\":2,\"deaths\":1,\"requests_lost\":12,\"in_progress_lost\":"
                    "4,\"stuck_incidents\":3,"
                    "\"adoption\":{\"connections\":10,\"lost\":0,\"repeated\":0,"
                    "\"resumed\":0,\"skipped\":0,\"refused_500\":0,\"refused_502\":0}}");
}

/* The living and the dead together. */
static void test_durations(void **state)
{
    (void)state;
    assert_contains(status(), "\"stalls\":{\"count\":0,\"mean_us\":null,\"p50_us\":null,"
                              "\"p90_us\":null,\"p99_us\":null,\"p999_us\":null,"
                              "\"max_us\":null},\"workers\":[");
    histogram_add(&scoreboard->slots[1].latency.requests, 2000000, 99);
    histogram_add(&scoreboard->slots[2].latency.requests, 100000000, 1);
    histogram_add(&scoreboard->slots[0].latency.turns, 5000, 3);
    ledger_bury(ledger, &(struct death_record){.process = 1, .first_slot = 2, .slot_count = 2});
    const char *text = status();
    assert_contains(text, "\"latency\":{\"count\":100,\"mean_us\":2980,\"p50_us\":2031,"
                          "\"p90_us\":2031,\"p99_us\":2031,\"p999_us\":100000,"
                          "\"max_us\":100000},");
    assert_contains(text, "\"stalls\":{\"count\":3,\"mean_us\":5,\"p50_us\":5,\"p90_us\":5,"
                          "\"p99_us\":5,\"p999_us\":5,\"max_us\":5},");
}

static void test_deaths(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[3];
    slot->counters.requests_started = 2;
    slot->connections_open = 4;
    slot->connections_idle = 1;
    slot_enter(slot, 1, 6, SLOT_LOOP);
    slot_note_begin(slot, SPAN("GET /\"x\"?token=secret HTTP/1.1"), &client);
    come_back();
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
    ledger_bury(ledger, &(struct death_record){.process = 0, .slot_count = 2, .exit_status = 3});
    const char *text = status();
    assert_contains(
        text,
        "\"deaths\":[{\"number\":0,\"time\":\"2026-11-21T01:02:03.456Z\",\"process\":1,"
        "\"pid\":55,\"generation\":6,\"cause\":\"signal\","
        "\"signal\":\"SIGSEGV\",\"exit_status\":null,\"lived_ms\":1234,"
        "\"requests_lost\":5,\"in_progress\":2,\"awaited\":3,\"idle_cut\":1,\"in_progress_lost\":2,"
        "\"left_to_successor\":false,\"adoption\":null,"
        "\"recovery_ms\":1.234,\"requests\":[{\"slot\":3,\"worker\":3,"
        "\"line\":\"GET /\\\"x\\\"\",\"client\":\"127.0.0.1:4711\"}],\"crash\":null},{");
    assert_contains(text, "\"cause\":\"exit\",\"signal\":null,\"exit_status\":3,");
    assert_contains(text, "\"recovery_ms\":null,\"requests\":[");
    assert_contains(text, "],\"crash\":null}");
}

/* Its successor goes on with what it had, and says what becomes of it. */
static void test_a_death_with_a_successor(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[3];
    slot->counters.requests_started = 2;
    slot->connections_open = 4;
    slot->connections_idle = 1;
    struct death_record killed = {
        .process = 1, .first_slot = 2, .slot_count = 2, .signal = SIGKILL, .left = 1};
    ledger_bury(ledger, &killed);
    ledger_claim(ledger, 2);
    ledger_name_heir(ledger, 0, 2, 2);
    for (uint64_t i = 0; i < ADOPTION_KINDS; i++) {
        slot->counters.adoption[i] = 10 + i;
    }
    assert_contains(status(),
                    "\"requests_lost\":25,\"in_progress\":2,\"awaited\":3,\"idle_cut\":0,\"in_"
                    "progress_lost\":12,"
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
    assert_contains(status(), "\"crash\":{\"signal\":\"SIGSEGV\",\"code\":\"SEGV_MAPERR\","
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
    assert_contains(status(),
                    "\"crash\":{\"signal\":\"SIGABRT\",\"code\":\"SI_USER\","
                    "\"address\":null,\"stack_overflow\":false,"
                    "\"assertion\":\"`c != '\\\"'` at x.c:7\","
                    "\"sender\":{\"pid\":99,\"uid\":1000},\"tid\":78,"
                    "\"slot\":null,\"worker\":null,\"request\":null,\"frames_left_out\":0,"
                    "\"frames\":[]}}");
}

/* What somebody may write who has taken over a process: the answer is shorter or longer, and JSON.
 */
static void test_whatever_is_written_there(void **state)
{
    (void)state;
    for (int byte = 0; byte <= UINT8_MAX; byte += 85) {
        memset((char *)scoreboard + SCOREBOARD_PAGE_BYTES, byte,
               sizeof(*scoreboard) - SCOREBOARD_PAGE_BYTES + 4 * sizeof(struct worker_slot));
        scoreboard->death_sequence = 2;
        for (uint64_t i = 0; i < STUCK_RECORDS; i++) {
            uint64_t number = scoreboard->stuck_records - 1 - i;
            scoreboard->stuck_places[number % STUCK_RECORDS].number = number;
            scoreboard->stuck_places[number % STUCK_RECORDS].sequence = 2 * number + 2;
        }
        assert_int_equal(get("/status"), 200);
        const struct buffer *text = &exchange->response.text;
        assert_in_range(text->len, 100, 64 << 20);
        assert_memory_equal(text->data + text->len - 2, "]}", 2);
    }
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
        assert_contains(status(), "\"code\":\"SEGV_MAPERR\",\"address\":null,");
    }
    story.address = 0xffff;
    deaths_publish_crash(scoreboard, 0, &story);
    assert_contains(status(), "\"address\":\"0xffff\",");
}

static void test_for_this_machine_alone(void **state)
{
    (void)state;
    static const char *const proxies[] = {"Via: 1.1 a\r\n",
                                          "via:\r\n",
                                          "Forwarded: for=192.0.2.1\r\n",
                                          "X-Forwarded-For: 127.0.0.1\r\n",
                                          "Accept: a\r\nx-forwarded-proto: https\r\n",
                                          "X-Real-IP: 192.0.2.1\r\nAccept: b\r\n",
                                          "CF-Connecting-IP: 192.0.2.1\r\n"};
    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++) {
        assert_int_equal(ask("GET", "/status", proxies[i], ""), 403);
    }
    assert_int_equal(ask("GET", "/status", "Accept: via:, X-Forwarded-For:\r\nViao: 1\r\n", ""),
                     200);
    come_from("127.255.0.9");
    assert_int_equal(get("/status"), 200);
    come_from("192.0.2.1");
    assert_int_equal(get("/status"), 403);
    assert_null(strstr(body(), "workers"));
    assert_int_equal(get("/%73tatus"), 403);
    assert_int_equal(get("/x/..//status?a"), 403);
    assert_int_equal(ask("OPTIONS", "/status", "", ""), 403);
    assert_int_equal(ask("POST", "/status", "", ""), 403);
    assert_int_equal(ask("GET", "/status", "X-Forwarded-For: 127.0.0.1\r\n", ""), 403);
    assert_int_equal(get("/plaintext"), 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_handlers, close_handlers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server),
        TEST(test_workers),
        TEST(test_totals),
        TEST(test_durations),
        TEST(test_deaths),
        TEST(test_a_death_with_a_successor),
        TEST(test_crash_of_a_thread),
        TEST(test_crash_by_a_signal_from_outside),
        TEST(test_whatever_is_written_there),
        TEST(test_no_address_that_means_something),
        TEST(test_for_this_machine_alone),
        TEST(test_who_does_not_move),
        TEST(test_stuck_processes),
    };
    return cmocka_run_group_tests_name("server_status", tests, NULL, NULL);
}
