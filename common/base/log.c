#include "common/base/log.h"

#include "common/base/clock.h"
#include "common/base/escape.h"
#include "common/base/log_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 2048, LOG_NAME_BYTES = 32 };

/* Process-wide by nature: every thread writes to the same log, and code at any depth may report. */
static int log_fd = STDERR_FILENO;
static enum log_level log_threshold = LOG_INFO;
static atomic_bool log_is_torn; /* a part of a line is there, without its end */
static _Thread_local char log_name[LOG_NAME_BYTES] = "main";

static const char *const log_level_names[] = {"debug", "info", "notice", "warn", "error"};

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

/* text[0] ends the line before, should that be torn; the line itself follows. */
struct log_line {
    char text[1 + LOG_LINE_BYTES];
    size_t bytes; /* without text[0] */
};

static void __attribute__((format(printf, 3, 0)))
compose(struct log_line *line, enum log_level level, const char *format, va_list arguments)
{
    int saved_errno = errno;
    char now[CLOCK_ISO8601_BYTES];
    clock_format_iso8601(clock_realtime_ms(), now);
    char *text = line->text + 1;
    const size_t room = LOG_LINE_BYTES - 1; /* the last byte is for the line feed */
    size_t used = (size_t)snprintf(text, room, "%s [%s] %s pid %d: ", now, log_level_names[level],
                                   log_name, (int)getpid());
    errno = saved_errno; /* for %m */
    int wanted = vsnprintf(text + used, room - used, format, arguments);
    size_t length = wanted < 0 ? 0 : (size_t)wanted;
    if (length > room - used - 1) {
        length = room - used - 1;
    }
    escape_control_bytes(text + used, length);
    text[used + length] = '\n';
    line->text[0] = '\n';
    line->bytes = used + length + 1;
}

/* ---- Lost lines ---- */

struct log_losses {
    atomic_ullong lines;
    atomic_int error; /* why the last of them could not be written */
};

static struct log_losses own_losses;
static struct log_losses *losses = &own_losses;

void log_share_losses(void)
{
    void *memory =
        mmap(NULL, sizeof(*losses), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) {
        losses = memory;
    }
}

static bool put(const struct log_line *line)
{
    bool was_torn = atomic_exchange(&log_is_torn, false);
    const char *text = line->text + (was_torn ? 0 : 1);
    size_t bytes = line->bytes + (was_torn ? 1 : 0);
    size_t written = log_file_append(log_fd, text, bytes);
    if (written == bytes) {
        return true;
    }
    atomic_store(&losses->error, errno);
    atomic_store(&log_is_torn, was_torn ? written != 1 : written > 0);
    return false;
}

static bool __attribute__((format(printf, 1, 2))) put_about_losses(const char *format, ...)
{
    struct log_line line;
    va_list arguments;
    va_start(arguments, format);
    compose(&line, LOG_ERROR, format, arguments);
    va_end(arguments);
    return put(&line);
}

bool log_tell_losses(void)
{
    int saved_errno = errno;
    unsigned long long lines =
        atomic_load(&losses->lines) == 0 ? 0 : atomic_exchange(&losses->lines, 0);
    if (lines == 0) {
        return true;
    }
    bool told =
        put_about_losses("%llu %s lost before this one: %s", lines, lines == 1 ? "line" : "lines",
                         log_file_loss_cause(atomic_load(&losses->error)));
    if (!told) {
        atomic_fetch_add(&losses->lines, lines);
    }
    errno = saved_errno;
    return told;
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    int saved_errno = errno;
    struct log_line line;
    va_list arguments;
    va_start(arguments, format);
    compose(&line, level, format, arguments);
    va_end(arguments);
    if (!log_tell_losses() || !put(&line)) {
        atomic_fetch_add(&losses->lines, 1);
    }
    errno = saved_errno;
}
