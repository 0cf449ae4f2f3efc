/* The durable part of an access log: lines that are not written yet, and what somebody must know to
 * write each of them once when the process that collected them has died, between any two of its
 * instructions. It lies in an area of memory that outlives the process (compare durable.h).
 *
 * - The batch: lines that are to be written, one behind the other. One word says where it begins
 *   and ends, so that lines are added, and leave it, by a single store.
 * - The offer: the lines of the connection that is just about to send, in the form of its owner
 *   (access_log.c), with the number of its record. From before the attempt to send until it is
 * noted what has become of it. The store that adds its lines to the batch ends the offer. So a
 *   successor that finds an answer sent finds its line, too: here, or in the batch, or written.
 * - Whether the batch is being written, through which descriptor, and whether that one's position
 *   tells the outcome (log_position.h).
 *
 * A successor writes what its predecessor could have written itself, and believes no length. An
 * area belongs to one event loop; all functions are for its thread. */
#ifndef TWINHTTPD_COMMON_NET_DURABLE_LINES_H
#define TWINHTTPD_COMMON_NET_DURABLE_LINES_H

#include "common/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DURABLE_BATCH_BYTES = 512 * 1024, /* that a batch may have */
    DURABLE_OFFER_BYTES = 512 * 1024
};

struct durable_lines;

/* How large an area must be; most of it is never touched. */
size_t durable_lines_area_bytes(void);

/* Makes use of an area of that size: of zeros, or one that a predecessor has left. It is the
 * caller's, begins a page, and must outlive the result. generation is this process's; no other that
 * uses the area has the same. Ended by durable_lines_close, which leaves the area alone. */
struct durable_lines *durable_lines_open(void *area, uint32_t generation);
void durable_lines_close(struct durable_lines *lines);

/* There is no log any more: forgets what is left. */
void durable_lines_drop(struct durable_lines *lines);

/* ---- The batch ---- */

/* As it was left: a buffer in the area. It is filled in place, and must not be grown or freed. */
struct buffer durable_lines_batch(const struct durable_lines *lines);

/* Makes room for so many bytes behind it, if need be by moving it. Together they are
 * DURABLE_BATCH_BYTES at most. */
void durable_lines_make_room(struct durable_lines *lines, struct buffer *batch, size_t bytes);

/* All that is in the batch now counts, and nothing is offered any more. */
void durable_lines_commit(struct durable_lines *lines, const struct buffer *batch);

/* It is about to be written to fd. has_position: log_position_prepare was called. */
void durable_lines_writing(struct durable_lines *lines, int fd, bool has_position);

/* Nothing is being written any more: so many bytes leave its beginning. */
void durable_lines_written(struct durable_lines *lines, struct buffer *batch, size_t bytes);

/* ---- The offer ---- */

/* Lines of DURABLE_OFFER_BYTES at most. sent_bytes: what the connection has sent so far. */
void durable_lines_offer(struct durable_lines *lines, uint32_t record, const struct buffer *noted,
                         uint64_t sent_bytes);

/* Ends it: nothing has become of it. */
void durable_lines_withdraw(struct durable_lines *lines);

/* ---- What a predecessor has left ---- */

/* Whether it died while it wrote the batch, and *fd of that generation can tell how far it came. */
bool durable_lines_are_open(const struct durable_lines *lines, uint32_t *generation, int *fd);

/* Whether there is an offer; *noted is a copy of its lines then, which the caller frees. NULL: only
 * its record is asked for. */
bool durable_lines_offered(const struct durable_lines *lines, uint32_t *record,
                           struct buffer *noted, uint64_t *sent_bytes);

#endif
