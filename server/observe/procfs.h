/* What the kernel tells of the serving processes in /proc: memory, CPU time, switches, and how long
 * they waited for a CPU. Read about once a second at most, while somebody wants to know. No
 * descriptor is kept. */
#ifndef TWINHTTPD_SERVER_OBSERVE_PROCFS_H
#define TWINHTTPD_SERVER_OBSERVE_PROCFS_H

#include "server/observe/facts.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PROCFS_INTERVAL_MS = 950,
    PROCFS_LOOKS = 16,      /* at memory and switches of so many threads at once */
    PROCFS_MEMORY_LOOKS = 4 /* into the memory of so many processes at once: the kernel has to walk
                             * through it, and waits should the process be changing it */
};

/* What cannot be read is not known: as a number PROCFS_UNKNOWN. */
#define PROCFS_UNKNOWN UINT64_MAX

/* A process; shares are of one CPU, in thousandths, since the reading before. */
struct procfs_process {
    int32_t pid;
    uint32_t generation;
    uint64_t rss_kib;
    uint64_t pss_kib;     /* shared pages in parts; looked at in turn, as it takes long */
    uint64_t private_kib; /* of these, not shared with anybody */
    uint64_t cpu_ms;      /* of all its threads, also of those that have ended */
    uint64_t cpu_share;
    uint64_t waiting_share; /* of its threads that serve: ready to run, and no CPU was free */
    uint64_t switches_voluntary, switches_involuntary; /* of its threads that serve */
};

/* Of all processes that have had a number, one after the other, since the first reading: never goes
 * back. */
struct procfs_sums {
    uint32_t number;
    uint64_t cpu_us;
    uint64_t waiting_us;
};

struct procfs;

/* root is "/proc" but in tests, and outlives it. Freed by procfs_destroy. */
struct procfs *procfs_create(const char *root);
void procfs_destroy(struct procfs *procfs);

/* Reads what there is of the processes in facts, if the last reading is older than
 * PROCFS_INTERVAL_MS.
 */
void procfs_refresh(struct procfs *procfs, const struct facts *facts);

/* What was read of that process last; all of it unknown if nothing was. */
struct procfs_process procfs_of(const struct procfs *procfs, const struct facts_process *process);

/* The sums, in the order in which their numbers were met first. */
uint32_t procfs_sums_count(const struct procfs *procfs);
const struct procfs_sums *procfs_sums_at(const struct procfs *procfs, uint32_t index);

#endif
