#include "common/scoreboard/crash_story.h"

#include "common/base/log.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct crash_story story;

static int make_story(void **state)
{
    (void)state;
    story = (struct crash_story){.told = true,
                                 .signal = SIGSEGV,
                                 .code = SEGV_MAPERR,
                                 .pid = 1200,
                                 .tid = 1234,
                                 .slot = 1,
                                 .has_request = true,
                                 .stack.left_out_at = CRASH_INNER_FRAMES};
    strcpy(story.request.line, "GET /fault/segv HTTP/1.1");
    strcpy(story.request.client, "127.0.0.1:4711");
    return 0;
}

static void assert_code(int signal, int code, const char *expected)
{
    char name[CRASH_CODE_BYTES];
    crash_code_name(signal, code, name);
    assert_string_equal(name, expected);
}

static void test_codes(void **state)
{
    (void)state;
    assert_code(SIGSEGV, SEGV_MAPERR, "SEGV_MAPERR");
    assert_code(SIGSEGV, SEGV_ACCERR, "SEGV_ACCERR");
    assert_code(SIGBUS, BUS_ADRERR, "BUS_ADRERR");
    assert_code(SIGFPE, FPE_INTDIV, "FPE_INTDIV");
    assert_code(SIGILL, ILL_ILLOPN, "ILL_ILLOPN");
    assert_code(SIGABRT, SI_TKILL, "SI_TKILL");
    assert_code(SIGSEGV, SI_USER, "SI_USER");
    assert_code(SIGSEGV, SI_KERNEL, "SI_KERNEL");
    assert_code(SIGSEGV, 77, "code 77");
    assert_code(SIGABRT, INT32_MIN, "code -2147483648");
}

static void assert_described(const char *expected)
{
    char text[CRASH_TEXT_BYTES];
    crash_describe(&story, text);
    assert_string_equal(text, expected);
}

static void test_descriptions(void **state)
{
    (void)state;
    assert_described("SIGSEGV (SEGV_MAPERR) at 0x0 in thread 1234 (slot 1), handling "
                     "\"GET /fault/segv HTTP/1.1\" from 127.0.0.1:4711");
    story.stack_overflow = true;
    story.address = 0x7fff12345678;
    story.has_request = false;
    assert_described("SIGSEGV (SEGV_MAPERR) at 0x7fff12345678 (stack overflow) in thread 1234 "
                     "(slot 1), handling no request");
    story.code = SI_KERNEL; /* says no address */
    assert_described("SIGSEGV (SI_KERNEL) in thread 1234 (slot 1), handling no request");
}

static void test_who_sent_it(void **state)
{
    (void)state;
    story.signal = SIGABRT;
    story.code = SI_USER;
    story.slot = -1;
    story.has_request = false;
    story.sender_pid = 99;
    story.sender_uid = 1000;
    assert_described("SIGABRT (SI_USER) sent by pid 99 of user 1000 in thread 1234 (which serves "
                     "nobody), handling no request");
    story.code = SI_TKILL;
    story.sender_pid = story.pid;
    assert_described("SIGABRT (SI_TKILL) sent by itself in thread 1234 (which serves nobody), "
                     "handling no request");
}

static void test_an_assertion(void **state)
{
    (void)state;
    story.signal = SIGABRT;
    story.code = SI_TKILL;
    story.has_request = false;
    strcpy(story.assertion, "`left > 0` at common/net/output.c:33");
    assert_described("SIGABRT (SI_TKILL), assertion failed: `left > 0` at common/net/output.c:33, "
                     "in thread 1234 (slot 1), handling no request");
}

/* All that is as long as it may be has room. */
static void test_the_longest_description(void **state)
{
    (void)state;
    char text[CRASH_TEXT_BYTES];
    story.has_request = true;
    story.signal = story.code = story.tid = INT32_MIN;
    memset(story.assertion, 'x', CRASH_ASSERTION_BYTES - 1);
    memset(story.request.line, '"', NOTE_LINE_BYTES);
    memset(story.request.client, 'c', CLIENT_TEXT_BYTES - 1);
    crash_describe(&story, text);
    assert_int_equal(strspn(strchr(text, 'x'), "x"), CRASH_ASSERTION_BYTES - 1);
    assert_string_equal(text + strlen(text) - (CLIENT_TEXT_BYTES - 1), story.request.client);
}

