/* The access log: a line a response, made when it has been sent, collected and written in batches.
 * One for each event loop; all append to the same file, whole lines at a time. Nobody waits for it:
 * lines that cannot be written now wait in memory, up to 256 KiB of them; those beyond are lost,
 * which the error log tells with their number. */
#ifndef TWINHTTPD_COMMON_NET_ACCESS_LOG_H
#define TWINHTTPD_COMMON_NET_ACCESS_LOG_H

#include "common/config/config.h"
#include "common/http/exchange.h"

struct access_log;

/* fd: opened for appending, owned by the caller. process: its number, as the master counts. */
struct access_log *access_log_create(int fd, enum config_access_log_format format,
                                     uint32_t process);

/* Finishes it. */
void access_log_destroy(struct access_log *log);

/* Where an answer lies in all that its connection sends, in bytes from the connection's beginning.
 */
struct access_log_extent {
    uint64_t begin;
    uint64_t body;
    uint64_t end;
};

/* Prepares the line of an answer that is about to be sent. In the combined format ("%h - - [%t]
 * \"%r\" %s %b \"%{Referer}i\" \"%{User-Agent}i\" %D", process and slot) bytes that could forge a
 * line stand as \xHH, and in both formats those from 0x80 in the request's target as %HH. The end
 * of the line is made when the answer has been sent: with the microseconds since its head began,
 * the process, and the slot of the thread that answered. Needs a little of the request's arena.
 * Where it goes to a pipe, a line has at most PIPE_BUF bytes: long fields are cut. One of the next
 * two must follow before an answer of another connection is noted.
 */
void access_log_note(struct access_log *log, struct http_exchange *exchange,
                     const struct access_log_extent *where);

/* All that was noted has been sent: adds the lines. */
void access_log_sent(struct access_log *log);

/* It has not, or not all: moves the lines behind those that the connection keeps already (a buffer
 * that is empty at first). */
void access_log_defer(struct access_log *log, struct buffer *deferred);

/* Adds those deferred lines whose answers end within the first sent_bytes of the connection. The
 * time is that of the end, the size that of the body. When none is left, its memory is given back.
 */
void access_log_settle(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes);

/* Nothing more will be sent: adds all deferred lines. The size is what was sent of the body; a line
 * whose answer was not sent to its end says so: it ends in " aborted", in JSON there is
 * "aborted":true. */
void access_log_cut(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes);

/* Writes what is left, for which a slow reader is given 250 ms. What it does not take is lost. */
void access_log_finish(struct access_log *log);

/* Writes the batch, as far as it goes; to be called from a tick. */
void access_log_flush(struct access_log *log);

#endif
