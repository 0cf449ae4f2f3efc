/* The error log: one line an event, one write(2) a line, so that lines of several processes and
 * threads never mix. Each thread may name itself; the name stands in its lines. Nobody waits for
 * the log: a line that cannot be written at once is lost, counted, and told of later. */
#ifndef TWINHTTPD_COMMON_BASE_LOG_H
#define TWINHTTPD_COMMON_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARN, LOG_ERROR };

/* Lines go to this descriptor, which the caller keeps open. The default is standard error. Not
 * while other threads may write. */
void log_use(int fd);

/* Lines below this level are dropped. The default is LOG_INFO. */
void log_set_level(enum log_level level);

/* Names the calling thread in its lines ("master", "slot 3"); at most 31 bytes are kept. */
void log_set_name(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Lines that this process and those that it forks from now on lose are counted together: whoever
 * can write again tells how many. Else each process counts its own, and takes them to its grave. */
void log_share_losses(void);

/* Tells of lost lines, if there are any and the log can be written again; log_write does it, too.
 * True: none are left. */
bool log_tell_losses(void);

/* Writes "<UTC time> [<level>] <name> pid <pid>: <text>". Never fails, never allocates; a line
 * longer than 2 KiB is cut. Safe from several threads at once; not async-signal-safe. errno is
 * kept. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The log's descriptor, for a process that closes all others. */
int log_descriptor(void);

/* Whether a line of this level would be written. */
bool log_enabled(enum log_level level);

#endif
