#include "common/net/access_log.h"

#include "common/base/client_address.h"
#include "common/base/log.h"
#include "common/net/durable_lines.h"
#include "tests/unit/failing_call.h"
#include "tests/unit/patience.h"

#include <fcntl.h>
#include <limits.h>
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/client_at.h"

enum { TEXT_BYTES = 512 * 1024, BATCH_BYTES = 32768, BEGAN_US = 5000, PROCESS = 3, SLOT = 14 };

#define TIME      "\\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} \\+0000\\]"
#define JSON_END  ",\"duration_us\":1234,\"process\":3,\"slot\":14}\n"
#define JSON_TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.000Z"

static const struct http_limits limits = {
    .request_line_bytes = 16384, .header_bytes = 65536, .headers = 100, .body_bytes = 1000};
static struct http_exchange *exchange;
static struct client_address client;
static struct access_log *journal;
static int fd;
static char text[TEXT_BYTES];

static struct failing_call failing_write;
static size_t longest_write; /* 0: any length */

/* When a process dies in a write to the log. */
static enum { DIES_NOT, DIES_BEFORE, DIES_BEHIND } dies;

static uint64_t clock_shift_ms;

WRAPPED(uint64_t, clock_realtime_ms, void)
{
    return __real_clock_realtime_ms() + clock_shift_ms;
}

static uint64_t now_us;

WRAPPED(uint64_t, clock_monotonic_us, void)
{
    return now_us;
}

WRAPPED(ssize_t, write, int to, const void *data, size_t bytes)
{
    if (fails_now(&failing_write)) {
        return -1;
    }
    if (dies == DIES_BEFORE) {
        _exit(0);
    }
    ssize_t n =
        __real_write(to, data, longest_write > 0 && bytes > longest_write ? longest_write : bytes);
    if (dies == DIES_BEHIND) {
        _exit(0);
    }
    return n;
}

static int make(void **state)
{
    (void)state;
    client = client_at("10.1.2.3", 5555);
    exchange = http_exchange_create(&limits);
    exchange->client = &client;
    exchange->began_us = BEGAN_US;
    exchange->slot_index = SLOT;
    now_us = BEGAN_US + 1234;
    failing_write = (struct failing_call){0};
    longest_write = 0;
    fd = memfd_create("log", MFD_CLOEXEC);
    journal = access_log_create(fd, CONFIG_ACCESS_LOG_COMBINED, PROCESS);
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
    journal = access_log_create(fd, CONFIG_ACCESS_LOG_JSON, PROCESS);
}

static void use_client_v6(void)
{
    client = client_at_v6("2001:db8::7", 1);
}

/* head must stay. */
static void set_request(const char *head)
{
    http_exchange_reset(exchange);
    assert_int_equal(
        http_parser_feed_head(exchange->parser, &exchange->request, head, strlen(head)),
        HTTP_PARSE_HEAD);
}

/* The line of an answer that has been sent. */
static void log_one(void)
{
    const struct http_response *response = &exchange->response;
    uint64_t body = http_response_has_body(response, &exchange->request)
                        ? http_response_body_bytes(response)
                        : 0;
    access_log_note(journal, exchange,
                    &(struct access_log_extent){.begin = 0, .body = 100, .end = 100 + body});
    access_log_sent(journal);
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
    log_one();
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
                  " \"GET /a\\?b=c HTTP/1\\.1\" 200 13 \"http://x/\" \"me/1\\.0\" 1234 3 14\n$");
}

static void test_combined_without_fields(void **state)
{
    (void)state;
    set_request("HEAD / HTTP/1.0\r\nReferer:\r\n\r\n");
    http_response_error(&exchange->response, 404);
    assert_logged("^10\\.1\\.2\\.3 - - " TIME
                  " \"HEAD / HTTP/1\\.0\" 404 0 \"-\" \"-\" 1234 3 14\n$");
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
    assert_logged(" \"-\" 400 12 \"-\" \"-\" 1234 3 14\n$");
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
                  "\"\\\\xC3\\\\xA4\\\\x09\\\\xFF\\\\x5C\" 1234 3 14\n$");
    for (const char *c = written(); *c != '\0'; c++) {
        assert_true((*c >= 0x20 && *c < 0x7f) || (*c == '\n' && c[1] == '\0'));
    }
}

