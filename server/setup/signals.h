/* Signals as data: they are blocked everywhere and read from a descriptor, so that no handler ever
 * interrupts anything. */
#ifndef TWINHTTPD_SERVER_SETUP_SIGNALS_H
#define TWINHTTPD_SERVER_SETUP_SIGNALS_H

#include <stdint.h>

/* Frees this process of what its parent has left behind: ignored signals (with SIGCHLD
 * ignored no death would be told, and the pids of the dead could be strangers' already; nohup's
 * SIGHUP), blocked ones, and timers that an exec does not stop. To be called first of all. */
void signals_reset(void);

/* Blocks every signal that the server understands (inherited by children and threads) and ignores
 * SIGPIPE. */
void signals_block(void);

/* While the server opens what it needs, which may take time (a user database, a file system of
 * another machine), SIGTERM, SIGINT and SIGQUIT end the process at once, with status 0: nobody is
 * served yet. Then they are blocked again. */
void signals_end_at_once(void);
void signals_wait_again(void);

/* Undoes that, for another program that this process is about to become. */
void signals_unblock(void);

/* A non-blocking descriptor that delivers the given signals, a list that ends with 0. -1 with errno
 * set on failure. Closed by the caller. */
int signals_open(const int *signals);

/* The next one that is waiting; 0: none. */
int signals_next(int fd);

/* The same; adds to *bits what the parent has sent with the signal (sigqueue). */
int signals_next_order(int fd, uint32_t *bits);

#endif
