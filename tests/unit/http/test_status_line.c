#include "common/http/status_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

/* With the reason phrases of RFC 9110, 15 and RFC 6585. */
static const struct {
    unsigned status;
    const char *reason;
} known[] = {
    {200, "OK"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

static void assert_line(unsigned status, unsigned shown, const char *reason)
{
    char line[100];
    snprintf(line, sizeof(line), "HTTP/1.1 %u %s\r\n", shown, reason);
    assert_true(span_equal(http_status_line(status), span_of(line)));
    assert_string_equal(http_status_reason(status), reason);
}

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_line(known[i].status, known[i].status, known[i].reason);
    }
}

static void test_unknown_is_a_server_error(void **state)
{
    (void)state;
    static const unsigned unknown[] = {0, 99, 100, 201, 299, 418, 506, 599, 1000, 4294967295u};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_line(unknown[i], 500, "Internal Server Error");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_unknown_is_a_server_error),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
