#include "common/base/cpus.h"

#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { PATH_BYTES = 1024 };

/* Stands for "/": every test fills it anew. */
static char root[] = "/tmp/twinhttpd-test-cpus-XXXXXX";

static void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700); /* most exist already; fopen notices if one could not be made */
        *slash = '/';
    }
}

static void put(const char *name, const char *content)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    make_parents(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static int empty_root(void **state)
{
    (void)state;
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return mkdir(root, 0700);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_without_files_there_is_no_limit(void **state)
{
    (void)state;
    assert_int_equal(cpus_cgroup_limit(root), 0);
    put("proc/self/cgroup", "");
    assert_int_equal(cpus_cgroup_limit(root), 0);
    put("proc/self/cgroup", "0::/\n");
    assert_int_equal(cpus_cgroup_limit(root), 0);
    put("proc/self/cgroup", "1:cpu:/\n0::/\n");
    assert_int_equal(cpus_cgroup_limit(root), 0);
}

static void test_broken_files_are_no_limit(void **state)
{
    (void)state;
    static const char *const lines[] = {"\n", "nonsense\n", ":\n", "0:\n", "::", "0::"};
    put("sys/fs/cgroup/cpu.max", "what is this\n");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        put("proc/self/cgroup", lines[i]);
        assert_int_equal(cpus_cgroup_limit(root), 0);
    }
    static const char *const limits[] = {"",           "\n",         "200000\n",
                                         "200000 0\n", "0 100000\n", "-1 100000\n"};
    put("proc/self/cgroup", "0::/\n");
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        put("sys/fs/cgroup/cpu.max", limits[i]);
        assert_int_equal(cpus_cgroup_limit(root), 0);
    }
}

static void test_v2_rounds_up(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        unsigned cpus;
    } cases[] = {
        {"max 100000\n", 0},    {"100000 100000\n", 1},
        {"100001 100000\n", 2}, {"1000 100000\n", 1},
        {"150000 100000\n", 2}, {"400000 100000\n", 4},
        {"50000 25000\n", 2},   {"9999 10000\n", 1},
        {"250000 100000", 3},   {"9000000000000 1\n", 1 << 20},
    };
    put("proc/self/cgroup", "0::/\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put("sys/fs/cgroup/cpu.max", cases[i].content);
        assert_int_equal(cpus_cgroup_limit(root), cases[i].cpus);
    }
}

/* Whichever of the levels is the tightest wins. */
static void test_v2_ancestors(void **state)
{
    (void)state;
    static const char *const levels[] = {"sys/fs/cgroup/cpu.max", "sys/fs/cgroup/a.slice/cpu.max",
                                         "sys/fs/cgroup/a.slice/b/cpu.max",
                                         "sys/fs/cgroup/a.slice/b/c.scope/cpu.max"};
    put("proc/self/cgroup", "0::/a.slice/b/c.scope\n");
    for (size_t tight = 0; tight < 4; tight++) {
        for (size_t i = 0; i < 4; i++) {
            put(levels[i], i == tight ? "200000 100000\n" : "800000 100000\n");
        }
        assert_int_equal(cpus_cgroup_limit(root), 2);
        for (size_t i = 0; i < 4; i++) {
            put(levels[i], i == tight ? "300000 100000\n" : "max 100000\n");
        }
        assert_int_equal(cpus_cgroup_limit(root), 3);
    }
}