/* The bytes of a name stand as they would in a URI, in both formats. */
static void test_8_bit_target(void **state)
{
    (void)state;
    set_request("GET /\xc3\xa4\"?\xff HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_logged(" \"GET /%C3%A4\\\\x22\\?%FF HTTP/1\\.1\" 200 0 ");
    use_json();
    assert_logged("\"request\":\"GET /%C3%A4\\\\\"\\?%FF HTTP/1\\.1\"");
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
        ",\"duration_us\":1234,\"process\":3,\"slot\":14\\}\n$");
    use_client_v6();
    assert_logged("\"client\":\"\\[2001:db8::7\\]:1\"");
}

static void assert_time_is_now(const char *before_it, const char *format)
{
    struct tm parsed = {0};
    time_t before = time(NULL);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    log_one();
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
    log_one();
    log_one();
    assert_string_equal(written(), ""); /* collected */
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 2);
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 2);
    size_t lines = 2;
    while (strlen(written()) < BATCH_BYTES) { /* a full batch is written at once */
        log_one();
        assert_in_range(++lines, 0, BATCH_BYTES / 20);
    }
    assert_int_equal(count_lines(written()), lines);
    assert_int_equal(text[strlen(text) - 1], '\n'); /* whole lines */
    log_one();
    access_log_destroy(journal); /* writes what is left */
    assert_int_equal(count_lines(written()), lines + 1);
    journal = access_log_create(fd, CONFIG_ACCESS_LOG_COMBINED, PROCESS);
}

/* ---- A log that cannot be written ---- */

static char error_log[] = "/tmp/twinhttpd-test-access-log-XXXXXX";
static int error_fd;
static int good_fd; /* where the log goes to otherwise */

static int make_with_error_log(void **state)
{
    strcpy(error_log + sizeof(error_log) - 7, "XXXXXX");
    error_fd = mkstemp(error_log);
    log_use(error_fd);
    alarm(PATIENCE_S); /* for who waits for a reader */
    int result = make(state);
    good_fd = dup(fd);
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    return result != 0 || error_fd < 0 || good_fd < 0;
}

static int discard_with_error_log(void **state)
{
    log_use(STDERR_FILENO);
    unlink(error_log);
    close(error_fd);
    close(good_fd);
    return discard(state);
}

static void lead_to(int target)
{
    assert_int_equal(dup2(target, fd), fd);
}

static const char *errors(void)
{
    static char told[8192];
    ssize_t bytes = pread(error_fd, told, sizeof(told) - 1, 0);
    assert_true(bytes >= 0);
    told[bytes] = '\0';
    return told;
}

static void log_lines(int count)
{
    for (int i = 0; i < count; i++) {
        log_one();
    }
}

/* It is reported once; serving goes on, and the lines wait. */
static void test_failure(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    lead_to(full);
    for (int i = 0; i < 5; i++) {
        log_lines(1);
        access_log_flush(journal);
    }
    assert_int_equal(count_lines(errors()), 1);
    assert_non_null(strstr(errors(), "[error]"));
    assert_non_null(strstr(errors(), "access log: cannot be written: No space left on device; "));
    lead_to(good_fd);
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 5);
    assert_int_equal(count_lines(errors()), 2);
    assert_non_null(strstr(errors(), "access log: is written again\n"));
    lead_to(full);
    log_lines(1);
    access_log_flush(journal);
    assert_int_equal(count_lines(errors()), 3); /* once each time it broke */
    lead_to(good_fd);
    close(full);
}

/* So many wait; how many of the others are lost is told when it can be written again. */
static void test_losses(void **state)
{
    (void)state;
    enum { LINES = 10000 };
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    lead_to(full);
    log_lines(LINES);
    access_log_flush(journal);
    assert_null(strstr(errors(), " lost\n"));
    lead_to(good_fd);
    access_log_flush(journal);
    size_t lines = count_lines(written());
    char told[64];
    snprintf(told, sizeof(told), "access log: %zu lines lost\n", LINES - lines);
    assert_non_null(strstr(errors(), told));
    assert_in_range(strlen(written()), BATCH_BYTES, sizeof(text) - 1);
    log_lines(1);
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), lines + 1);
    close(full);
}

