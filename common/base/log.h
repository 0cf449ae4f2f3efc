/* The error log: one line an event, one write(2) a line, so that lines of several processes and
 * threads never mix. Each thread may name itself; the name stands in its lines. */
#ifndef TWINHTTPD_COMMON_BASE_LOG_H
#define TWINHTTPD_COMMON_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARN, LOG_ERROR };

/* Opens the log: a path (appended to, created with mode 0640), or NULL for standard error.
 * False with errno set when the path cannot be opened; the log then stays as it was. */
bool log_open(const char *path);

/* The same while other threads may write: the descriptor keeps its number. Standard error stays. */
bool log_reopen(const char *path);

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
