/* The error log: one line an event, one write(2) a line, so that lines of several processes and
 * threads never mix. Each thread may name itself; the name stands in its lines. */
#ifndef TWINHTTPD_COMMON_BASE_LOG_H
#define TWINHTTPD_COMMON_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARN, LOG_ERROR };

/* Opens a file for a log, of errors or any other: appended to, created with mode 0640. -1 with
 * errno set on failure. */
int log_open(const char *path);

/* Directs the descriptor of a log to the file that is at path now, which may be a new one. It keeps
 * its number: threads that write at this moment write to one or the other. False with errno set on
 * failure: it leads where it did. */
bool log_reopen(int fd, const char *path);

/* Lines go to this descriptor, which the caller keeps open. The default is standard error. Not
 * while other threads may write. */
void log_use(int fd);

/* Lines below this level are dropped. The default is LOG_INFO. */
void log_set_level(enum log_level level);

/* Names the calling thread in its lines ("master", "worker 3"); at most 31 bytes are kept. */
void log_set_name(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes "<UTC time> [<level>] <name> pid <pid>: <text>". Never fails, never allocates; a line
 * longer than 2 KiB is cut. Safe from several threads at once; not async-signal-safe. errno is
 * kept. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The log's descriptor, for a process that closes all others. */
int log_descriptor(void);

/* Whether a line of this level would be written. */
bool log_enabled(enum log_level level);

#endif
