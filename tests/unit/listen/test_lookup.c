#include "server/listen/lookup.h"

#include "common/base/clock.h"
#include "server/setup/signals.h"

#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct endpoints endpoints;
static struct error error;
static uint64_t ahead_ms; /* of the clock */

uint64_t __real_clock_monotonic_ms(void);
uint64_t __wrap_clock_monotonic_ms(void);
uint64_t __wrap_clock_monotonic_ms(void)
{
    return __real_clock_monotonic_ms() + ahead_ms;
}

/* In the process that asks. "two" has two addresses; "mute" gets no answer; "dies" kills who asks.
 */
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    while (strcmp(host, "mute") == 0) {
        pause();
    }
    if (strcmp(host, "dies") == 0) {
        _exit(7);
    }
    if (strcmp(host, "two") != 0) {
        return EAI_NONAME;
    }
    struct addrinfo *second;
    int result = __real_getaddrinfo("127.0.0.1", service, hints, found);
    if (result == 0 && __real_getaddrinfo("127.0.0.2", service, hints, &second) == 0) {
        (*found)->ai_next = second;
    }
    return result;
}

static int forget(void **state)
{
    (void)state;
    ahead_ms = 0;
    error = (struct error){0};
    return 0;
}

static void assert_found(size_t index, const char *expected)
{
    char text[ENDPOINT_TEXT_BYTES];
    assert_in_range(index, 0, endpoints.count - 1);
    endpoint_format(&endpoints.list[index], text);
    assert_string_equal(text, expected);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_false(lookup_is_needed("127.0.0.1:80,[::1]:80,*:81"));
    assert_true(lookup_read("127.0.0.1:80,[::1]:80,*:81", &endpoints, &error));
    assert_int_equal(endpoints.count, 3);
    assert_found(0, "127.0.0.1:80");
    assert_found(1, "[::1]:80");
    assert_found(2, "*:81");
    assert_int_equal(endpoints.list[2].item, 2);
}

static void test_names(void **state)
{
    (void)state;
    bool interrupted;
    assert_true(lookup_is_needed("127.0.0.1:80,two:80"));
    assert_true(lookup_wait("127.0.0.3:80,two:81,two:82", &endpoints, -1, &interrupted, &error));
    assert_int_equal(endpoints.count, 5);
    assert_found(0, "127.0.0.3:80");
    assert_false(endpoints.list[0].may_lack);
    assert_found(1, "127.0.0.1:81");
    assert_found(4, "127.0.0.2:82");
    assert_true(endpoints.list[4].may_lack);
    assert_int_equal(endpoints.list[4].item, 2);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
}

static void test_a_name_that_is_none(void **state)
{
    (void)state;
    bool interrupted;
    assert_false(lookup_wait("two:80,nobody:81", &endpoints, -1, &interrupted, &error));
    assert_string_equal(error.text,
                        "cannot listen on \"nobody:81\": Name or service not known; give an "
                        "address of this machine");
}

static void test_more_than_there_may_be(void **state)
{
    (void)state;
    bool interrupted;
    assert_false(lookup_wait("two:1,two:2,two:3,two:4,two:5,two:6,two:7,two:8,two:9", &endpoints,
                             -1, &interrupted, &error));
    assert_non_null(strstr(error.text, "more than 16 addresses; "));
}

static void test_who_asks_dies(void **state)
{
    (void)state;
    bool interrupted;
    assert_false(lookup_wait("dies:80", &endpoints, -1, &interrupted, &error));
    assert_non_null(strstr(error.text, "the process that asks has died; "));
}

static void test_no_answer(void **state)
{
    (void)state;
    struct lookup lookup = {0};
    assert_int_equal(lookup_fd(&lookup), -1);
    assert_int_equal(lookup_due_ms(&lookup), 0);
    assert_true(lookup_begin(&lookup, "mute:80", &error));
    pid_t pid = lookup.pid;
    assert_true(lookup_fd(&lookup) >= 0);
    assert_int_equal(lookup_proceed(&lookup, "mute:80", &endpoints, &error), LOOKUP_WAITS);
    ahead_ms = LOOKUP_PATIENCE_MS;
    assert_int_equal(lookup_proceed(&lookup, "mute:80", &endpoints, &error), LOOKUP_FAILED);
    assert_non_null(strstr(error.text, "\"mute:80\": no answer within 10 s; "));
    assert_int_equal(lookup_fd(&lookup), -1);
    assert_int_equal(waitpid(pid, NULL, 0), pid); /* killed */
    assert_false(lookup_is_over(&lookup, pid + 1));
    assert_true(lookup_is_over(&lookup, pid));
    assert_false(lookup_is_over(&lookup, 0));
}

static void test_giving_up(void **state)
{
    (void)state;
    struct lookup lookup = {0};
    lookup_abandon(&lookup);
    assert_true(lookup_begin(&lookup, "mute:80", &error));
    lookup_abandon(&lookup);
    assert_int_equal(lookup_fd(&lookup), -1);
    assert_int_equal(waitpid(lookup.pid, NULL, 0), lookup.pid);
}

static void test_a_signal_ends_the_wait(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, 0};
    bool interrupted = false;
    signals_block();
    int stop_fd = signals_open(signals);
    assert_true(stop_fd >= 0);
    raise(SIGTERM);
    assert_false(lookup_wait("mute:80", &endpoints, stop_fd, &interrupted, &error));
    assert_true(interrupted);
    assert_int_equal(signals_next(stop_fd), SIGTERM);
    close(stop_fd);
    signals_unblock();
}

#define TEST(name) cmocka_unit_test_setup(name, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers),
        TEST(test_names),
        TEST(test_a_name_that_is_none),
        TEST(test_more_than_there_may_be),
        TEST(test_who_asks_dies),
        TEST(test_no_answer),
        TEST(test_giving_up),
        TEST(test_a_signal_ends_the_wait),
    };
    return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
