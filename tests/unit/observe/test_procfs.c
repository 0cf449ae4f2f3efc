/* What the kernel tells of processes: of this one, and of some in a folder made by hand. */
#include "server/observe/procfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/observe/observe_testing.h"

static struct procfs *procfs;
static struct facts_slot slots[2];
static struct facts_process process;
static struct facts facts;
static char root[64];

static void use(const char *folder)
{
    procfs = procfs_create(folder);
    slots[0] = (struct facts_slot){.slot = 0, .tid = (int32_t)getpid()};
    process = (struct facts_process){
        .pid = (int32_t)getpid(), .number = 3, .generation = 7, .first = 0, .count = 1};
    facts = (struct facts){
        .now_ms = 1000, .process_count = 1, .processes = &process, .slot_count = 1, .slots = slots};
}

static uint32_t open_descriptors(void)
{
    uint32_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static int64_t cpu_used_ns(void)
{
    struct timespec used;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used), 0);
    return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

/* What it had used before, which is much with a sanitizer, does not count. */
static void use_cpu_60_ms(void)
{
    int64_t end_ns = cpu_used_ns() + 60000000;
    while (cpu_used_ns() < end_ns) {
    }
}

static void test_this_process(void **state)
{
    (void)state;
    use("/proc");
    uint32_t before = open_descriptors();
    procfs_refresh(procfs, &facts);
    struct procfs_process read = procfs_of(procfs, &process);
    assert_in_range(read.rss_kib, 500, 10000000);
    assert_int_not_equal(read.cpu_ms, PROCFS_UNKNOWN);
    assert_int_not_equal(read.switches_voluntary, PROCFS_UNKNOWN);
    assert_int_equal(read.cpu_share, PROCFS_UNKNOWN); /* there is none before to compare with */
    use_cpu_60_ms();
    facts.now_ms += 2000;
    procfs_refresh(procfs, &facts);
    read = procfs_of(procfs, &process);
    assert_in_range(read.cpu_share, 1, 1000);
    assert_int_not_equal(read.waiting_share, PROCFS_UNKNOWN);
    assert_in_range(read.cpu_ms, 10, 1000000);
    assert_int_equal(procfs_sums_count(procfs), 1);
    assert_int_equal(procfs_sums_at(procfs, 0)->number, 3);
    assert_in_range(procfs_sums_at(procfs, 0)->cpu_us, 50000, 100000000);
    assert_int_equal(open_descriptors(), before);
    procfs_destroy(procfs);
}

