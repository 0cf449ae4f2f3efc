/* The durable part of connections: what somebody must know to go on with them when the process that
 * served them has died, between any two of its instructions. It lies in an area of memory that
 * outlives the process; the sockets themselves must be kept open by other means.
 *
 * Each connection has a record. All that says how far it has come is one word of it, so that every
 * step is one store: whoever reads the record finds the state before the step or after it. What the
 * word tells of (where the input lies, what the output is made of) has two places of which a bit of
 * the word chooses one: the other is filled first.
 *
 * Two numbers are never written down, because the kernel knows them: how many bytes were read from
 * the socket and how many were written to it (tcp_account.h). What was read lies in the area, from
 * the first byte of the first request that is not answered in full; what was written is made again
 * from that. A successor believes nothing that it cannot check: the dead may have been an
 * attacker's.
 *
 * Which step may follow which is told by one table, durable_states.h; one that may not is a mistake
 * of this process, and ends it.
 *
 * An area belongs to one event loop; all functions are for its thread. */
#ifndef TWINHTTPD_COMMON_NET_DURABLE_H
#define TWINHTTPD_COMMON_NET_DURABLE_H

#include "common/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct durable;
struct durable_record;

enum { DURABLE_ATTEMPTS_MOST = 15, DURABLE_BEGUN_MOST = 100 };

/* What was being written when the last step was made. */
struct durable_output {
    uint64_t begins_at;  /* so many bytes had been written before it since the connection began */
    uint64_t bytes;      /* of the answers in it that were complete */
    uint64_t digest;     /* of these; 0: nobody can make them again */
    uint32_t answers;    /* that are complete */
    bool closes;         /* the last of them is the connection's last */
    int64_t date_second; /* which their Date lines show */
};

/* How far a connection has come. */
struct durable_state {
    uint32_t consumed; /* bytes of the input that belong to requests that are answered in full */
    uint8_t begun;     /* requests behind those whose handlers have begun, once at least */
    uint8_t answered;  /* of these, the first: their answers are in the output */
    uint8_t suspect;   /* the how manieth of them was at work at the last death; 0: none */
    uint8_t attempts;  /* how much the deaths under it weigh */
    bool has_input;    /* else all that was read is consumed */
    bool interim_put;  /* the first one's 100 (Continue) is a part of the output */
    bool interim_sent; /* ... and has been sent */
    bool closing;      /* the last answer is sent: nothing more is read or written */
};

/* ---- The area ---- */

/* How large an area for so many connections must be; most of it is never touched. */
size_t durable_area_bytes(size_t connections);

/* Makes use of an area of that size: of zeros, or one that a predecessor has left, whose records
 * are then to be taken with durable_next and each adopted or dropped before anything else is done.
 * The area is the caller's, and must outlive the result. generation is this process's; no other
 * that uses the area has the same. */
struct durable *durable_open(void *area, size_t connections, uint32_t generation);
void durable_close(struct durable *durable);

/* ---- A connection's life ---- */

/* The next socket that comes into the process's table of descriptors will have a record: a new one
 * of the loop's listening sockets (cookie 0), or the one with that cookie (SO_COOKIE) that another
 * loop has sent with that claim (0: none). A successor looks for it. durable_enter ends it. */
void durable_expect(struct durable *durable, uint64_t cookie, uint64_t claim);
void durable_expect_nothing(struct durable *durable);

/* A record for a socket of which nothing is at hand. claim: it is this process's only if that is,
 * until it is settled; 0: there is none. NULL: none is free. */
struct durable_record *durable_enter(struct durable *durable, int fd, uint64_t claim);

/* Closes the socket, frees the record and gives its input's memory back. */
void durable_leave(struct durable *durable, struct durable_record *record, int fd,
                   struct buffer *input);

/* The socket is about to be sent to somebody else: whose it is, the claim decides from then on. */
void durable_pend(struct durable_record *record, uint64_t claim);

/* Nobody is to go on with the connection any more: durable_leave follows, if not at once. */
void durable_end(struct durable_record *record);

/* It is this process's. */
void durable_settle(struct durable_record *record);

/* Frees the record of a connection that goes on without: its process's death will cut it. What is
 * not consumed of the input moves to memory of the process's own. */
