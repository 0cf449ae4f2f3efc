/* How large stacks are, whatever limit this process was started with. */
#ifndef TWINHTTPD_SERVER_SETUP_STACKS_H
#define TWINHTTPD_SERVER_SETUP_STACKS_H

/* Sees to it that the stack of this process, and of each thread and process that it starts later,
 * has room for what the server does: a smaller limit (ulimit -s) is raised, and reported when that
 * is not allowed. Larger ones stay. */
void stacks_ensure(void);

#endif
