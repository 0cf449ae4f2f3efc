#include "common/net/access_log.h"

#include "common/base/log.h"
#include "tests/unit/failing_call.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { TEXT_BYTES = 256 * 1024, BATCH_BYTES = 32768 };

#define TIME      "\\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} \\+0000\\]"
#define JSON_TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.000Z"

static const struct http_limits limits = {
    .request_line_bytes = 8192, .header_bytes = 32768, .headers = 100, .body_bytes = 1000};
static struct http_exchange *exchange;
static struct client_address client;
static struct access_log *journal;
static int fd;
static char text[TEXT_BYTES];

static struct failing_call failing_write;
static size_t longest_write; /* 0: any length */

WRAPPED(ssize_t, write, int to, const void *data, size_t bytes)
{
    if (fails_now(&failing_write)) {
        return -1;
    }
    return __real_write(to, data,
                        longest_write > 0 && bytes > longest_write ? longest_write : bytes);
}

static int make(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5555)};
    address.sin_addr.s_addr = htonl(0x0a010203);
    client = client_address_pack((struct sockaddr *)&address);
    exchange = http_exchange_create(&limits);
    exchange->client = &client;
    failing_write = (struct failing_call){0};
    longest_write = 0;
    fd = memfd_create("log", MFD_CLOEXEC);
    journal = access_log_create(fd, CONFIG_ACCESS_LOG_COMBINED);
    return fd < 0;
}

static int discard(void **state)
{
    (void)state;
    http_exchange_destroy(exchange);
    access_log_destroy(journal);
    close(fd);
    return 0;
}

static void use_json(void)
{
    access_log_destroy(journal);
    journal = access_log_create(fd, CONFIG_ACCESS_LOG_JSON);
}

static void use_client_v6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(1)};
    inet_pton(AF_INET6, "2001:db8::7", &address.sin6_addr);
    client = client_address_pack((struct sockaddr *)&address);
}

/* head must stay. */
static void set_request(const char *head)
{
    http_exchange_reset(exchange);
    assert_int_equal(
        http_parser_feed_head(exchange->parser, &exchange->request, head, strlen(head)),
        HTTP_PARSE_HEAD);
}

static const char *written(void)
{
    ssize_t bytes = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(bytes >= 0);
    text[bytes] = '\0';
    return text;
}

static void assert_logged(const char *pattern)
{
    regex_t regex;
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    access_log_write(journal, exchange);
    access_log_flush(journal);
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, written(), 0, NULL, 0) != 0) {
        fail_msg("\"%s\" does not match \"%s\"", text, pattern);
    }
    regfree(&regex);
}

static void test_combined(void **state)
{
    (void)state;
    set_request(
        "GET /a?b=c HTTP/1.1\r\nHost: a\r\nReferer: http://x/\r\nUser-Agent: me/1.0\r\n\r\n");
    exchange->response.body = SPAN("Hello, World!");
    assert_logged("^10\\.1\\.2\\.3 - - " TIME
                  " \"GET /a\\?b=c HTTP/1\\.1\" 200 13 \"http://x/\" \"me/1\\.0\"\n$");
}

static void test_combined_without_fields(void **state)
{
    (void)state;
    set_request("HEAD / HTTP/1.0\r\nReferer:\r\n\r\n");
    http_response_error(&exchange->response, 404);
    assert_logged("^10\\.1\\.2\\.3 - - " TIME " \"HEAD / HTTP/1\\.0\" 404 0 \"-\" \"-\"\n$");
}

static void test_clients(void **state)
{
    (void)state;
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    use_client_v6();
    assert_logged("^2001:db8::7 - - \\[");
    client = (struct client_address){{0}};
    assert_logged("^unknown - - \\[");
}

/* A request that was refused before it had a line. */
static void test_without_a_request(void **state)
{
    (void)state;
    http_exchange_reset(exchange);
    http_response_error(&exchange->response, 400);
    assert_logged(" \"-\" 400 12 \"-\" \"-\"\n$");
    use_json();
    assert_logged("\"request\":\"\",\"status\":400,\"bytes\":12,");
}

static void test_size_is_that_of_the_body(void **state)
{
    (void)state;
    struct file_entry file = {.references = 2, .fd = -1};
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    exchange->response.file = &file;
    exchange->response.file_bytes = 5000000000u;
    assert_logged(" 200 5000000000 ");
    exchange->response.status = 304;
    assert_logged(" 304 0 ");
    exchange->response.file = NULL;
    exchange->response.status = 204;
    exchange->response.body = SPAN("not sent");
    assert_logged(" 204 0 ");
}

/* Nothing that a client sends can look like the end of a field or of a line. */
static void test_escaping(void **state)
{
    (void)state;
    set_request("GET /\"a\\b HTTP/1.1\r\nHost: a\r\nReferer: x\" \"y\r\n"
                "User-Agent: \xc3\xa4\t\xff\\\r\n\r\n");
    assert_logged(" \"GET /\\\\x22a\\\\x5Cb HTTP/1\\.1\" 200 0 \"x\\\\x22 \\\\x22y\" "
                  "\"\\\\xC3\\\\xA4\\\\x09\\\\xFF\\\\x5C\"\n$");
    for (const char *c = written(); *c != '\0'; c++) {
        assert_true((*c >= 0x20 && *c < 0x7f) || (*c == '\n' && c[1] == '\0'));
    }
}

