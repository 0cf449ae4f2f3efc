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

/* How many processes the kernel has killed for want of memory, on the whole machine, ever. 0: it
 * does not tell. */
uint64_t proc_oom_kills(void);

/* Memory in KiB, of which shared pages count in parts (Pss). 0: cannot be read;
 * errno is ESRCH if the process has ended. */
uint64_t proc_pss_kib(pid_t pid);

#endif
