/* An access log from inside: access_log.c makes its lines, access_log_writing.c writes them, and
 * access_log_durable.c sees to it that each is written once, whoever dies meanwhile. */
#ifndef TWINHTTPD_COMMON_NET_ACCESS_LOG_INTERNAL_H
#define TWINHTTPD_COMMON_NET_ACCESS_LOG_INTERNAL_H

#include "common/base/buffer.h"
#include "common/net/access_log.h"
#include "common/net/durable_lines.h"

enum {
    ACCESS_LOG_BATCH_BYTES = 32768,
    ACCESS_LOG_WAITING_BYTES = 8 * ACCESS_LOG_BATCH_BYTES, /* of lines that cannot be written now */
    ACCESS_LOG_LINE_BYTES = 65536, /* of a line in memory that outlives the process */
    ACCESS_LOG_TIME_BYTES = 32
};

struct access_log {
    int fd;
    enum config_access_log_format format;
    uint32_t process;
    struct buffer batch;
    struct buffer noted;        /* lines that may not be true yet, and have no end */
    struct durable_lines *kept; /* where the batch lies; NULL: in memory of the process's own */
    pthread_mutex_t *turn;      /* to write; NULL: fd is shared with other processes */
    size_t write_at_bytes;      /* when the batch has grown so long */
    size_t field_bytes;         /* at most, of each field that a client fills */
    int64_t rendered_second;
    char time_text[ACCESS_LOG_TIME_BYTES]; /* of the rendered second */
    bool failed;                           /* reported once, until the batch has been written */
    uint64_t lost_lines;                   /* not told of yet */
    uint64_t told_ms;                      /* when that was done the last time */
};

/* Stands before the text of a line that is noted or deferred. The places are offsets into it. */
struct access_log_line {
    struct access_log_extent where;
    uint64_t began_us;
    uint64_t ended_us; /* 0: its answer is not sent yet, or not known to be */
    uint32_t slot_index;
    uint32_t format; /* in which it was begun */
    uint32_t bytes;  /* of the text */
    uint32_t time_at;
    uint32_t size_at;
    uint32_t size_digits;
};

/* ---- access_log.c ---- */

/* Whether these are lines as this log makes them: a predecessor may have written anything. */
bool access_log_are_lines(struct access_log *log, const struct buffer *lines);

/* Adds the lines of answers that begin before a place of their connection, and were sent. */
void access_log_add_before(struct access_log *log, const struct buffer *lines, uint64_t begin);

/* ---- access_log_writing.c ---- */

/* Whether one more line may wait; else it is lost. */
bool access_log_has_room(struct access_log *log);

/* Behind lines that were added to the batch. */
void access_log_added(struct access_log *log);

#endif