static void test_json(void **state)
{
    (void)state;
    use_json();
    set_request("GET /a HTTP/1.1\r\nHost: a\r\nReferer: \"r\"\r\nUser-Agent: \xff\\\r\n\r\n");
    exchange->response.body = SPAN("Hello");
    assert_logged(
        "^\\{\"time\":\"" JSON_TIME "\",\"client\":\"10\\.1\\.2\\.3:5555\","
        "\"request\":\"GET /a HTTP/1\\.1\",\"status\":200,\"bytes\":5,"
        "\"referer\":\"\\\\\"r\\\\\"\",\"user_agent\":\"(\\\\ufffd|\xef\xbf\xbd)\\\\\\\\\""
        "\\}\n$");
    use_client_v6();
    assert_logged("\"client\":\"\\[2001:db8::7\\]:1\"");
}

static void assert_time_is_now(const char *before_it, const char *format)
{
    struct tm parsed = {0};
    time_t before = time(NULL);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    access_log_write(journal, exchange);
    access_log_flush(journal);
    const char *where = strstr(written(), before_it);
    assert_non_null(where);
    assert_non_null(strptime(where + strlen(before_it), format, &parsed));
    assert_in_range(timegm(&parsed), before, time(NULL) + 1); /* time() may lag by a tick */
}

static void test_time_is_now(void **state)
{
    (void)state;
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_time_is_now("[", "%d/%b/%Y:%H:%M:%S +0000]");
    use_json();
    assert_time_is_now("\"time\":\"", "%Y-%m-%dT%H:%M:%S.000Z\"");
}

static size_t count_lines(const char *where)
{
    size_t lines = 0;
    for (; *where != '\0'; where++) {
        lines += *where == '\n';
    }
    return lines;
}

static void test_batches(void **state)
{
    (void)state;
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    access_log_write(journal, exchange);
    access_log_write(journal, exchange);
    assert_string_equal(written(), ""); /* collected */
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 2);
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 2);
    size_t lines = 2;
    while (strlen(written()) < BATCH_BYTES) { /* a full batch is written at once */
        access_log_write(journal, exchange);
        assert_in_range(++lines, 0, BATCH_BYTES / 20);
    }
    assert_int_equal(count_lines(written()), lines);
    assert_int_equal(text[strlen(text) - 1], '\n'); /* whole lines */
    access_log_write(journal, exchange);
    access_log_destroy(journal); /* writes what is left */
    assert_int_equal(count_lines(written()), lines + 1);
    journal = access_log_create(fd, CONFIG_ACCESS_LOG_COMBINED);
}

/* A log that cannot be written is reported once; serving goes on, and so does the log later. */
static void test_failure(void **state)
{
    (void)state;
    char error_log[] = "/tmp/twinhttpd-test-access-log-XXXXXX";
    int error_fd = mkstemp(error_log);
    int good = dup(fd), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(error_fd >= 0 && good >= 0 && full >= 0);
    log_use(error_fd);
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(dup2(full, fd), fd);
    for (int i = 0; i < 5; i++) {
        access_log_write(journal, exchange);
        access_log_flush(journal);
    }
    assert_int_equal(dup2(good, fd), fd);
    access_log_write(journal, exchange);
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 1); /* what was lost does not come later */
    assert_int_equal(dup2(full, fd), fd);
    access_log_write(journal, exchange);
    access_log_flush(journal);
    log_use(STDERR_FILENO);
    ssize_t bytes = pread(error_fd, text, sizeof(text) - 1, 0);
    assert_true(bytes > 0);
    text[bytes] = '\0';
    assert_int_equal(count_lines(text), 2); /* once each time it broke */
    assert_non_null(strstr(text, "[error]"));
    assert_non_null(strstr(text, "access log: No space left on device"));
    assert_int_equal(dup2(good, fd), fd);
    unlink(error_log);
    close(error_fd);
    close(good);
    close(full);
}

/* A signal between two writes, and a file that takes a few bytes at a time, cost no byte. */
static void test_interrupted(void **state)
{
    (void)state;
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    access_log_write(journal, exchange);
    longest_write = 7;
    failing_write = fail_after(2, 3, EINTR);
    access_log_flush(journal);
    assert_int_equal(failing_write.failures, 0);
    longest_write = 0;
    assert_int_equal(count_lines(written()), 1);
    assert_non_null(strstr(text, " \"GET / HTTP/1.1\" 200 0 \"-\" \"-\"\n"));
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_combined),
        TEST(test_combined_without_fields),
        TEST(test_clients),
        TEST(test_without_a_request),
        TEST(test_size_is_that_of_the_body),
        TEST(test_escaping),
        TEST(test_json),
        TEST(test_time_is_now),
        TEST(test_batches),
        TEST(test_failure),
        TEST(test_interrupted),
    };
    return cmocka_run_group_tests_name("access_log", tests, NULL, NULL);
}
