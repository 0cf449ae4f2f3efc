#include "common/base/check.h"
#include "common/base/log_position.h"
#include "common/net/access_log_internal.h"

enum {
    OFFER_FULL_BYTES = DURABLE_OFFER_BYTES / 2
}; /* behind it there is room for what comes late */
_Static_assert(OFFER_FULL_BYTES + 2 * (ACCESS_LOG_LINE_BYTES + sizeof(struct access_log_line)) <
                   DURABLE_OFFER_BYTES,
               "for the answer at hand, and one that another thread makes");

/* ---- Before and after each attempt to send ---- */

bool access_log_may_note(const struct access_log *log, const struct buffer *deferred)
{
    return log->kept == NULL || log->noted.len + deferred->len <= OFFER_FULL_BYTES;
}

void access_log_offer(struct access_log *log, uint32_t record, const struct buffer *deferred,
                      uint64_t sent_bytes)
{
    CHECK(log->noted.len == 0 || deferred->len == 0); /* an answer's line is in one of them */
    const struct buffer *lines = deferred->len > 0 ? deferred : &log->noted;
    if (log->kept != NULL && lines->len > 0 && lines->len <= DURABLE_OFFER_BYTES) {
        durable_lines_offer(log->kept, record, lines, sent_bytes);
    }
}

bool access_log_is_kept(const struct access_log *log)
{
    return log->kept != NULL;
}

/* ---- Going on with what a predecessor has left ---- */

bool access_log_writer(const struct access_log *log, uint32_t *generation, int *fd)
{
    return log->kept != NULL && durable_lines_are_open(log->kept, generation, fd);
}

void access_log_ask_writer(struct access_log *log, int fd)
{
    CHECK(log->kept != NULL && log->noted.len == 0);
    size_t written = log_position_find(fd, log->batch.data, log->batch.len);
    durable_lines_written(log->kept, &log->batch, written);
}

bool access_log_offered(const struct access_log *log, uint32_t *record)
{
    uint64_t sent_bytes;
    return log->kept != NULL && durable_lines_offered(log->kept, record, NULL, &sent_bytes);
}

/* The lines of the offer; none, if they cannot be believed. */
static bool take_offer(struct access_log *log, struct buffer *lines, uint32_t *record,
                       uint64_t *sent_bytes)
{
    if (log->kept == NULL || !durable_lines_offered(log->kept, record, lines, sent_bytes)) {
        return false;
    }
    if (!access_log_are_lines(log, lines)) {
        buffer_clear(lines);
    }
    return true;
}

void access_log_accept(struct access_log *log, uint32_t record, uint64_t made_again_from)
{
    struct buffer lines;
    uint32_t offered;
    uint64_t sent_bytes;
    CHECK(log->noted.len == 0);
    if (!take_offer(log, &lines, &offered, &sent_bytes)) {
        return;
    }
    if (offered == record) {
        access_log_add_before(log, &lines, made_again_from);
    }
    buffer_free(&lines);
}

void access_log_accept_cut(struct access_log *log)
{
    struct buffer lines;
    uint32_t record;
    uint64_t sent_bytes;
    if (!take_offer(log, &lines, &record, &sent_bytes)) {
        return;
    }
    if (lines.len > 0) {
        access_log_cut(log, &lines, sent_bytes);
    } else {
        buffer_free(&lines);
        durable_lines_withdraw(log->kept);
    }
}