/* What nobody reads in the end is lost, too. */
static void test_losses_at_the_end(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    lead_to(full);
    log_lines(3);
    access_log_finish(journal);
    assert_non_null(strstr(errors(), "access log: 3 lines lost\n"));
    lead_to(good_fd);
    close(full);
}

/* ---- Pipes ---- */

static int pipe_ends[2];

static void lead_to_a_pipe(void)
{
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(fcntl(pipe_ends[1], F_SETPIPE_SZ, PIPE_BUF), PIPE_BUF);
    lead_to(pipe_ends[1]);
}

static void close_pipe(void)
{
    lead_to(good_fd);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static size_t read_pipe(char *where, size_t bytes)
{
    ssize_t n = read(pipe_ends[0], where, bytes);
    return n < 0 ? 0 : (size_t)n;
}

/* What a pipe gets at once are whole lines; what it does not get now comes later, and is no news.
 */
static void test_a_slow_reader(void **state)
{
    (void)state;
    enum { LINES = 300 };
    lead_to_a_pipe();
    log_lines(LINES);
    size_t lines = 0;
    size_t bytes;
    do {
        access_log_flush(journal);
        bytes = read_pipe(text, sizeof(text) - 1);
        text[bytes] = '\0';
        assert_true(bytes == 0 || text[bytes - 1] == '\n');
        lines += count_lines(text);
    } while (bytes > 0);
    assert_int_equal(lines, LINES);
    assert_string_equal(errors(), "");
    close_pipe();
}

/* While nobody reads, nobody waits but at the very end, and not for long. */
static void test_no_reader(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    lead_to_a_pipe();
    log_lines(LINES);
    access_log_flush(journal);
    assert_non_null(
        strstr(errors(), "access log: cannot be written: its reader is too slow, or has stopped"));
    access_log_finish(journal);
    size_t bytes = read_pipe(text, sizeof(text) - 1);
    text[bytes] = '\0';
    char told[64];
    snprintf(told, sizeof(told), "access log: %zu lines lost\n", LINES - count_lines(text));
    assert_non_null(strstr(errors(), told));
    close_pipe();
}

static void set_long_request(size_t field_bytes, char content)
{
    static char head[3 * 9000];
    static char field[9000];
    memset(field, content, field_bytes);
    field[field_bytes] = '\0';
    snprintf(head, sizeof(head),
             "GET /%s HTTP/1.1\r\nHost: a\r\nReferer: %s\r\nUser-Agent: %s\r\n\r\n",
             content == '\\' ? field : "", field, field);
    set_request(head);
}

static void assert_cut(const char *end)
{
    log_lines(1);
    access_log_flush(journal);
    size_t bytes = read_pipe(text, sizeof(text) - 1);
    assert_in_range(bytes, PIPE_BUF / 4, PIPE_BUF);
    text[bytes] = '\0';
    assert_int_equal(count_lines(text), 1);
    assert_string_equal(text + bytes - strlen(end), end);
}

/* A line that a pipe does not take at once is cut, in its fields: it ends as any other. */
static void test_long_lines(void **state)
{
    (void)state;
    lead_to_a_pipe();
    set_long_request(8000, 'x');
    assert_cut("x\" 1234 3 14\n");
    set_long_request(8000, '\\'); /* four bytes each in the log */
    assert_cut("\\x5C\" 1234 3 14\n");
    use_json();
    assert_cut("\\\\\"" JSON_END);
    set_long_request(8000, 'x');
    assert_cut("x\"" JSON_END);
    set_long_request(8000, '\xff'); /* becomes a character of three bytes, or of six */
    assert_cut("\"" JSON_END);
    close_pipe();
    log_lines(1); /* a file takes it whole */
    access_log_flush(journal);
    assert_true(strlen(written()) > 16000);
}

/* A signal between two writes, and a file that takes a few bytes at a time, cost no byte. */
static void test_interrupted(void **state)
{
    (void)state;
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    log_one();
    longest_write = 7;
    failing_write = fail_after(2, 3, EINTR);
    access_log_flush(journal);
    assert_int_equal(failing_write.failures, 0);
    longest_write = 0;
    assert_int_equal(count_lines(written()), 1);
    assert_non_null(strstr(text, " \"GET / HTTP/1.1\" 200 0 \"-\" \"-\" 1234 3 14\n"));
    access_log_flush(journal);
    assert_int_equal(count_lines(written()), 1);
}

/* ---- Answers that are not sent at once ---- */

static void note(const char *head, uint64_t begin, uint64_t body, uint64_t end)
{
    set_request(head);
    access_log_note(journal, exchange, &(struct access_log_extent){begin, body, end});
}

/* What the lines say of request, status, size and all that comes behind, and nothing else. */
static void assert_lines(const char *expected)
{
    static char found[TEXT_BYTES];
    size_t len = 0;
    access_log_flush(journal);
    for (const char *line = written(); *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *request = strstr(line, "] ");
        assert_non_null(request);
        size_t bytes = (size_t)(strchr(line, '\n') + 1 - request - 2);
        memcpy(found + len, request + 2, bytes);
        len += bytes;
    }
    found[len] = '\0';
    assert_string_equal(found, expected);
}

#define A "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
#define B "GET /b HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\n\r\n"

/* Nothing is written of an answer before it is gone, and then in the order of the answers. */
static void test_deferred(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    note(A, 0, 100, 150);
    note(B, 150, 250, 1000);
    access_log_flush(journal);
    assert_string_equal(written(), "");
    access_log_defer(journal, &deferred);
    access_log_sent(journal); /* nothing is noted any more */
    note(A, 1000, 1100, 1100);
    access_log_defer(journal, &deferred);
    access_log_settle(journal, &deferred, 149);
    assert_lines("");
    access_log_settle(journal, &deferred, 150);
    assert_lines("\"GET /a HTTP/1.1\" 200 50 \"-\" \"-\" 1234 3 14\n");
    access_log_settle(journal, &deferred, 999);
    assert_int_equal(count_lines(written()), 1);
    access_log_settle(journal, &deferred, 1100);
    assert_lines("\"GET /a HTTP/1.1\" 200 50 \"-\" \"-\" 1234 3 14\n"
                 "\"GET /b HTTP/1.1\" 200 750 \"-\" \"me\" 1234 3 14\n"
                 "\"GET /a HTTP/1.1\" 200 0 \"-\" \"-\" 1234 3 14\n");
    assert_null(deferred.data); /* a connection without such lines holds nothing for them */
    assert_int_equal(deferred.len, 0);
}

/* Of three answers one was sent, one in part, one not at all. */
static void test_cut(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    access_log_cut(journal, &deferred, 10);
    assert_lines("");
    note(A, 0, 100, 150);
    note(B, 150, 250, 1000000250);
    note(A, 1000000250, 1000000300, 1000000400);
    access_log_defer(journal, &deferred);
    access_log_cut(journal, &deferred, 999999250);
    assert_lines("\"GET /a HTTP/1.1\" 200 50 \"-\" \"-\" 1234 3 14\n"
                 "\"GET /b HTTP/1.1\" 200 999999000 \"-\" \"me\" 1234 3 14 aborted\n"
                 "\"GET /a HTTP/1.1\" 200 0 \"-\" \"-\" 1234 3 14 aborted\n");
    assert_null(deferred.data);
}

/* A head that is cut has no body; one without a body is complete with its last byte. */
static void test_cut_within_a_head(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    note(A, 0, 100, 100);
    access_log_defer(journal, &deferred);
    access_log_cut(journal, &deferred, 99);
    note(A, 0, 100, 100);
    access_log_defer(journal, &deferred);
    access_log_cut(journal, &deferred, 100);
    assert_lines("\"GET /a HTTP/1.1\" 200 0 \"-\" \"-\" 1234 3 14 aborted\n"
                 "\"GET /a HTTP/1.1\" 200 0 \"-\" \"-\" 1234 3 14\n");
}

static void test_cut_in_json(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    use_json();
    note(B, 0, 100, 1100);
    access_log_defer(journal, &deferred);
    access_log_cut(journal, &deferred, 107);
    note(B, 0, 100, 1100);
    access_log_defer(journal, &deferred);
    access_log_settle(journal, &deferred, 1100);
    access_log_flush(journal);
    char *end = strchr(written(), '\n');
    assert_non_null(end);
    regex_t regex;
    assert_int_equal(
        regcomp(&regex,
                "^\\{\"time\":\"" JSON_TIME "\",\"client\":\"10\\.1\\.2\\.3:5555\","
                "\"request\":\"GET /b HTTP/1\\.1\",\"status\":200,\"bytes\":7,\"referer\":\"\","
                "\"user_agent\":\"me\",\"duration_us\":1234,\"process\":3,\"slot\":14,\"aborted\":"
                "true\\}\n"
                "\\{\"time\":\"" JSON_TIME "\",.*\"status\":200,\"bytes\":1000,.*\"me\",\"duration_"
                "us\":1234,\"process\":3,\"slot\":14\\}\n$",
                REG_EXTENDED | REG_NOSUB),
        0);
    assert_int_equal(regexec(&regex, text, 0, NULL, 0), 0);
    regfree(&regex);
}

/* What a download takes ends with its last byte, wherever others end; each line has its own slot.
 */
static void test_duration_of_a_deferred_line(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    note(A, 0, 100, 150);
    exchange->began_us = BEGAN_US + 1000;
    exchange->slot_index = UINT32_MAX;
    note(B, 150, 250, 1000);
    access_log_defer(journal, &deferred);
    now_us = BEGAN_US + 2000;
    access_log_settle(journal, &deferred, 150);
    now_us = UINT64_MAX;
    access_log_cut(journal, &deferred, 999);
    assert_lines(
        "\"GET /a HTTP/1.1\" 200 50 \"-\" \"-\" 2000 3 14\n"
        "\"GET /b HTTP/1.1\" 200 749 \"-\" \"me\" 18446744073709545615 3 4294967295 aborted\n");
}

/* Even then: a line whose end is as long as can be. */
static void test_longest_end(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    lead_to_a_pipe();
    use_json();
    set_long_request(8000, 'x');
    exchange->slot_index = UINT32_MAX;
    access_log_note(journal, exchange, &(struct access_log_extent){0, 100, UINT64_MAX});
    access_log_defer(journal, &deferred);
    now_us = UINT64_MAX;
    access_log_cut(journal, &deferred, UINT64_MAX - 1);
    access_log_flush(journal);
    size_t bytes = read_pipe(text, sizeof(text) - 1);
    assert_in_range(bytes, PIPE_BUF / 4, PIPE_BUF);
    assert_int_equal(text[bytes - 1], '\n');
    close_pipe();
}

/* The time is that of the end: here two hours after the line was made. */
static void test_time_of_a_deferred_line(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    struct tm parsed = {0};
    clock_shift_ms = 0;
    note(A, 0, 100, 200);
    access_log_defer(journal, &deferred);
    clock_shift_ms = 7200 * 1000;
    access_log_settle(journal, &deferred, 200);
    clock_shift_ms = 0;
    access_log_flush(journal);
    const char *where = strchr(written(), '[');
    assert_non_null(where);
    assert_non_null(strptime(where, "[%d/%b/%Y:%H:%M:%S +0000]", &parsed));
    assert_true(timegm(&parsed) >= time(NULL) + 7100);
}

/* One of two answers is sent, and later the other. Each line has its own end. */
static void test_a_line_that_waits_for_others(void **state)
{
    (void)state;
    struct buffer deferred = {0};
    note(A, 0, 100, 150);
    note(B, 150, 250, 1000);
    access_log_defer(journal, &deferred);
    access_log_stamp(journal, &deferred, 149);
    now_us = BEGAN_US + 2000;
    access_log_stamp(journal, &deferred, 150);
    now_us = BEGAN_US + 3000;
    access_log_stamp(journal, &deferred, 999);
    assert_lines("");
    access_log_cut(journal, &deferred, 999);
    assert_lines("\"GET /a HTTP/1.1\" 200 50 \"-\" \"-\" 2000 3 14\n"
                 "\"GET /b HTTP/1.1\" 200 749 \"-\" \"me\" 3000 3 14 aborted\n");
}

/* ---- Lines that outlive a process ---- */

static void *area;
static struct durable_lines *lines;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int make_kept(void **state)
{
    area = mmap(NULL, durable_lines_area_bytes(), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    dies = DIES_NOT;
    int result = make(state);
    return result != 0 || area == MAP_FAILED || fcntl(fd, F_SETFL, O_APPEND) != 0;
}

static int discard_kept(void **state)
{
    int result = discard(state);
    durable_lines_close(lines);
    return munmap(area, durable_lines_area_bytes()) != 0 || result != 0;
}

static void keep(uint32_t generation, pthread_mutex_t *whose_turn)
{
    lines = durable_lines_open(area, generation);
    access_log_keep(journal, lines, whose_turn);
}

/* What it did before it died is done by another process; this one goes on. */
static void die_after(void (*act)(void), pthread_mutex_t *whose_turn)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        keep(1, whose_turn);
        act();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    dies = DIES_NOT;
    keep(2, whose_turn);
}

#define LINE_A "\"GET /a HTTP/1.1\" 200 50 \"-\" \"-\" 1234 3 14\n"
#define LINE_B "\"GET /b HTTP/1.1\" 200 750 \"-\" \"me\" 1234 3 14\n"

static void add_a(void)
{
    note(A, 0, 100, 150);
    access_log_sent(journal);
}

static void test_collected_lines_outlive_a_process(void **state)
{
    (void)state;
    die_after(add_a, &turn);
    note(B, 150, 250, 1000);
    access_log_sent(journal);
    assert_lines(LINE_A LINE_B);
}

static void write_a(void)
{
    add_a();
    access_log_flush(journal);
}

static void test_death_in_a_write(void **state)
{
    (void)state;
    uint32_t generation;
    int writer;
    dies = *(int *)*state == DIES_BEFORE ? DIES_BEFORE : DIES_BEHIND;
    die_after(write_a, &turn);
    assert_true(access_log_writer(journal, &generation, &writer));
    assert_int_equal(generation, 1);
    assert_int_equal(writer, fd);
    access_log_ask_writer(journal, writer);
    assert_lines(LINE_A);
}

static int make_to_die_before(void **state)
{
    static int when = DIES_BEFORE;
    *state = &when;
    return make_kept(state);
}

static int make_to_die_behind(void **state)
{
    static int when = DIES_BEHIND;
    *state = &when;
    return make_kept(state);
}

/* Others write through that description, too: nobody can be asked. Twice, rather than never. */
static void test_death_in_a_write_to_a_shared_log(void **state)
{
    (void)state;
    uint32_t generation;
    int writer;
    dies = DIES_BEHIND;
    die_after(write_a, NULL);
    assert_false(access_log_writer(journal, &generation, &writer));
    assert_lines(LINE_A LINE_A);
}

static void offer_both(void)
{
    struct buffer deferred = {0};
    note(A, 0, 100, 150);
    note(B, 150, 250, 1000);
    access_log_offer(journal, 4, &deferred, 120);
}

static void test_lines_of_answers_that_turn_out_to_be_sent(void **state)
{
    (void)state;
    uint32_t record;
    die_after(offer_both, &turn);
    assert_true(access_log_offered(journal, &record));
    assert_int_equal(record, 4);
    access_log_accept(journal, 5, UINT64_MAX); /* of another connection */
    access_log_accept(journal, 4, UINT64_MAX);
    access_log_accept(journal, 4, UINT64_MAX); /* there is nothing any more */
    access_log_accept_cut(journal);
    assert_lines(LINE_A LINE_B);
}

static void test_lines_of_answers_that_are_made_again(void **state)
{
    (void)state;
    uint32_t record;
    die_after(offer_both, &turn);
    access_log_accept(journal, 4, 150);
    assert_false(access_log_offered(journal, &record));
    assert_lines(LINE_A);
}

static void test_lines_of_a_connection_that_nobody_goes_on_with(void **state)
{
    (void)state;
    die_after(offer_both, &turn);
    access_log_accept_cut(journal);
    access_log_accept_cut(journal);
    assert_lines("\"GET /a HTTP/1.1\" 200 20 \"-\" \"-\" 1234 3 14 aborted\n"
                 "\"GET /b HTTP/1.1\" 200 0 \"-\" \"me\" 1234 3 14 aborted\n");
}

/* The successor writes in another form: begun lines are ended in theirs. */
static void test_a_line_in_another_format(void **state)
{
    (void)state;
    die_after(offer_both, &turn);
    struct durable_lines *before = lines;
    use_json();
    durable_lines_close(before);
    keep(3, &turn);
    access_log_accept_cut(journal);
    access_log_flush(journal);
    assert_non_null(strstr(written(), " 200 20 \"-\" \"-\" 1234 3 14 aborted\n"));
}

static void offer_junk(void)
{
    char junk[200];
    memset(junk, 0x11, sizeof(junk));
    durable_lines_offer(lines, 4, &(struct buffer){.data = junk, .len = sizeof(junk)}, 0);
}

static void test_junk_is_no_line(void **state)
{
    (void)state;
    uint32_t record;
    die_after(offer_junk, &turn);
    access_log_accept(journal, 4, UINT64_MAX);
    access_log_accept_cut(journal);
    assert_false(access_log_offered(journal, &record));
    assert_lines("");
}

static void test_a_very_long_line(void **state)
{
    (void)state;
    static char head[65536];
    int bytes = snprintf(head, sizeof(head), "GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: ");
    memset(head + bytes, '\\', 60000); /* four bytes each in the log */
    strcpy(head + bytes + 60000, "\r\n\r\n");
    keep(1, &turn);
    note(head, 0, 100, 150);
    access_log_sent(journal);
    access_log_flush(journal);
    assert_in_range(strlen(written()), 16384, 65536 + 128);
    assert_string_equal(text + strlen(text) - 14, "5C\" 1234 3 14\n");
}

/* Nobody can write: they wait, and those beyond are lost, as ever. */
static void test_kept_lines_that_cannot_be_written(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    set_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    keep(1, &turn);
    lead_to(full);
    log_lines(10000);
    access_log_flush(journal);
    lead_to(good_fd);
    access_log_flush(journal);
    char told[64];
    snprintf(told, sizeof(told), "access log: %zu lines lost\n", 10000 - count_lines(written()));
    assert_non_null(strstr(errors(), told));
    close(full);
}

static int make_kept_with_error_log(void **state)
{
    int result = make_with_error_log(state);
    area = mmap(NULL, durable_lines_area_bytes(), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return result;
}

static int discard_kept_with_error_log(void **state)
{
    int result = discard_with_error_log(state);
    durable_lines_close(lines);
    munmap(area, durable_lines_area_bytes());
    return result;
}

#define TEST_KEPT(name) cmocka_unit_test_setup_teardown(name, make_kept, discard_kept)
#define TEST_WITH_ERROR_LOG(name)                                                                  \
    cmocka_unit_test_setup_teardown(name, make_with_error_log, discard_with_error_log)
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
        TEST(test_8_bit_target),
        TEST(test_json),
        TEST(test_time_is_now),
        TEST(test_deferred),
        TEST(test_cut),
        TEST(test_cut_within_a_head),
        TEST(test_cut_in_json),
        TEST(test_time_of_a_deferred_line),
        TEST(test_duration_of_a_deferred_line),
        TEST(test_a_line_that_waits_for_others),
        TEST_KEPT(test_collected_lines_outlive_a_process),
        cmocka_unit_test_setup_teardown(test_death_in_a_write, make_to_die_before, discard_kept),
        cmocka_unit_test_setup_teardown(test_death_in_a_write, make_to_die_behind, discard_kept),
        TEST_KEPT(test_death_in_a_write_to_a_shared_log),
        TEST_KEPT(test_lines_of_answers_that_turn_out_to_be_sent),
        TEST_KEPT(test_lines_of_answers_that_are_made_again),
        TEST_KEPT(test_lines_of_a_connection_that_nobody_goes_on_with),
        TEST_KEPT(test_a_line_in_another_format),
        TEST_KEPT(test_junk_is_no_line),
        TEST_KEPT(test_a_very_long_line),
        cmocka_unit_test_setup_teardown(test_kept_lines_that_cannot_be_written,
                                        make_kept_with_error_log, discard_kept_with_error_log),
        TEST_WITH_ERROR_LOG(test_longest_end),
        TEST(test_batches),
        TEST_WITH_ERROR_LOG(test_failure),
        TEST_WITH_ERROR_LOG(test_losses),
        TEST_WITH_ERROR_LOG(test_losses_at_the_end),
        TEST_WITH_ERROR_LOG(test_a_slow_reader),
        TEST_WITH_ERROR_LOG(test_no_reader),
        TEST_WITH_ERROR_LOG(test_long_lines),
        TEST(test_interrupted),
    };
    return cmocka_run_group_tests_name("access_log", tests, NULL, NULL);
}
