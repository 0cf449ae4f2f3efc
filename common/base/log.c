#include "common/base/log.h"

#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 2048, LOG_NAME_BYTES = 32 };

/* Process-wide by nature: every thread writes to the same log, and code at any depth may report. */
static int log_fd = STDERR_FILENO;
static enum log_level log_threshold = LOG_INFO;
static _Thread_local char log_name[LOG_NAME_BYTES] = "main";

static const char *const log_level_names[] = {"debug", "info", "notice", "warn", "error"};

int log_open(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

bool log_reopen(int fd, const char *path)
{
    int new_fd = log_open(path);
    if (new_fd < 0) {
        return false;
    }
    bool replaced = dup3(new_fd, fd, O_CLOEXEC) >= 0;
    close(new_fd);
    return replaced;
}

void log_use(int fd)
{
    log_fd = fd;
}

void log_set_level(enum log_level level)
{
    log_threshold = level;
}

int log_descriptor(void)
{
    return log_fd;
}

bool log_enabled(enum log_level level)
{
    return level >= log_threshold;
}

void log_set_name(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(log_name, sizeof(log_name), format, arguments);
    va_end(arguments);
}

/* Control bytes from a client must not forge lines or drive a terminal. */
static void replace_control_bytes(char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) {
            text[i] = '?';
        }
    }
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    int saved_errno = errno;
    char line[LOG_LINE_BYTES];
    char now[CLOCK_ISO8601_BYTES];
    clock_format_iso8601(clock_realtime_ms(), now);
    const size_t room = sizeof(line) - 1; /* the last byte is for the line feed */
    size_t used = (size_t)snprintf(line, room, "%s [%s] %s pid %d: ", now, log_level_names[level],
                                   log_name, (int)getpid());
    va_list arguments;
    va_start(arguments, format);
    errno = saved_errno; /* for %m */
    int wanted = vsnprintf(line + used, room - used, format, arguments);
    va_end(arguments);
    size_t text = wanted < 0 ? 0 : (size_t)wanted;
    if (text > room - used - 1) {
        text = room - used - 1;
    }
    replace_control_bytes(line + used, text);
    line[used + text] = '\n';
    /* Nobody is left to tell when the log itself cannot be written. */
    ssize_t ignored = write(log_fd, line, used + text + 1);
    (void)ignored;
    errno = saved_errno;
}
