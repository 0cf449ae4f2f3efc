#include "common/base/wake.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static bool is_awake(int fd)
{
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    return poll(&watched, 1, 0) == 1;
}

static void test_wake(void **state)
{
    (void)state;
    uint64_t times;
    int fd = wake_open();
    assert_true(fd >= 0);
    assert_false(is_awake(fd));
    wake(fd);
    wake(fd);
    assert_true(is_awake(fd));
    assert_int_equal(read(fd, &times, sizeof(times)), sizeof(times));
    assert_int_equal(times, 2);
    assert_false(is_awake(fd));
    close(fd);
}

/* A full counter makes nobody wait. */
static void test_who_is_awake_already(void **state)
{
    (void)state;
    const uint64_t almost_full = UINT64_MAX - 1;
    int fd = wake_open();
    assert_int_equal(write(fd, &almost_full, sizeof(almost_full)), sizeof(almost_full));
    wake(fd);
    assert_true(is_awake(fd));
    close(fd);
}

static void test_the_descriptor_is_not_inherited_by_programs(void **state)
{
    (void)state;
    int fd = wake_open();
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wake),
        cmocka_unit_test(test_who_is_awake_already),
        cmocka_unit_test(test_the_descriptor_is_not_inherited_by_programs),
    };
    return cmocka_run_group_tests_name("wake", tests, NULL, NULL);
}
