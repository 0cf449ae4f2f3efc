/* A connection from inside: what the connection_*.c files share. connection.c owns it, and decides
 * when; connection_requests.c reads and answers, connection_sending.c sends and logs,
 * connection_input.c keeps what a successor needs, connection_adoption.c and connection_replay.c
 * are that successor, connection_linger.c sees it out, connection_eviction.c makes room,
 * connection_journal.c keeps the books, connection_handover.c moves it to another worker, where it
 * comes to connection_arrival.c.
 */
#ifndef TWINHTTPD_COMMON_NET_CONNECTION_INTERNAL_H
#define TWINHTTPD_COMMON_NET_CONNECTION_INTERNAL_H

#include "common/net/connection.h"
#include "common/net/loop.h"
#include "common/net/output.h"
#include "common/net/reader_pace.h"

#include <event2/event_struct.h>

enum { CONNECTION_READ_BYTES = 16384 }; /* room offered to one read */

/* What the input side is doing. */
enum connection_phase {
    PHASE_WAITING, /* no byte of the next request yet */
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_HANDLING, /* the exchange is with another thread: hands off it, and off the input */
    PHASE_CLOSING,  /* the last response is being sent; input is ignored */
    PHASE_LINGERING /* all is sent: read and discard, so that a reset does not destroy it */
} __attribute__((packed));
enum { CONNECTION_PHASES = PHASE_LINGERING + 1 };

/* Ten thousands of them wait: what one takes is counted (lab scale). */
struct connection {
    struct event event; /* one of EV_READ and EV_WRITE is watched, or none */
    int fd;
    enum connection_phase phase;
    enum connection_place place;
    bool watching_read;
    bool sending; /* output is blocked; EV_WRITE is watched */
    bool idle;    /* counted in the slot's gauge */
    bool served;  /* has had a response, so that it waits for as long as others like it */
    bool counted; /* in the slot's gauge of open connections */
    bool mortal;  /* in the gauge of those that do not outlive their process */
    bool lost;    /* it cannot be gone on with, although its process has adopted it */
    bool must_linger;
    bool doomed;         /* to be destroyed when its exchange comes back */
    bool begun;          /* the request at hand is noted as such in the record */
    uint32_t unfinished; /* requests counted as started, not yet as finished */
    uint32_t answered;   /* of these, those whose response is in the output */
    uint64_t deadline_ms;
    uint64_t waiting_since_ms; /* for a request; of a lingering one, for its end */
    uint64_t owed_since_ns;    /* when the first byte of the first unfinished request was read */
    uint64_t read_ns;          /* when anything was read last; each other one began with that */
    struct reader_pace pace;   /* while output is blocked */
    struct loop *loop;
    struct http_exchange *exchange; /* while a request is being read, handled or answered */
    struct buffer input;
    size_t input_used;    /* bytes of input that earlier requests took */
    size_t request_start; /* where the request at hand begins in it */
    uint64_t read_bytes;  /* all, since the connection began; or since it lingers */
    /* What a successor of this process goes on with; NULL: nobody does. */
    struct durable_record *record;
    uint32_t input_done;   /* bytes of input that belong to requests whose answers are sent */
    uint32_t date_second;  /* that the Date lines of the answers in the output show */
    uint64_t digest;       /* of these answers */
    struct replay *replay; /* what its predecessor had begun to answer; NULL: nothing */
    struct output output;
    uint64_t put_bytes;     /* into the output, since the connection began */
    uint64_t sent_bytes;    /* of these */
    struct buffer unlogged; /* lines of answers that are still being sent */
    struct client_address client;
    TAILQ_ENTRY(connection) link;
};

static inline const struct config *connection_config(const struct connection *c)
{
    return c->loop->options.config;
}

/* ---- connection.c ---- */

/* One more in the loop's list and gauge; nothing is watched and no deadline set. */
struct connection *connection_enter(struct loop *loop, int fd, const struct client_address *client);

/* Counts a client that was let in before, by another loop or process: whatever the limit says. */
void connection_count_client(struct loop *loop, const struct client_address *client);

/* Goes on to the next phase, which must be one that can follow. */
void connection_set_phase(struct connection *c, enum connection_phase phase);

/* Puts it at the end of another of the loop's lists. */
void connection_move(struct connection *c, enum connection_place place);

/* Which of the socket's events are waited for. */
void connection_watch_read(struct connection *c);
void connection_watch_write(struct connection *c);
void connection_watch_nothing(struct connection *c);

/* Gets ready for the next request, and gives it so long to come. */
void connection_wait_for_request(struct connection *c, uint64_t timeout_ms);

/* All of a response has been sent that has the connection given away (http_response_detach): does
 * so, and forgets it. */
void connection_give_away(struct connection *c);

/* Gives the input's memory back. */
void connection_give_back_input(struct connection *c);

/* Goes on with what has been received, in the loop's first turn: answers it, in order, and sends
 * the answers in as few calls as possible. A handler may take its time, or never come back, and the
 * process is to be ready before. */
void connection_advance_soon(struct connection *c);

/* Gives back the memory that a connection need not hold while it waits for its client. */
void connection_hold_little(struct connection *c);

/* Whether the kernel holds bytes from the client. */
bool connection_has_unread_input(const struct connection *c);

/* ---- connection_input.c: of a connection with a record ---- */

/* Makes room behind the input. False: there is none in the durable area, and the connection has no
 * record any more. */
bool connection_input_prepare(struct connection *c);

