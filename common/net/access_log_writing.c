#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/log_file.h"
#include "common/base/log_position.h"
#include "common/base/memory.h"
#include "common/net/access_log_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

enum {
    TELL_MS = 10000, /* between two lines about losses to a slow reader */
    LAST_PATIENCE_MS = 250,
    LOOK_AGAIN_MS = 10
};

struct access_log *access_log_create(int fd, enum config_access_log_format format, uint32_t process)
{
    struct access_log *log = memory_alloc_zeroed(1, sizeof(*log));
    log->fd = fd;
    log->format = format;
    log->process = process;
    log->write_at_bytes = ACCESS_LOG_BATCH_BYTES;
    log->field_bytes = SIZE_MAX;
    buffer_reserve(&log->batch, ACCESS_LOG_BATCH_BYTES);
    return log;
}

void access_log_keep(struct access_log *log, struct durable_lines *lines, pthread_mutex_t *turn)
{
    CHECK(log->kept == NULL && log->batch.len == 0 && log->noted.len == 0);
    buffer_free(&log->batch);
    log->batch = durable_lines_batch(lines);
    log->kept = lines;
    log->turn = turn;
}

void access_log_destroy(struct access_log *log)
{
    access_log_finish(log);
    if (log->kept == NULL) {
        buffer_free(&log->batch);
    }
    buffer_free(&log->noted);
    free(log);
}

/* ---- The batch ---- */

static bool is_full(const struct access_log *log)
{
    return log->batch.len >= ACCESS_LOG_WAITING_BYTES;
}

bool access_log_has_room(struct access_log *log)
{
    log->lost_lines += is_full(log);
    return !is_full(log);
}

void access_log_added(struct access_log *log)
{
    if (log->kept != NULL) {
        durable_lines_commit(log->kept, &log->batch);
    }
    if (log->batch.len >= log->write_at_bytes) {
        access_log_flush(log);
    }
}

/* Gives memory back that only waiting lines have needed. */
static void empty_batch(struct access_log *log)
{
    if (log->kept != NULL) {
        durable_lines_written(log->kept, &log->batch, log->batch.len);
        return;
    }
    buffer_clear(&log->batch);
    if (log->batch.capacity > 2 * ACCESS_LOG_BATCH_BYTES) {
        buffer_free(&log->batch);
        buffer_reserve(&log->batch, ACCESS_LOG_BATCH_BYTES);
    }
}

/* ---- Writing ---- */

/* That a reader is slow is no news before it costs a line. */
static void on_failure(struct access_log *log, int error)
{
    if (log->failed || (error == EAGAIN && !is_full(log))) {
        return;
    }
    log->failed = true;
    log_write(LOG_ERROR,
              "access log: cannot be written: %s; %d KiB of lines wait, and those beyond are lost "
              "until this is mended",
              log_file_loss_cause(error), ACCESS_LOG_WAITING_BYTES / 1024);
}

static void tell_losses(struct access_log *log)
{
    if (log->lost_lines > 0) {
        log_write(LOG_ERROR, "access log: %llu %s lost", (unsigned long long)log->lost_lines,
                  log->lost_lines == 1 ? "line" : "lines");
        log->lost_lines = 0;
        log->told_ms = clock_monotonic_ms();
    }
}

static void on_batch_written(struct access_log *log)
{
    if (log->failed) {
        log_write(LOG_NOTICE, "access log: is written again");
        log->failed = false;
    }
    tell_losses(log);
}

/* Noted piece by piece. Who writes through a descriptor alone has a position that tells a successor
 * how far the last piece came; of the others it may write one twice, rather than none. */
static void write_kept(struct access_log *log)
{
    size_t written;
    if (log->turn != NULL) {
        pthread_mutex_lock(log->turn);
    }
    do {
        bool has_position = log->turn != NULL && log_position_prepare(log->fd);
        durable_lines_writing(log->kept, log->fd, has_position);
        written = log_file_append_piece(log->fd, log->batch.data, log->batch.len);
        durable_lines_written(log->kept, &log->batch, written);
    } while (written > 0 && log->batch.len > 0);
    if (log->turn != NULL) {
        pthread_mutex_unlock(log->turn);
    }
}

static void write_own(struct access_log *log)
{
    size_t written = log_file_append(log->fd, log->batch.data, log->batch.len);
    if (written == log->batch.len) {
        empty_batch(log);
    } else {
        buffer_consume(&log->batch, written);
    }
}

void access_log_flush(struct access_log *log)
{
    const size_t waiting = log->batch.len;
    if (waiting == 0) {
        return;
    }
    if (log->kept != NULL) {
        write_kept(log);
    } else {
        write_own(log);
    }
    if (log->batch.len == 0) {
        on_batch_written(log);
    } else {
        on_failure(log, errno);
        if (log->batch.len < waiting && clock_monotonic_ms() - log->told_ms >= TELL_MS) {
            tell_losses(log); /* it may never catch up entirely */
        }
    }
    log->write_at_bytes = log->batch.len + ACCESS_LOG_BATCH_BYTES;
}

static uint64_t count_lines(const struct buffer *batch)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < batch->len; i++) {
        lines += batch->data[i] == '\n';
    }
    return lines;
}

void access_log_finish(struct access_log *log)
{
    const uint64_t until_ms = clock_monotonic_ms() + LAST_PATIENCE_MS;
    struct pollfd room = {.fd = log->fd, .events = POLLOUT};
    access_log_flush(log);
    while (log->batch.len > 0 && errno == EAGAIN && clock_monotonic_ms() < until_ms) {
        poll(&room, 1, LOOK_AGAIN_MS);
        access_log_flush(log);
    }
    log->lost_lines += count_lines(&log->batch);
    empty_batch(log);
    tell_losses(log);
}
