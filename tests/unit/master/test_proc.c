#include "server/master/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static void test_cpu_time_moves(void **state)
{
    (void)state;
    struct proc_thread before;
    struct proc_thread after;
    struct timespec used;
    assert_int_equal(prctl(PR_SET_NAME, "a) R (b"), 0);
    assert_true(proc_thread_read(getpid(), gettid(), &before));
    assert_int_equal(before.state, 'R');
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    } while (used.tv_nsec < 100000000 && used.tv_sec == 0);
    assert_true(proc_thread_read(getpid(), gettid(), &after));
    assert_in_range(after.cpu_ticks, before.cpu_ticks + 1, before.cpu_ticks + 100);
}

static void test_nobody(void **state)
{
    (void)state;
    struct proc_thread thread;
    char text[PROC_DESCRIPTION_BYTES];
    assert_false(proc_thread_read(getpid(), -1, &thread));
    assert_int_equal(proc_pss_kib(-1), 0);
    proc_thread_describe(getpid(), -1, text);
    assert_string_equal(text, "gone");
}

static void test_description(void **state)
{
    (void)state;
    char text[PROC_DESCRIPTION_BYTES];
    proc_thread_describe(getpid(), gettid(), text);
    assert_int_equal(strncmp(text, "state R", 7), 0);
    assert_null(strchr(text, '\n'));
}

/* Sanitizers keep notes about memory in memory: up to several times as much as it is. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { LARGEST_FACTOR = 16 };
#else
enum { LARGEST_FACTOR = 2 };
#endif

static void test_memory(void **state)
{
    (void)state;
    enum { MEMORY_KIB = 20480 };
    uint64_t before_kib = proc_pss_kib(getpid());
    assert_in_range(before_kib, 1, 10000000);
    void *memory = mmap(NULL, (size_t)MEMORY_KIB * 1024, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, (size_t)MEMORY_KIB * 1024);
    assert_in_range(proc_pss_kib(getpid()), before_kib + MEMORY_KIB * 3 / 4,
                    before_kib + MEMORY_KIB * LARGEST_FACTOR);
    munmap(memory, (size_t)MEMORY_KIB * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_time_moves),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}