/* Whether its record can tell of one more request before what is in the output is sent. */
bool connection_input_may_step(const struct connection *c);

/* Gives its memory back if nobody, here or after this process, needs what is left of it. */
void connection_input_hold_little(struct connection *c);

/* ---- connection_requests.c ---- */

/* One step with the input at hand. False: more input, or another thread, is needed. */
bool connection_requests_step(struct connection *c);

/* Answers a request that cannot be followed to its end: the connection ends with it. */
void connection_requests_refuse(struct connection *c, struct http_refusal refusal);

/* The response is complete: puts it into the output and gets ready for the next request. The
 * exchange keeps what was asked and answered until that comes, or the connection rests. */
void connection_requests_respond(struct connection *c);

/* ---- connection_replay.c ---- */

/* What becomes of a request that the predecessor had read. */
enum replay_step {
    REPLAY_RUN,
    REPLAY_RUN_HERE, /* at once: others wait for what it answers */
    REPLAY_ANSWERED, /* the response says why it is not run again */
    REPLAY_SKIP      /* its answer has been sent */
};

/* With c->replay: the next request is complete, and has a route or a response. */
enum replay_step connection_replay_next(struct connection *c);

/* With c->replay: whether "100 Continue" is to be said to the request at hand. */
void connection_replay_expectation(const struct connection *c, bool *body_has_begun);

/* With c->replay: whether what is put into the output is a part of what the record tells of. */
bool connection_replay_is_silent(const struct connection *c);

/* Then: the line "Date: ..." of it. */
struct span connection_replay_date(const struct connection *c);

/* With c->replay: whether nothing more is answered behind the answer at hand. What is made again
 * was decided before, and who has left is told nothing. */
bool connection_replay_closes(const struct connection *c);

static inline bool connection_is_silent(const struct connection *c)
{
    return c->replay != NULL && connection_replay_is_silent(c);
}

/* With c->replay: whether one more step may be made before the next. */
bool connection_replay_may_step(const struct connection *c);

/* With c->replay, before anything is sent. False: nothing is to be sent, and the connection has
 * ended, as the answer of which a part has been sent cannot be made again; or as its client has
 * left: then it waits for a request that another thread works on, if there is one. */
bool connection_replay_goes_on(struct connection *c);

/* Forgets it. */
void connection_replay_end(struct connection *c);

/* ---- connection_arrival.c ---- */

struct passport;

/* A connection that another loop has sent, or that a predecessor was just receiving: takes its
 * socket over, and closes it if somebody else has it. */
void connection_arrive(struct loop *loop, int fd, const struct client_address *client,
                       const struct passport *passport);

/* ---- connection_linger.c ---- */

/* All is sent, and the client may not know yet that nothing more will be read: reads on and
 * discards. */
void connection_linger_begin(struct connection *c);

/* It can be read. May end it. */
void connection_linger_read(struct connection *c);

/* Its deadline has passed. May end it. */
void connection_linger_expire(struct connection *c, uint64_t now_ms);

/* ---- connection_sending.c ---- */

/* Sends what is in the output. True: all of it, and the connection goes on. False: it waits, or it
 * has ended and is gone. */
bool connection_sending_flush(struct connection *c);

/* An answer is in the output: it becomes a line of the access log when it has been sent. where is
 * how it lies in all that the connection sends; the exchange is still what it was answered with. */
void connection_sending_note(struct connection *c, const struct access_log_extent *where);

/* Whether one more answer may become a line before what is in the output is sent. */
bool connection_sending_may_note(const struct connection *c);

/* Nothing more will be sent: writes the lines of what has not been, or in part. Nobody goes on with
 * the connection, if there are such. */
void connection_sending_log_cut(struct connection *c);

/* Nothing more will be sent, and another thread works on a request: the lines wait for its own,
 * since a successor makes all of them. Where nobody does, they are written. */
void connection_sending_log_later(struct connection *c);

/* Has the connection end with a reset: else the kernel would keep what the client does not read,
 * and go on trying to send it for long after it is gone. */
void connection_sending_reset_at_end(struct connection *c);

/* Drops what is in the output, and what the loop has counted for it. */
void connection_sending_drop(struct connection *c);

/* Moves the deadline of a blocked output if the client has taken something. */
void connection_sending_extend(struct connection *c, uint64_t sent);

/* Ends a connection whose client reads too slowly. */
void connection_sending_cut(struct connection *c);

/* ---- connection_journal.c ---- */

void connection_journal_started(struct connection *c);

/* It has no record, where others have one. */
void connection_journal_mortal(struct connection *c);

/* Books the answers in the output as sent; returns how many. Behind it, when they have been sent,
 * comes connection_journal_took. */
uint32_t connection_journal_finished(struct connection *c);

/* The opposite: they were not sent after all. */
void connection_journal_not_finished(struct connection *c, uint32_t answered);

/* So many have been sent just now: books how long each took since its request began. */
void connection_journal_took(struct connection *c, uint32_t answers);

/* Takes the connection out of the gauges of open and idle ones. */
void connection_journal_leave(struct connection *c);

/* What it has asked for will not be answered. */
void connection_journal_ended(struct connection *c);

/* So much has become of what a predecessor has left. */
void connection_journal_adoption(struct loop *loop, enum adoption_kind kind, uint64_t amount);

/* A connection that it has left is not gone on with. */
void connection_journal_lost(struct loop *loop, const struct durable_record *record);

/* Answers that it has sent, with its connection's last one, and that will not come up again. */
void connection_journal_last(struct connection *c, uint32_t answers);

#endif