static void write_file(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/42/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void make_folder(const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    assert_true(mkdir(path, 0755) == 0);
}

static int make_files(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test-procfs.XXXXXX");
    assert_non_null(mkdtemp(root));
    make_folder("42");
    make_folder("42/task");
    make_folder("42/task/42");
    make_folder("42/task/43");
    use(root);
    process.pid = 42;
    slots[0].tid = 42;
    slots[1].tid = 43;
    facts.slot_count = process.count = 2;
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    static const char *const names[] = {"42/task/42/status",
                                        "42/task/42/schedstat",
                                        "42/task/43/status",
                                        "42/task/43/schedstat",
                                        "42/stat",
                                        "42/task/42",
                                        "42/task/43",
                                        "42/task",
                                        "42",
                                        ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        remove(path);
    }
    procfs_destroy(procfs);
    return 0;
}

static void write_thread(const char *tid, const char *schedstat)
{
    char name[64];
    snprintf(name, sizeof(name), "task/%s/schedstat", tid);
    write_file(name, schedstat);
    snprintf(name, sizeof(name), "task/%s/status", tid);
    write_file(name, "Name:\tx\nvoluntary_ctxt_switches:\t10\nnonvoluntary_ctxt_switches:\t3\n");
}

static void test_threads_are_added_up(void **state)
{
    (void)state;
    write_file("stat", "42 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 2 0 99 1000000 256 18");
    write_thread("42", "5000000000 1000000000 7\n");
    write_thread("43", "2000000000 500000000 7\n");
    write_file("smaps_rollup", "0-1 [rollup]\nRss: 9 kB\nPss:    77 kB\nPss_Dirty: 1 kB\n"
                               "Private_Clean:  20 kB\nPrivate_Dirty:  30 kB\n");
    procfs_refresh(procfs, &facts);
    struct procfs_process read = procfs_of(procfs, &process);
    assert_int_equal(read.pss_kib, 77);
    assert_int_equal(read.private_kib, 50);
    assert_int_equal(read.cpu_ms, 200 * 1000 / sysconf(_SC_CLK_TCK));
    assert_int_equal(read.rss_kib, 256 * sysconf(_SC_PAGESIZE) / 1024);
    assert_int_equal(read.switches_voluntary, 20);
    assert_int_equal(read.switches_involuntary, 6);
    write_thread("42", "5500000000 1100000000 7\n");
    write_thread("43", "2250000000 500000000 7\n");
    facts.now_ms += PROCFS_INTERVAL_MS - 1; /* not yet */
    procfs_refresh(procfs, &facts);
    assert_int_equal(procfs_of(procfs, &process).cpu_share, PROCFS_UNKNOWN);
    facts.now_ms += 1;
    procfs_refresh(procfs, &facts);
    read = procfs_of(procfs, &process);
    assert_int_equal(read.cpu_share, 750000 / PROCFS_INTERVAL_MS);
    assert_int_equal(read.waiting_share, 100000 / PROCFS_INTERVAL_MS);
    assert_int_equal(procfs_sums_at(procfs, 0)->cpu_us, 750000);
    assert_int_equal(procfs_sums_at(procfs, 0)->waiting_us, 100000);
}

/* A successor has the number, and has used nothing yet. */
static void test_sums_go_on_with_the_next_process(void **state)
{
    (void)state;
    write_thread("42", "5000000000 1000000000 7\n");
    procfs_refresh(procfs, &facts);
    process.generation++;
    write_thread("42", "1000000 2000000 7\n");
    facts.now_ms += 2000;
    procfs_refresh(procfs, &facts);
    assert_int_equal(procfs_sums_count(procfs), 1);
    assert_int_equal(procfs_sums_at(procfs, 0)->cpu_us, 1000);
    assert_int_equal(procfs_of(procfs, &process).cpu_share, PROCFS_UNKNOWN);
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    static const char *const stats[] = {"", "42", "42 (x) R", "42 x) R 1 2 3 4 a", ")))))"};
    for (size_t i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
        write_file("stat", stats[i]);
        write_thread("42", stats[i]);
        write_file("task/42/status", stats[i]);
        process.generation++; /* of one that was seen, what was seen stays */
        facts.now_ms += 2000;
        procfs_refresh(procfs, &facts);
        const struct procfs_process read = procfs_of(procfs, &process);
        assert_int_equal(read.rss_kib, PROCFS_UNKNOWN);
        assert_int_equal(read.pss_kib, PROCFS_UNKNOWN);
        assert_int_equal(read.cpu_ms, PROCFS_UNKNOWN);
        assert_int_equal(read.switches_voluntary, PROCFS_UNKNOWN);
    }
    facts.process_count = 0;
    facts.now_ms += 2000;
    procfs_refresh(procfs, &facts);
    assert_int_equal(procfs_of(procfs, &process).rss_kib, PROCFS_UNKNOWN);
}

/* Each process has its turn, and keeps what was seen of it. */
static void test_memory_is_looked_at_in_turn(void **state)
{
    (void)state;
    enum { PROCESSES = 10 };
    struct facts_process processes[PROCESSES];
    use("/proc");
    for (uint32_t i = 0; i < PROCESSES; i++) {
        processes[i] = process;
        processes[i].generation = i;
        processes[i].count = 0;
    }
    facts.processes = processes;
    facts.process_count = PROCESSES;
    for (uint32_t seen = PROCFS_MEMORY_LOOKS; seen < 2 * PROCESSES; seen += PROCFS_MEMORY_LOOKS) {
        procfs_refresh(procfs, &facts);
        for (uint32_t i = 0; i < PROCESSES; i++) {
            assert_int_equal(procfs_of(procfs, &processes[i]).pss_kib != PROCFS_UNKNOWN, i < seen);
        }
        facts.now_ms += 1000;
    }
    procfs_destroy(procfs);
}

/* With many threads what is costly comes less often, and what was seen stays. */
static void test_many_are_looked_at_in_turn(void **state)
{
    (void)state;
    enum { THREADS = 2 * PROCFS_LOOKS };
    static struct facts_slot many[THREADS];
    struct facts_process processes[THREADS];
    uint64_t before[THREADS];
    use("/proc");
    for (uint32_t i = 0; i < THREADS; i++) {
        many[i] = slots[0];
        processes[i] = process;
        processes[i].generation = i;
        processes[i].first = i;
    }
    facts = (struct facts){.now_ms = 1000,
                           .process_count = THREADS,
                           .processes = processes,
                           .slot_count = THREADS,
                           .slots = many};
    procfs_refresh(procfs, &facts);
    for (uint32_t i = 0; i < THREADS; i++) { /* all, at first */
        before[i] = procfs_of(procfs, &processes[i]).switches_voluntary;
        assert_int_not_equal(before[i], PROCFS_UNKNOWN);
    }
    usleep(1000); /* a switch */
    facts.now_ms += 1000;
    procfs_refresh(procfs, &facts);
    uint32_t looked_at = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        const struct procfs_process read = procfs_of(procfs, &processes[i]);
        looked_at += read.switches_voluntary != before[i];
        assert_int_not_equal(read.cpu_share, PROCFS_UNKNOWN); /* of each */
        assert_int_not_equal(read.rss_kib, PROCFS_UNKNOWN);
    }
    assert_int_equal(looked_at, PROCFS_LOOKS);
    procfs_destroy(procfs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_this_process),
        cmocka_unit_test(test_memory_is_looked_at_in_turn),
        cmocka_unit_test(test_many_are_looked_at_in_turn),
        cmocka_unit_test_setup_teardown(test_threads_are_added_up, make_files, remove_files),
        cmocka_unit_test_setup_teardown(test_sums_go_on_with_the_next_process, make_files,
                                        remove_files),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read, make_files, remove_files),
    };
    return cmocka_run_group_tests_name("procfs", tests, NULL, NULL);
}