void durable_abandon(struct durable *durable, struct durable_record *record, struct buffer *input);

/* ---- Input ---- */

/* Memory for what is read next, which is byte read_bytes of all that the client sends: an empty
 * buffer, which must not be grown or freed. All before that is consumed. False: there is none. */
bool durable_input_take(struct durable *durable, struct durable_record *record, uint64_t read_bytes,
                        size_t bytes, struct buffer *input);

/* Moves what is not consumed to other memory with room for at least so many bytes behind it; the
 * buffer begins with it then. False: there is none, and all is as before. */
bool durable_input_move(struct durable *durable, struct durable_record *record,
                        struct buffer *input, size_t room);

/* Whether no successor would need the input. What an honest predecessor leaves is needed until all
 * of it is consumed; another one can have begun requests that are not there. */
bool durable_may_give(const struct durable_record *record);

/* Then: gives the memory back and leaves a buffer without. */
void durable_input_give(struct durable *durable, struct durable_record *record,
                        struct buffer *input);

/* ---- Steps ---- */

/* A request's handler is about to begin, or its answer to be made without. written_bytes: what was
 * written since the connection began. */
void durable_begin(struct durable_record *record, uint64_t written_bytes);

/* Its answer is complete. */
void durable_answered(struct durable_record *record);

/* "100 Continue" is about to be put into an empty output. */
void durable_interim(struct durable_record *record, uint64_t written_bytes);

/* Before each attempt to send: what the answers that are complete have come to. put_bytes: all that
 * is or was to be written since the connection began. */
struct durable_offer {
    uint64_t digest;
    int64_t date_second;
    bool closes;
};
void durable_sending(struct durable_record *record, uint64_t put_bytes,
                     const struct durable_offer *offer);

/* All of that has been sent: so many bytes of the input are consumed. Those that have begun and are
 * not answered remain so. written_bytes: all since the connection began. closing: that was the
 * last. */
void durable_sent(struct durable_record *record, size_t consumed, uint64_t written_bytes,
                  bool closing);

/* Its number among those of its area. */
uint32_t durable_index(const struct durable *durable, const struct durable_record *record);

struct durable_state durable_state(const struct durable_record *record);
struct durable_output durable_output(const struct durable_record *record);

/* ---- Adoption ---- */

/* The next record that a predecessor has left, in whatever order; NULL: there is none any more.
 * *generation and *fd tell whose descriptor it is. Those that cannot be believed are left out. All
 * are to be had before any is adopted. */
struct durable_record *durable_next(struct durable *durable, size_t *cursor, uint32_t *generation,
                                    int *fd);

/* How many were left out, as they cannot be believed. */
uint64_t durable_disbelieved(const struct durable *durable);

/* What decides whose the record's socket is; 0: it is the process's that has left the record. Then
 * *generation is that one's. */
uint64_t durable_claim(const struct durable_record *record, uint32_t *generation);

/* What a predecessor expected, and did not come to enter. False: nothing. */
struct durable_expected {
    uint32_t generation; /* the predecessor's */
    uint64_t cookie;
    uint64_t claim;
};
bool durable_expected(const struct durable *durable, struct durable_expected *expected);

/* Puts the descriptors of that generation which have records into fds, in whatever order; returns
 * how many there are. There is room for as many as there may be connections. */
size_t durable_descriptors(const struct durable *durable, uint32_t generation, int *fds);

/* Takes over a record: the socket is this process's fd, and the dead one has read so many bytes.
 * *input is what it had at hand. A record that cannot be believed gives false; it is to be dropped
 * then. */
bool durable_adopt(struct durable *durable, struct durable_record *record, int fd,
                   uint64_t read_bytes, struct buffer *input);

/* What has begun begins again. blame: so much weighs the death under the request that was at work,
 * if there was one; 0: nothing. keep_output: behind the answers that the output tells of, because
 * some of it has been sent; else with the first, and an output of which nothing is known. */
void durable_restart(struct durable_record *record, bool keep_output, uint32_t blame);

/* Frees a record that is not adopted. */
void durable_drop(struct durable *durable, struct durable_record *record);

/* Gives memory back to the kernel that a peak has needed; about once a second. True: there may be
 * more, and the next call need not wait so long. */
bool durable_trim(struct durable *durable);

#endif
