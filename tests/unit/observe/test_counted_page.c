/* What a program has counted, as another one finds it. */
#include "server/observe/counted_page.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct counted_page *written, *opened;
static struct carried_counts counts, found;
static int fd;

static int make(void **state)
{
    (void)state;
    written = counted_page_create(&fd);
    counts = (struct carried_counts){.totals = {.deaths = 3, .requests_lost = 40}};
    counts.totals.counters.requests_finished = 1000;
    counts.latency.requests.count = counts.latency.requests.buckets[7] = 1000;
    return written == NULL;
}

static int discard(void **state)
{
    (void)state;
    counted_page_close(written);
    counted_page_close(opened);
    written = opened = NULL;
    return 0;
}

static void test_what_was_written_is_read(void **state)
{
    (void)state;
    counted_page_write(written, &counts);
    opened = counted_page_open(dup(fd));
    assert_non_null(opened);
    assert_true(counted_page_read(opened, &found));
    assert_memory_equal(&found, &counts, sizeof(counts));
    counts.totals.deaths++;
    counted_page_write(written, &counts);
    assert_true(counted_page_read(opened, &found));
    assert_int_equal(found.totals.deaths, 4);
    assert_false(counted_page_is_handed_over(opened));
    counted_page_hand_over(written);
    assert_true(counted_page_is_handed_over(opened));
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
        counted_page_write(written, &counts);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    close(fd);
}

static void check_is_of_no_use(int other)
{
    errno = 0;
    assert_null(counted_page_open(other));
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
    assert_null(counted_page_open(-1));
    assert_int_equal(errno, EBADF);
    close(fd);
}

/* A new program writes for the old one. */
static void test_the_other_writes(void **state)
{
    (void)state;
    int awaited;
    opened = counted_page_await(&awaited);
    assert_non_null(opened);
    assert_true(counted_page_read(opened, &found));
    assert_int_equal(found.totals.deaths, 0);
    counted_page_close(written);
    written = counted_page_enter(awaited);
    assert_non_null(written);
    counted_page_write(written, &counts);
    assert_true(counted_page_read(opened, &found));
    assert_memory_equal(&found, &counts, sizeof(counts));
    close(fd);
}

/* Where it stands, in any word of it: what came before is whole. */
static void test_a_writer_that_is_killed_while_it_writes(void **state)
{
    (void)state;
    int awaited;
    opened = counted_page_await(&awaited);
    struct counted_page *other = counted_page_enter(dup(awaited));
    counted_page_write(other, &counts);
    struct stat status;
    assert_int_equal(fstat(awaited, &status), 0);
    unsigned char *bytes =
        mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, awaited, 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    /* the next counts go where the last ones but one stood: in front */
    memset(bytes + 64, 0xff, sizeof(counts) - 64);
    assert_true(counted_page_read(opened, &found));
    assert_memory_equal(&found, &counts, sizeof(counts));
    counts.totals.deaths = 9;
    counted_page_write(other, &counts);
    assert_true(counted_page_read(opened, &found));
    assert_memory_equal(&found, &counts, sizeof(counts));
    munmap(bytes, (size_t)status.st_size);
    counted_page_close(other);
    close(awaited);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_written_is_read, make, discard),
        cmocka_unit_test_setup_teardown(test_nobody_else_can_write, make, discard),
        cmocka_unit_test_setup_teardown(test_no_process_that_is_forked_has_it, make, discard),
        cmocka_unit_test_setup_teardown(test_what_is_none, make, discard),
        cmocka_unit_test_setup_teardown(test_the_other_writes, make, discard),
        cmocka_unit_test_setup_teardown(test_a_writer_that_is_killed_while_it_writes, make,
                                        discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
