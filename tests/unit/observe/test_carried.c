/* What a program has counted, as the one that replaces it finds it. */
#include "server/observe/carried.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/observe/observe_testing.h"

static struct carried *written, *opened;
static struct carried_counts counts, found;
static int fd;

static int make(void **state)
{
    (void)state;
    written = carried_create(&fd);
    counts = (struct carried_counts){.totals = {.deaths = 3, .requests_lost = 40}};
    counts.totals.counters.requests_finished = 1000;
    counts.latency.requests.count = counts.latency.requests.buckets[7] = 1000;
    return written == NULL;
}

static int discard(void **state)
{
    (void)state;
    carried_close(written);
    carried_close(opened);
    written = opened = NULL;
    return 0;
}

static void test_what_was_written_is_read(void **state)
{
    (void)state;
    carried_write(written, &counts);
    opened = carried_open(dup(fd));
    assert_non_null(opened);
    assert_true(carried_read(opened, &found));
    assert_memory_equal(&found, &counts, sizeof(counts));
    counts.totals.deaths++;
    carried_write(written, &counts);
    assert_true(carried_read(opened, &found));
    assert_int_equal(found.totals.deaths, 4);
    assert_false(carried_is_handed_over(opened));
    carried_hand_over(written);
    assert_true(carried_is_handed_over(opened));
    close(fd);
}

/* Whoever has the descriptor can only read. */
static void test_nobody_else_can_write(void **state)
{
    (void)state;
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(errno, EPERM);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    close(fd);
}

/* A serving process that the old program starts has no part of it. */
static void test_no_process_that_is_forked_has_it(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka catches it */
        carried_write(written, &counts);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    close(fd);
}

static void check_is_of_no_use(int other)
{
    errno = 0;
    assert_null(carried_open(other));
    assert_int_equal(errno, EINVAL);
}

static void test_what_is_none(void **state)
{
    (void)state;
    int short_one = memfd_create("test", MFD_CLOEXEC);
    int other_format = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(short_one, 100), 0);
    check_is_of_no_use(short_one);
    assert_int_equal(ftruncate(other_format, lseek(fd, 0, SEEK_END)), 0);
    check_is_of_no_use(other_format);
    assert_null(carried_open(-1));
    assert_int_equal(errno, EBADF);
    close(fd);
}

/* The counters, and no gauge. */
static void test_readers_add_it(void **state)
{
    (void)state;
    make_server(1, 1);
    scoreboard->slots[0].counters.requests_finished = 5;
    carried_write(written, &counts);
    opened = carried_open(fd);
    struct facts_reader *reader = facts_reader_create(scoreboard, bulletin, opened);
    struct latency_copy latency;
    assert_int_equal(facts_read(reader)->totals.counters.requests_finished, 1005);
    assert_int_equal(facts_last(reader)->totals.deaths, 3);
    assert_true(facts_read_latency(reader, &latency, NULL, NULL));
    assert_int_equal(latency.requests.count, 1000);
    counts.totals.counters.requests_finished = 1001;
    counts.totals.connections_open = 77; /* of the other program */
    carried_write(written, &counts);
    assert_int_equal(facts_read(reader)->totals.counters.requests_finished, 1006);
    assert_int_equal(facts_last(reader)->totals.connections_open, 0);
    facts_reader_destroy(reader);
    discard_server();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_written_is_read, make, discard),
        cmocka_unit_test_setup_teardown(test_nobody_else_can_write, make, discard),
        cmocka_unit_test_setup_teardown(test_no_process_that_is_forked_has_it, make, discard),
        cmocka_unit_test_setup_teardown(test_what_is_none, make, discard),
        cmocka_unit_test_setup_teardown(test_readers_add_it, make, discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