static void test_a_request_cannot_end_its_quotes(void **state)
{
    (void)state;
    strcpy(story.request.line, "GET /\" from 10.0.0.1:1 \\");
    assert_described("SIGSEGV (SEGV_MAPERR) at 0x0 in thread 1234 (slot 1), handling "
                     "\"GET /\\\" from 10.0.0.1:1 \\\\\" from 127.0.0.1:4711");
    memset(story.request.line, '"', NOTE_LINE_BYTES); /* the longest that there can be */
    char text[CRASH_TEXT_BYTES];
    crash_describe(&story, text);
    assert_non_null(strstr(text, "\\\"\\\"\" from 127.0.0.1:4711"));
}

static void assert_frame(const struct crash_frame *frame, const char *expected)
{
    char text[CRASH_TEXT_BYTES];
    crash_frame_describe(frame, text);
    assert_string_equal(text, expected);
}

static void test_frames(void **state)
{
    (void)state;
    struct crash_frame frame = {.address = 0x7f0011223344, .offset = 0x3344, .line = 25};
    assert_frame(&frame, "0x7f0011223344");
    strcpy(frame.module, "libc.so.6");
    assert_frame(&frame, "0x7f0011223344 in libc.so.6+0x3344");
    strcpy(frame.function, "abort");
    assert_frame(&frame, "abort in libc.so.6");
    strcpy(frame.file, "common/handlers/lab/fault.c");
    assert_frame(&frame, "abort at common/handlers/lab/fault.c:25");
    frame.function[0] = '\0';
    assert_frame(&frame, "? at common/handlers/lab/fault.c:25");
}

static void test_numbers_of_frames(void **state)
{
    (void)state;
    story.stack.left_out = 1000;
    story.stack.frame_count = CRASH_INNER_FRAMES + 1;
    assert_int_equal(crash_frame_number(&story.stack, 0), 0);
    assert_int_equal(crash_frame_number(&story.stack, CRASH_INNER_FRAMES - 1),
                     CRASH_INNER_FRAMES - 1);
    assert_int_equal(crash_frame_number(&story.stack, CRASH_INNER_FRAMES),
                     CRASH_INNER_FRAMES + 1000);
}

/* What the log holds behind the first ": ", line by line. */
static void assert_logged(const char *const *expected, size_t count)
{
    char path[] = "/tmp/twinhttpd-test-crash-XXXXXX";
    char line[2048];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    log_use(fd);
    crash_log(&story, "process 7");
    log_use(STDERR_FILENO);
    close(fd);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(fgets(line, sizeof(line), file));
        line[strcspn(line, "\n")] = '\0';
        assert_non_null(strstr(line, "[error]"));
        assert_string_equal(strstr(line, ": ") + 2, expected[i]);
    }
    assert_null(fgets(line, sizeof(line), file));
    fclose(file);
    unlink(path);
}

static void test_log(void **state)
{
    (void)state;
    strcpy(story.request.line, "GET /\n2026 [error] forged\x1b HTTP/1.1");
    story.stack.left_out_at = 1;
    story.stack.left_out = 8000;
    story.stack.frame_count = 2;
    strcpy(story.stack.frames[0].file, "a.c");
    strcpy(story.stack.frames[0].function, "recurse");
    story.stack.frames[0].line = 3;
    strcpy(story.stack.frames[1].module, "server");
    strcpy(story.stack.frames[1].function, "main");
    static const char *const expected[] = {
        "process 7: SIGSEGV (SEGV_MAPERR) at 0x0 in thread 1234 (slot 1), handling "
        "\"GET /?2026 [error] forged? HTTP/1.1\" from 127.0.0.1:4711",
        "process 7: #0 recurse at a.c:3",
        "process 7: ... 8000 frames",
        "process 7: #8001 main in server",
    };
    assert_logged(expected, 4);
}

#define TEST(name) cmocka_unit_test_setup(name, make_story)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_codes),        TEST(test_descriptions),
        TEST(test_who_sent_it),  TEST(test_a_request_cannot_end_its_quotes),
        TEST(test_an_assertion), TEST(test_the_longest_description),
        TEST(test_frames),       TEST(test_numbers_of_frames),
        TEST(test_log),
    };
    return cmocka_run_group_tests_name("crash_story", tests, NULL, NULL);
}
