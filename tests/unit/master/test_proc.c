#include "server/master/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
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

/* ---- Who was killed for want of memory ---- */

static char folder[] = "/tmp/twinhttpd-proc-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void make_folder(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static bool read_kills(uint64_t *kills)
{
    char groups[256];
    snprintf(groups, sizeof(groups), "%s/cgroup", folder);
    return proc_cgroup_oom_kills(groups, folder, kills);
}

static void test_kills_in_its_own_group(void **state)
{
    (void)state;
    uint64_t kills = 0;
    assert_non_null(mkdtemp(folder));
    assert_false(read_kills(&kills)); /* nothing there */
    make_folder("memory");
    make_folder("memory/a");
    make_folder("b");
    write_file("cgroup", "5:devices:/a\n4:memory:/a\n0::/b\n");
    assert_false(read_kills(&kills));
    write_file("b/memory.events.local", "low 0\noom 2\noom_kill 1\noom_group_kill 0\n");
    assert_true(read_kills(&kills));
    assert_int_equal(kills, 1);
    write_file("memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
    assert_true(read_kills(&kills));
    assert_int_equal(kills, 7);
    write_file("cgroup", "nonsense\n:\n\n");
    assert_false(read_kills(&kills));
    static const char *const left[] = {"memory/a/memory.oom_control",
                                       "memory/a",
                                       "memory",
                                       "b/memory.events.local",
                                       "b",
                                       "cgroup",
                                       ""};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", folder, left[i]);
        assert_int_equal(remove(path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_time_moves),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_kills_in_its_own_group),
    };
    return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}
