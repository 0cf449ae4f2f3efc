#include "common/base/cpus.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CPUS_AT_MOST = 1 << 20, LINE_BYTES = 4096 + 256, FILE_PATH_BYTES = 2 * 4096 };

/* How one version of cgroups tells the CPU quota of the group at a directory. 0: no limit. */
typedef unsigned (*read_limit)(const char *directory);

/* 0 means "no limit", so the smaller one that is not 0. */
static unsigned tightest(unsigned a, unsigned b)
{
    if (a == 0 || b == 0) {
        return a + b;
    }
    return a < b ? a : b;
}

/* Half a CPU still needs a thread to run on: rounded up. */
static unsigned cpus_of_quota(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0) {
        return 0;
    }
    long long cpus = quota_us / period_us + (quota_us % period_us != 0);
    return cpus > CPUS_AT_MOST ? CPUS_AT_MOST : (unsigned)cpus;
}

static bool read_line(const char *directory, const char *name, char line[LINE_BYTES])
{
    char path[FILE_PATH_BYTES];
    int bytes = snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (bytes < 0 || (size_t)bytes >= sizeof(path)) {
        return false;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool good = fgets(line, LINE_BYTES, file) != NULL;
    fclose(file);
    return good;
}

/* cpu.max is "200000 100000", or "max 100000" without a limit. */
static unsigned read_limit_v2(const char *directory)
{
    char line[LINE_BYTES];
    long long quota_us = 0;
    long long period_us = 0;
    if (!read_line(directory, "cpu.max", line) ||
        sscanf(line, "%lld %lld", &quota_us, &period_us) != 2) {
        return 0;
    }
    return cpus_of_quota(quota_us, period_us);
}

/* cpu.cfs_quota_us is -1 without a limit. */
static unsigned read_limit_v1(const char *directory)
{
    char quota[LINE_BYTES];
    char period[LINE_BYTES];
    if (!read_line(directory, "cpu.cfs_quota_us", quota) ||
        !read_line(directory, "cpu.cfs_period_us", period)) {
        return 0;
    }
    return cpus_of_quota(atoll(quota), atoll(period));
}

static bool is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* The tightest limit from the group at mount + group up to the mount itself. A container may be
 * told the group's path as the host sees it, which is not below its own mount: then the mount is
 * the group. "/.." leads out of a cgroup namespace, with the same consequence. */
static unsigned limit_below(const char *mount, const char *group, read_limit read)
{
    char path[FILE_PATH_BYTES];
    size_t mount_bytes = strlen(mount);
    int bytes = snprintf(path, sizeof(path), "%s%s", mount, group);
    bool fits = bytes >= 0 && (size_t)bytes < sizeof(path);
    if (!fits || strstr(group, "/..") != NULL || !is_directory(path)) {
        return read(mount);
    }
    unsigned limit = read(path);
    while (strlen(path) > mount_bytes) {
        *strrchr(path, '/') = '\0';
        limit = tightest(limit, read(path));
    }
    return limit;
}

static unsigned limit_at(const char *root, const char *mount, const char *group, read_limit read)
{
    char path[FILE_PATH_BYTES];
    int bytes = snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s", root, mount);
    if (bytes < 0 || (size_t)bytes >= sizeof(path) || !is_directory(path)) {
        return 0;
    }
    return limit_below(path, group, read);
}

static bool has_cpu_controller(const char *controllers)
{
    for (const char *name = controllers; name != NULL; name = strchr(name, ',')) {
        name += *name == ',';
        if (strcspn(name, ",") == 3 && strncmp(name, "cpu", 3) == 0) {
            return true;
        }
    }
    return false;
}

/* A line of /proc/self/cgroup is "4:cpu,cpuacct:/path" (v1) or "0::/path" (v2). */
static unsigned limit_of_line(const char *root, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL) {
        return 0;
    }
    controllers++;
    *group++ = '\0';
    if (*controllers == '\0') {
        /* Beside v1 (hybrid) the v2 tree stands one level deeper. */
        return tightest(limit_at(root, "", group, read_limit_v2),
                        limit_at(root, "/unified", group, read_limit_v2));
    }
    if (!has_cpu_controller(controllers)) {
        return 0;
    }
    return tightest(tightest(limit_at(root, "/cpu", group, read_limit_v1),
                             limit_at(root, "/cpu,cpuacct", group, read_limit_v1)),
                    limit_at(root, "/cpuacct,cpu", group, read_limit_v1));
}

unsigned cpus_cgroup_limit(const char *root)
{
    char path[FILE_PATH_BYTES];
    char line[LINE_BYTES];
    unsigned limit = 0;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        limit = tightest(limit, limit_of_line(root, line));
    }
    fclose(file);
    return limit;
}

/* The kernel refuses a set smaller than its own, and does not tell how large that is. */
static unsigned cpus_in_affinity_mask(void)
{
    for (unsigned cpus = CPU_SETSIZE; cpus <= CPUS_AT_MOST; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        size_t bytes = CPU_ALLOC_SIZE(cpus);
        if (set == NULL) {
            break;
        }
        bool good = sched_getaffinity(0, bytes, set) == 0;
        bool too_small = !good && errno == EINVAL;
        unsigned count = good ? (unsigned)CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (!too_small) {
            return count;
        }
    }
    return 0;
}

unsigned cpus_available(void)
{
    unsigned cpus = tightest(cpus_in_affinity_mask(), cpus_cgroup_limit(""));
    return cpus == 0 ? 1 : cpus;
}