static void test_v2_siblings_do_not_count(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/mine\n");
    put("sys/fs/cgroup/mine/cpu.max", "300000 100000\n");
    put("sys/fs/cgroup/mine/child/cpu.max", "100000 100000\n");
    put("sys/fs/cgroup/other/cpu.max", "100000 100000\n");
    put("sys/fs/cpu.max", "100000 100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 3);
}

/* A container that is told the host's path: its own group is the mount. */
static void test_v2_path_that_is_not_there(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/system.slice/docker-1234.scope\n");
    put("sys/fs/cgroup/cpu.max", "250000 100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 3);
}

static void test_v2_path_out_of_the_namespace(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/../../other\n");
    put("sys/fs/cgroup/cpu.max", "250000 100000\n");
    put("sys/other/cpu.max", "100000 100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 3);
}

static void test_v2_beside_v1(void **state)
{
    (void)state;
    put("proc/self/cgroup", "1:memory:/\n0::/x\n");
    put("sys/fs/cgroup/unified/x/cpu.max", "500000 100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 5);
}

static void test_path_with_colons_and_spaces(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/a:b c\n");
    put("sys/fs/cgroup/a:b c/cpu.max", "200000 100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 2);
}

static void put_v1(const char *directory, const char *quota, const char *period)
{
    char name[PATH_BYTES];
    snprintf(name, sizeof(name), "%s/cpu.cfs_quota_us", directory);
    put(name, quota);
    snprintf(name, sizeof(name), "%s/cpu.cfs_period_us", directory);
    put(name, period);
}

static void test_v1_mounts(void **state)
{
    static const char *const mounts[] = {"sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct",
                                         "sys/fs/cgroup/cpuacct,cpu"};
    static const char *const lines[] = {"4:memory:/\n3:cpu:/\n", "11:cpu,cpuacct:/\n",
                                        "2:cpuacct,cpu:/\n"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(empty_root(state), 0);
        put("proc/self/cgroup", lines[i]);
        put_v1(mounts[i], "150000\n", "100000\n");
        assert_int_equal(cpus_cgroup_limit(root), 2);
        put_v1(mounts[i], "-1\n", "100000\n");
        assert_int_equal(cpus_cgroup_limit(root), 0);
        put_v1(mounts[i], "100000\n", "0\n");
        assert_int_equal(cpus_cgroup_limit(root), 0);
    }
}

static void test_v1_other_controllers_do_not_count(void **state)
{
    (void)state;
    static const char *const lines[] = {"1:cpuset:/g\n", "1:cpuacct:/g\n", "1:name=cpu:/g\n",
                                        "1:cpuset,cpuacct:/g\n", "1:xcpu:/g\n"};
    put_v1("sys/fs/cgroup/cpu/g", "100000\n", "100000\n");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        put("proc/self/cgroup", lines[i]);
        assert_int_equal(cpus_cgroup_limit(root), 0);
    }
    put("proc/self/cgroup", "1:cpuset,cpu:/g\n");
    assert_int_equal(cpus_cgroup_limit(root), 1);
}

static void test_v1_ancestors(void **state)
{
    (void)state;
    static const char *const levels[] = {"sys/fs/cgroup/cpu,cpuacct",
                                         "sys/fs/cgroup/cpu,cpuacct/docker",
                                         "sys/fs/cgroup/cpu,cpuacct/docker/12"};
    put("proc/self/cgroup", "3:cpu,cpuacct:/docker/12\n");
    for (size_t tight = 0; tight < 3; tight++) {
        for (size_t i = 0; i < 3; i++) {
            put_v1(levels[i], i == tight ? "200000\n" : "-1\n", "100000\n");
        }
        assert_int_equal(cpus_cgroup_limit(root), 2);
    }
}

static void test_v1_path_that_is_not_there(void **state)
{
    (void)state;
    put("proc/self/cgroup", "3:cpu,cpuacct:/docker/12\n");
    put_v1("sys/fs/cgroup/cpu,cpuacct", "300000\n", "100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 3);
}

static void test_tightest_of_v1_and_v2(void **state)
{
    (void)state;
    put("proc/self/cgroup", "1:cpu:/\n0::/\n");
    put_v1("sys/fs/cgroup/cpu", "300000\n", "100000\n");
    put("sys/fs/cgroup/unified/cpu.max", "200000 100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 2);
    put("sys/fs/cgroup/unified/cpu.max", "400000 100000\n");
    assert_int_equal(cpus_cgroup_limit(root), 3);
}

static void test_available_follows_the_affinity(void **state)
{
    (void)state;
    cpu_set_t before;
    cpu_set_t one;
    size_t cpu = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    assert_in_range(cpus_available(), 1, CPU_COUNT(&before));
    while (!CPU_ISSET(cpu, &before)) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(cpus_available(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    unsigned limit = cpus_cgroup_limit("");
    unsigned mask = (unsigned)CPU_COUNT(&before);
    assert_int_equal(cpus_available(), limit != 0 && limit < mask ? limit : mask);
}

#define CPUS_TEST(function) cmocka_unit_test_setup(function, empty_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CPUS_TEST(test_without_files_there_is_no_limit),
        CPUS_TEST(test_broken_files_are_no_limit),
        CPUS_TEST(test_v2_rounds_up),
        CPUS_TEST(test_v2_ancestors),
        CPUS_TEST(test_v2_siblings_do_not_count),
        CPUS_TEST(test_v2_path_that_is_not_there),
        CPUS_TEST(test_v2_path_out_of_the_namespace),
        CPUS_TEST(test_v2_beside_v1),
        CPUS_TEST(test_path_with_colons_and_spaces),
        CPUS_TEST(test_v1_mounts),
        CPUS_TEST(test_v1_other_controllers_do_not_count),
        CPUS_TEST(test_v1_ancestors),
        CPUS_TEST(test_v1_path_that_is_not_there),
        CPUS_TEST(test_tightest_of_v1_and_v2),
        CPUS_TEST(test_available_follows_the_affinity),
    };
    return cmocka_run_group_tests_name("cpus", tests, make_root, remove_root);
}
