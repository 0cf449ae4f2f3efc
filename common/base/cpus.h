/* How many CPUs this process may really use. */
#ifndef TWINHTTPD_COMMON_BASE_CPUS_H
#define TWINHTTPD_COMMON_BASE_CPUS_H

/* The smaller of the affinity mask and the cgroup's CPU quota (v1 cpu.cfs_quota_us, v2 cpu.max, the
 * tightest of this cgroup and its ancestors, rounded up); at least 1. */
unsigned cpus_available(void);

/* The cgroup part alone, with the files looked up below root ("" for the real ones: root
 * "/tmp/x" reads /tmp/x/proc/self/cgroup and /tmp/x/sys/fs/cgroup/...). 0: no limit. For tests. */
unsigned cpus_cgroup_limit(const char *root);

#endif
