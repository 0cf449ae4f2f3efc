/* A serving process among the others of its user: it cannot reach into them (Landlock). */
#ifndef TWINHTTPD_SERVER_PROCESS_SECLUSION_H
#define TWINHTTPD_SERVER_PROCESS_SECLUSION_H

#include <stdbool.h>

/* Leaves the calling thread, and all threads that it starts, without a way into the memory or the
 * descriptors of any other process, be it of the same user: by /proc, ptrace, or a signal where the
 * kernel knows how. Who was outside may still look in: a master, a debugger. Files are opened as
 * before, but none is removed, made (other than ordinary ones, for logs), cut, or run.
 *
 * PR_SET_NO_NEW_PRIVS must have been set. False: this kernel has no Landlock, or does not let it be
 * used (Linux 5.13 or later, lsm=landlock). */
bool seclusion_enter(void);

#endif
