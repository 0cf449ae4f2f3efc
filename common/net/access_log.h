/* The access log: a line a response, made when it has been sent, collected and written in batches.
 * One for each event loop; all append to the same file, whole lines at a time. Nobody waits for it:
 * lines that cannot be written now wait in memory, up to 256 KiB of them; those beyond are lost,
 * which the error log tells with their number. */
#ifndef TWINHTTPD_COMMON_NET_ACCESS_LOG_H
#define TWINHTTPD_COMMON_NET_ACCESS_LOG_H

#include "common/config/config.h"
#include "common/http/exchange.h"

#include <pthread.h>

struct access_log;
struct durable_lines;

/* fd: opened for appending, owned by the caller. process: its number, as the master counts. */
struct access_log *access_log_create(int fd, enum config_access_log_format format,
                                     uint32_t process);

/* Collects in memory that outlives the process, behind what a predecessor has left there; before
 * anything else is done. A line has at most 64 KiB then: long fields are cut. turn: whose loops
 * write through this fd, one at a time, if nobody but this process does; NULL: others do, too, so
 * that its position tells nothing. Both are the caller's. */
void access_log_keep(struct access_log *log, struct durable_lines *lines, pthread_mutex_t *turn);

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

/* ---- With access_log_keep: each line once, whenever the process dies (durable_lines.h) ---- */

bool access_log_is_kept(const struct access_log *log);

/* Whether one more answer may be noted before what is noted and deferred of its connection is sent.
 */
bool access_log_may_note(const struct access_log *log, const struct buffer *deferred);

/* Before each attempt to send: the lines of the connection with this number, noted or deferred, are
 * to be added by a successor if the answers turn out to be sent. What adds them, or defers them,
 * ends that. Without access_log_keep it does nothing. */
void access_log_offer(struct access_log *log, uint32_t record, const struct buffer *deferred,
                      uint64_t sent_bytes);

/* Not all of a connection's answers are sent: those deferred lines whose answers are get the time
 * of now, and wait for the others. */
void access_log_stamp(struct access_log *log, struct buffer *deferred, uint64_t sent_bytes);

/* ---- For a successor, before anything is noted, in this order ---- */

/* Whether the predecessor died while it wrote; then *fd of that generation knows how far it came.
 */
bool access_log_writer(const struct access_log *log, uint32_t *generation, int *fd);

/* Asks it: a copy of that descriptor, which the caller closes. Without that, what was being written
 * is written once more. */
void access_log_ask_writer(struct access_log *log, int fd);

/* Whether there are lines of a connection that was sending; its number. */
bool access_log_offered(const struct access_log *log, uint32_t *record);

/* Goes on with that connection, if it is this one: adds the lines of its answers that are sent and
 * are not made again. Answers are made again from this place of the connection on; UINT64_MAX:
 * none. */
void access_log_accept(struct access_log *log, uint32_t record, uint64_t made_again_from);

/* Nobody goes on with it: adds the lines as access_log_cut does. */
void access_log_accept_cut(struct access_log *log);

/* ---- Writing ---- */

/* Writes what is left, for which a slow reader is given 250 ms. What it does not take is lost. */
void access_log_finish(struct access_log *log);

/* Writes the batch, as far as it goes; to be called from a tick. */
void access_log_flush(struct access_log *log);

#endif
