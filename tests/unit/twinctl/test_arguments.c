#include "server/twinctl/arguments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { WORDS_MAX = 16 };

static struct arguments arguments;
static struct error error;

static bool read_words(const char *text)
{
    static char copy[256]; /* the arguments point into it */
    char *argv[WORDS_MAX] = {"twinctl"};
    int argc = 1;
    char *rest = copy;
    char *word;
    snprintf(copy, sizeof(copy), "%s", text);
    while (argc < WORDS_MAX - 1 && (word = strsep(&rest, " ")) != NULL) {
        argv[argc++] = word;
    }
    return arguments_read(&arguments, argc, argv, &error);
}

static void assert_request(const char *words, const char *request)
{
    if (!read_words(words)) {
        fail_msg("%s: %s", words, error.text);
    }
    assert_string_equal(arguments.control, "s");
    char *text = json_dumps(arguments.request, JSON_COMPACT);
    assert_string_equal(text, request);
    free(text);
    json_decref(arguments.request);
}

static void test_requests(void **state)
{
    (void)state;
    assert_request("--control s list", "{\"command\":\"list\"}");
    assert_request("list --control=s", "{\"command\":\"list\"}");
    assert_request("--control s add", "{\"command\":\"add\"}");
    assert_request("--control s add 3", "{\"command\":\"add\",\"count\":3}");
    assert_request("--control s remove 12", "{\"command\":\"remove\",\"count\":12}");
    assert_request("--control s kill 42 TERM",
                   "{\"command\":\"kill\",\"pid\":42,\"signal\":\"TERM\"}");
    assert_request("--control s kill 42 9", "{\"command\":\"kill\",\"pid\":42,\"signal\":\"9\"}");
    assert_request("--control s recycle 0", "{\"command\":\"recycle\",\"number\":0}");
    assert_request("--control s recycle all", "{\"command\":\"recycle\",\"number\":\"all\"}");
    assert_request("--control s fault /fault/segv",
                   "{\"command\":\"fault\",\"path\":\"/fault/segv\"}");
    assert_request("--control s reopen-logs", "{\"command\":\"reopen-logs\"}");
}

static void test_options(void **state)
{
    (void)state;
    assert_true(read_words("--json --control s stop"));
    assert_true(arguments.json);
    json_decref(arguments.request);
    assert_true(read_words("--control s stop"));
    assert_false(arguments.json);
    json_decref(arguments.request);
    assert_true(read_words("--help"));
    assert_true(arguments.help);
}

static void test_top(void **state)
{
    (void)state;
    assert_true(read_words("top --observe 127.0.0.1:8090"));
    assert_null(arguments.request);
    assert_string_equal(arguments.top.observer.host, "127.0.0.1:8090");
    assert_null(arguments.top.control);
    assert_false(arguments.top.batch);
    assert_int_equal(arguments.top.interval_ms, 1000);
    assert_true(read_words("--control s --observe [::1]:1 top --interval-ms 250 --batch -n 0"));
    assert_string_equal(arguments.top.control, "s");
    assert_true(arguments.top.batch);
    assert_int_equal(arguments.top.tables, 0);
    assert_int_equal(arguments.top.interval_ms, 250);
    assert_true(read_words("top --observe localhost:1 --batch"));
    assert_int_equal(arguments.top.tables, 1);
}

static void assert_bad(const char *words, const char *reason)
{
    assert_false(read_words(words));
    assert_null(arguments.request);
    if (strstr(error.text, reason) == NULL) {
        fail_msg("%s: \"%s\" is not in \"%s\"", words, reason, error.text);
    }
}

static void test_bad_usage(void **state)
{
    (void)state;
    assert_bad("list", "--control PATH");
    assert_bad("list --control", "--control needs a value");
    assert_bad("--control s", "no command");
    assert_bad("--control s dance", "unknown command dance");
    assert_bad("--control s list --loud", "unknown option --loud");
    assert_bad("--control s list all", "the command is: list");
    assert_bad("--control s add x", "add [N]");
    assert_bad("--control s add 1 2", "add [N]");
    assert_bad("--control s add 9999999999", "add [N]");
    assert_bad("--control s kill 42", "kill PID SIGNAL");
    assert_bad("--control s kill x TERM", "kill PID SIGNAL");
    assert_bad("--control s recycle", "recycle NUMBER|all");
    assert_bad("--control s recycle every", "recycle NUMBER|all");
    assert_bad("top", "--observe HOST:PORT");
    assert_bad("top all --observe 127.0.0.1:1", "the command is: top");
    assert_bad("top --observe 127.0.0.1:1 --json", "the command is: top");
    assert_bad("top --observe nowhere", "no HOST:PORT");
    assert_bad("top --observe 127.0.0.1:1 -n 3", "goes with --batch");
    assert_bad("top --observe 127.0.0.1:1 --batch -n x", "-n takes a number");
    assert_bad("top --observe 127.0.0.1:1 --interval-ms 99", "--interval-ms takes a number");
    assert_bad("top --observe", "--observe needs a value");
    assert_bad("--control s list --batch", "of the command top");
    assert_bad("--control s list --observe 127.0.0.1:1", "of the command top");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_top),
        cmocka_unit_test(test_bad_usage),
    };
    return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}
