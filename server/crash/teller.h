/* What a forked process is that looks names up for stacks and tells them: it lives for some
 * milliseconds, and holds nothing of its parent but the log. */
#ifndef TWINHTTPD_SERVER_CRASH_TELLER_H
#define TWINHTTPD_SERVER_CRASH_TELLER_H

/* In the forked process, first of all. Should it take too long, it ends. */
void teller_begin(const char *name);

#endif
