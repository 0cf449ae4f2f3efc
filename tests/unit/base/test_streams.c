#include "common/base/streams.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

/* In a child: closes streams, one bit each, has them filled, and tells which of them lead to
 * /dev/null then. */
static int fill_closed(unsigned closed)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        unsigned null = 0;
        char path[64], target[64];
        for (int fd = 0; fd < 3; fd++) {
            int other = open("/", O_RDONLY);
            dup2(other, fd);
            close(other);
        }
        for (int fd = 0; fd < 3; fd++) {
            if ((closed >> fd & 1) != 0) {
                close(fd);
            }
        }
        bool good = streams_fill();
        for (int fd = 0; fd < 3; fd++) {
            char name[] = "/proc/self/fd/0";
            name[sizeof(name) - 2] = (char)('0' + fd);
            memset(target, 0, sizeof(target));
            strcpy(path, name);
            if (readlink(path, target, sizeof(target) - 1) > 0 &&
                strcmp(target, "/dev/null") == 0) {
                null |= 1u << fd;
            }
        }
        _exit(good ? (int)null : 100);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_exactly_the_closed_ones_are_filled(void **state)
{
    (void)state;
    for (unsigned closed = 0; closed < 8; closed++) {
        assert_int_equal(fill_closed(closed), closed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exactly_the_closed_ones_are_filled),
    };
    return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}
