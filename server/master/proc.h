/* What the kernel tells of a process in /proc. */
#ifndef TWINHTTPD_SERVER_MASTER_PROC_H
#define TWINHTTPD_SERVER_MASTER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_thread {
    char state;         /* R: runs, S: sleeps, D: waits for a device, T and t: is stopped, ... */
    uint64_t cpu_ticks; /* that it has used, in units of sysconf(_SC_CLK_TCK) */
};

/* False: it is gone. */
bool proc_thread_read(pid_t pid, pid_t tid, struct proc_thread *thread);

/* The function of the kernel in which it waits; "": it does not, or this user may not know. */
void proc_thread_wait_channel(pid_t pid, pid_t tid, char *out, size_t bytes);

enum { PROC_DESCRIPTION_BYTES = 1024 };

/* "state S, waits in futex_wait_queue, system call 202, kernel stack a < b < c": as much of it as
 * this user may read. */
void proc_thread_describe(pid_t pid, pid_t tid, char out[PROC_DESCRIPTION_BYTES]);

/* How many processes the kernel has killed for want of memory, ever: in the control group of this
 * process, where its own processes are, too; on the whole machine where the group does not tell. 0:
 * neither tells. */
uint64_t proc_oom_kills(void);

/* The same of the groups that a file like /proc/self/cgroup names, which are mounted below mount.
 * False: they do not tell. */
bool proc_cgroup_oom_kills(const char *groups, const char *mount, uint64_t *kills);

/* Memory in KiB, of which shared pages count in parts (Pss). 0: cannot be read;
 * errno is ESRCH if the process has ended. */
uint64_t proc_pss_kib(pid_t pid);

#endif
