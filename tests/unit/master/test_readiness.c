#include "server/master/readiness.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct readiness readiness;
static struct readiness_news news;

static int make(void **state)
{
    (void)state;
    return !readiness_open(&readiness);
}

static int discard(void **state)
{
    (void)state;
    readiness_close(&readiness);
    return 0;
}

/* A process that says it, and what else of the socket it then has. */
static int tell_as_a_process(uint32_t number)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct readiness before = readiness;
        readiness_forget(&readiness);
        readiness_tell(&readiness,
                       &(struct readiness_news){number, number % 2, (int32_t)(number % 1000)});
        bool has_any = fcntl(before.told_fd, F_GETFD) >= 0 || fcntl(before.heard_fd, F_GETFD) >= 0;
        _exit(has_any ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_nobody_has_spoken(void **state)
{
    (void)state;
    assert_false(readiness_next(&readiness, &news));
}

/* Whoever shares the description may have taken O_NONBLOCK away. */
static void test_it_never_waits(void **state)
{
    (void)state;
    assert_int_equal(fcntl(readiness_fd(&readiness), F_SETFL, 0), 0);
    assert_false(readiness_next(&readiness, &news));
}

static void test_each_is_heard_once(void **state)
{
    (void)state;
    assert_int_equal(tell_as_a_process(7), 0);
    assert_int_equal(tell_as_a_process(UINT32_MAX - 1), 0);
    assert_true(readiness_next(&readiness, &news));
    assert_int_equal(news.generation, 7);
    assert_true(news.goes_on);
    assert_int_equal(news.keeper_pid, 7);
    assert_true(readiness_next(&readiness, &news));
    assert_int_equal(news.generation, UINT32_MAX - 1);
    assert_false(news.goes_on);
    assert_false(readiness_next(&readiness, &news));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nobody_has_spoken),
        TEST(test_it_never_waits),
        TEST(test_each_is_heard_once),
    };
    return cmocka_run_group_tests_name("readiness", tests, NULL, NULL);
}
