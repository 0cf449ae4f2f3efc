/* Whether a write has taken place, asked of the description that it went through. */
#include "common/base/log_position.h"

#include "common/base/log_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#define LINES "one\ntwo\nthree\n"
enum { LINES_BYTES = sizeof(LINES) - 1 };

static char directory[] = "/tmp/twinhttpd-test-log-position-XXXXXX";
static char path[sizeof(directory) + 8];
static int fd;    /* the writer's */
static int other; /* through which others append */

static int make(void **state)
{
    (void)state;
    strcpy(directory + sizeof(directory) - 7, "XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/log", directory);
    fd = log_file_open(path);
    other = log_file_open(path);
    return fd < 0 || other < 0;
}

static int discard(void **state)
{
    (void)state;
    close(fd);
    close(other);
    unlink(path);
    return rmdir(directory);
}

static void append(int to, const char *text, size_t bytes)
{
    assert_int_equal(write(to, text, bytes), bytes);
}

static size_t found(void)
{
    return log_position_find(fd, LINES, LINES_BYTES);
}

/* Whatever was written before, and whatever others write. */
static void test_none_or_all(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        append(other, "x\n", 2);
        assert_true(log_position_prepare(fd));
        append(other, LINES, LINES_BYTES);
        assert_int_equal(found(), 0);
        append(fd, LINES, LINES_BYTES);
        assert_int_equal(found(), LINES_BYTES);
        append(other, "x\n", 2);
        assert_int_equal(found(), LINES_BYTES);
    }
}

/* What is there of a write that was cut short goes on; behind others it begins a line again. */
static void test_a_part(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes < LINES_BYTES; bytes++) {
        assert_true(log_position_prepare(fd));
        append(fd, LINES, bytes);
        assert_int_equal(found(), bytes);
        append(other, "x\n", 2);
        assert_int_equal(found(), bytes < 4 ? 0 : bytes < 8 ? 4 : 8);
    }
}

/* logrotate's copytruncate: what was written is gone, and was written. */
static void test_a_file_that_is_emptied(void **state)
{
    (void)state;
    append(other, "x\n", 2);
    assert_true(log_position_prepare(fd));
    append(fd, LINES, LINES_BYTES);
    assert_int_equal(ftruncate(other, 0), 0);
    assert_int_equal(found(), LINES_BYTES);
    assert_true(log_position_prepare(fd));
    assert_int_equal(found(), 0);
    append(fd, LINES, LINES_BYTES);
    assert_int_equal(found(), LINES_BYTES);
}

static void test_what_has_no_position(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_false(log_position_prepare(ends[1]));
    assert_int_equal(log_position_find(ends[1], LINES, LINES_BYTES), 0);
    assert_int_equal(log_position_find(-1, LINES, LINES_BYTES), 0);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)
    const struct CMUnitTest tests[] = {
        TEST(test_none_or_all),
        TEST(test_a_part),
        TEST(test_a_file_that_is_emptied),
        TEST(test_what_has_no_position),
    };
    return cmocka_run_group_tests_name("log_position", tests, NULL, NULL);
}
