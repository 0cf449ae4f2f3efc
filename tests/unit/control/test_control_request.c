#include "server/control/control_request.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct control_request request;
static struct error error;

static bool parse(const char *line)
{
    error.text[0] = '\0';
    return control_request_parse(span_of(line), &request, &error);
}

static void assert_refused(const char *line, const char *reason)
{
    assert_false(parse(line));
    if (strstr(error.text, reason) == NULL) {
        fail_msg("%s: \"%s\" is not in \"%s\"", line, reason, error.text);
    }
}

static void test_plain_commands(void **state)
{
    (void)state;
    static const enum control_command plain[] = {CONTROL_LIST,        CONTROL_DRAIN,
                                                 CONTROL_STOP,        CONTROL_RELOAD,
                                                 CONTROL_REOPEN_LOGS, CONTROL_UPGRADE};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), " {\"command\": \"%s\"} ", control_command_name(plain[i]));
        assert_true(parse(line));
        assert_int_equal(request.command, plain[i]);
    }
}

static void test_counts(void **state)
{
    (void)state;
    assert_true(parse("{\"command\":\"add\"}"));
    assert_int_equal(request.command, CONTROL_ADD);
    assert_int_equal(request.count, 1);
    assert_true(parse("{\"command\":\"remove\",\"count\":512}"));
    assert_int_equal(request.command, CONTROL_REMOVE);
    assert_int_equal(request.count, 512);
    static const char *const bad[] = {"0", "513", "-1", "1.0", "\"1\"", "null", "true", "[1]"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "{\"command\":\"add\",\"count\":%s}", bad[i]);
        assert_refused(line, "bad \"count\"");
    }
}

static void test_kill(void **state)
{
    (void)state;
    assert_true(parse("{\"command\":\"kill\",\"pid\":42,\"signal\":\"SIGUSR1\"}"));
    assert_int_equal(request.command, CONTROL_KILL);
    assert_int_equal(request.pid, 42);
    assert_int_equal(request.signal, SIGUSR1);
    assert_true(parse("{\"command\":\"kill\",\"pid\":42,\"signal\":9}"));
    assert_int_equal(request.signal, SIGKILL);
    assert_true(parse("{\"command\":\"kill\",\"pid\":42,\"signal\":\"9\"}"));
    assert_int_equal(request.signal, SIGKILL);
    assert_refused("{\"command\":\"kill\",\"signal\":9}", "no \"pid\"");
    assert_refused("{\"command\":\"kill\",\"pid\":0,\"signal\":9}", "no \"pid\"");
    assert_refused("{\"command\":\"kill\",\"pid\":4294967338,\"signal\":9}", "no \"pid\"");
    assert_refused("{\"command\":\"kill\",\"pid\":42}", "no such \"signal\"");
    assert_refused("{\"command\":\"kill\",\"pid\":42,\"signal\":0}", "no such \"signal\"");
    assert_refused("{\"command\":\"kill\",\"pid\":42,\"signal\":\"x\"}", "no such \"signal\"");
}

static void test_recycle(void **state)
{
    (void)state;
    assert_true(parse("{\"command\":\"recycle\",\"number\":0}"));
    assert_false(request.all);
    assert_int_equal(request.number, 0);
    assert_true(parse("{\"command\":\"recycle\",\"number\":\"all\"}"));
    assert_true(request.all);
    assert_refused("{\"command\":\"recycle\"}", "no \"number\"");
    assert_refused("{\"command\":\"recycle\",\"number\":\"0\"}", "no \"number\"");
    assert_refused("{\"command\":\"recycle\",\"number\":-1}", "no \"number\"");
}

/* What becomes a part of a request line. */
static void test_fault(void **state)
{
    (void)state;
    assert_true(parse("{\"command\":\"fault\",\"path\":\"/fault/leak?mb=8&x=1\"}"));
    assert_int_equal(request.command, CONTROL_FAULT);
    assert_string_equal(request.target, "/fault/leak?mb=8&x=1");
    static const char *const bad[] = {"/",          "/fault",        "/lab/peek",
                                      "/fault/a b", "/fault/\\r\\n", "/fault/\\u0041",
                                      "/fault/%41", "//fault/segv",  "/fault/../lab"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "{\"command\":\"fault\",\"path\":\"%s\"}", bad[i]);
        assert_refused(line, "no \"path\"");
    }
    char line[256];
    snprintf(line, sizeof(line), "{\"command\":\"fault\",\"path\":\"/fault/%080d\"}", 0);
    assert_refused(line, "no \"path\"");
    assert_refused("{\"command\":\"fault\"}", "no \"path\"");
    assert_refused("{\"command\":\"fault\",\"path\":1}", "no \"path\"");
}

static void test_rubbish(void **state)
{
    (void)state;
    static const char *const rubbish[] = {
        "",   " ",    "list",
        "[]", "null", "\"list\"",
        "{",  "{}}",  "{\"command\":\"list\",\"command\":\"stop\"}"};
    for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
        assert_refused(rubbish[i], "not a JSON object");
    }
    assert_refused("{}", "unknown command");
    assert_refused("{\"command\":null}", "unknown command");
    assert_refused("{\"command\":\"LIST\"}", "unknown command");
    assert_false(
        control_request_parse((struct span){"{\"command\":\"stop\"}\0", 19}, &request, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_commands), cmocka_unit_test(test_counts),
        cmocka_unit_test(test_kill),           cmocka_unit_test(test_recycle),
        cmocka_unit_test(test_fault),          cmocka_unit_test(test_rubbish),
    };
    return cmocka_run_group_tests_name("control_request", tests, NULL, NULL);
}
