#include "server/twinctl/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static void assert_printed(const char *answer, const char *expected)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    json_t *root = json_loads(answer, 0, NULL);
    assert_non_null(out);
    assert_non_null(root);
    table_print(out, root);
    fclose(out);
    assert_string_equal(text, expected);
    json_decref(root);
    free(text);
}

#define FIRST "prefork-server 0.1.0, model hybrid, running, master 10, listening on 127.0.0.1:80\n"
#define HEADER                                                                                     \
    "process      pid  generation  state          age   thread  role  state     connections    "   \
    "requests  current request\n"
#define LIST(processes)                                                                            \
    "{\"ok\":true,\"server\":\"prefork-server\",\"version\":\"0.1.0\",\"model\":\"hybrid\","       \
    "\"state\":\"running\",\"master_pid\":10,\"listen\":\"127.0.0.1:80\",\"processes\":"           \
    "[" processes "]}"

static void test_list(void **state)
{
    (void)state;
    assert_printed(LIST(""), FIRST HEADER);
    assert_printed(
        LIST("{\"number\":0,\"pid\":11,\"generation\":7,\"state\":\"ready\",\"age_ms\":12345,"
             "\"threads\":[{\"tid\":11,\"role\":\"loop\",\"state\":\"ready\",\"connections\":3,"
             "\"requests\":1234567,\"current\":\"GET /x HTTP/1.1\"},"
             "{\"tid\":12,\"role\":\"pool\",\"state\":\"draining\",\"connections\":0,"
             "\"requests\":0,\"current\":null}]},"
             "{\"number\":1,\"pid\":13,\"generation\":8,\"state\":\"starting\",\"age_ms\":5,"
             "\"threads\":[]}"),
        FIRST HEADER
        "      0       11           7  ready       12.3 s       11  loop  ready       "
        "        3     "
        "1234567  GET /x HTTP/1.1\n"
        "                                                       12  pool  draining       "
        "     0         "
        "  0  -\n"
        "      1       13           8  starting     0.0 s\n");
}

static void test_deaths(void **state)
{
    (void)state;
#define DIED(requests_lost, adoption)                                                              \
    "{\"ok\":true,\"server\":\"prefork-server\",\"version\":\"0.1.0\",\"model\":\"hybrid\","       \
    "\"state\":\"running\",\"master_pid\":10,\"listen\":\"127.0.0.1:80\",\"deaths\":2,"            \
    "\"requests_lost\":" requests_lost ",\"adoption\":{" adoption "},\"processes\":[]}"
    assert_printed(DIED("7", "\"connections\":0,\"lost\":0"),
                   FIRST HEADER "deaths 2, requests lost 7\n");
    assert_printed(DIED("1", "\"connections\":31,\"lost\":1,\"repeated\":2,\"resumed\":3,"
                             "\"refused_500\":4,\"refused_502\":5"),
                   FIRST HEADER
                   "deaths 2, requests lost 1; connections taken over 31, lost 1; requests "
                   "repeated 2, resumed 3, given up with 500 4, with 502 5\n");
}

static void test_ages(void **state)
{
    (void)state;
#define AGED(age_ms)                                                                               \
    LIST("{\"number\":0,\"pid\":1,\"generation\":1,\"state\":\"ready\",\"age_ms\":" age_ms "}")
#define ROW(age) FIRST HEADER "      0        1           1  ready     " age "\n"
    assert_printed(AGED("99999"), ROW("  99.9 s"));
    assert_printed(AGED("100000"), ROW("   1 min"));
    assert_printed(AGED("5999999"), ROW("  99 min"));
    assert_printed(AGED("86400000"), ROW("    24 h"));
}

static void test_what_clients_sent_is_harmless(void **state)
{
    (void)state;
    assert_printed("{\"ok\":true,\"note\":\"\\u001b[2J\\r\\u0007\\u009b\"}", "ok, note ?[2J????\n");
}

static void test_other_answers(void **state)
{
    (void)state;
    assert_printed("{\"ok\":true}", "ok\n");
    assert_printed("{\"ok\":true,\"pid\":5,\"signal\":\"SIGTERM\"}", "ok, pid 5, signal SIGTERM\n");
    assert_printed("{\"ok\":true,\"odd\":[1]}", "ok, odd ?\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),          cmocka_unit_test(test_deaths),
        cmocka_unit_test(test_ages),          cmocka_unit_test(test_what_clients_sent_is_harmless),
        cmocka_unit_test(test_other_answers),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
