/* One connection to the server under test, with at most one request at a time. */
#ifndef TWINHTTPD_LOADTEST_PROBER_CONNECTION_H
#define TWINHTTPD_LOADTEST_PROBER_CONNECTION_H

#include "common/base/buffer.h"
#include "loadtest/prober/options.h"
#include "loadtest/prober/outcome.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <llhttp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum connection_state {
    CONNECTION_CLOSED,
    CONNECTION_OPENING,
    CONNECTION_IDLE,
    CONNECTION_BUSY,
    CONNECTION_ENDING /* its last answer has come; the server closes */
};

/* Why a connection without a request is closed now. */
enum connection_end {
    CONNECTION_END_CONNECT_FAILED,
    CONNECTION_END_REFUSED,
    CONNECTION_END_IDLE,     /* the server has closed it */
    CONNECTION_END_ANNOUNCED /* as its last answer had announced */
};

enum { CONNECTION_BODY_BYTES = 512 };

struct connection {
    struct client *client;
    unsigned number; /* among those of its client */
    enum connection_state state;
    int fd;
    struct event event;
    short watched;
    int error; /* of a call that failed where no callback may be called */

    bool has_request;
    uint64_t intended_ns;
    uint64_t started_ns;
    size_t sent_bytes;

    llhttp_t parser;
    bool answer_begun;
    bool answer_complete;
    bool keeps_open;
    size_t body_bytes;
    char body[CONNECTION_BODY_BYTES]; /* the first bytes, if the client wants to read them */

    uint64_t since_ns; /* what it is waiting for now; for the owner */
    TAILQ_ENTRY(connection) free_link;
    TAILQ_ENTRY(connection) timed_link;
};

/* What all connections have in common. The callbacks come from the event loop only, never from
 * within a call to a connection. */
struct client {
    struct event_base *base;
    const struct prober_options *options;
    struct buffer request;
    bool reads_answers; /* they tell who answers */
    void *owner;
    void (*opened)(struct connection *connection);
    /* The connection is idle, ending or closed. */
    void (*answered)(struct connection *connection, enum outcome outcome);
    void (*closed)(struct connection *connection, enum connection_end end);
    void (*failed)(struct client *client, const char *what, int error);
};

void connection_init(struct connection *connection, struct client *client, unsigned number);

/* Of a closed connection. */
void connection_open(struct connection *connection);
/* On an idle connection, or on a closed one, which is opened for it. */
void connection_request(struct connection *connection, uint64_t intended_ns, uint64_t now_ns);
/* Closes it without a callback; a request on it is forgotten. */
void connection_drop(struct connection *connection);

/* Of the last answer; 0: there was none. */
unsigned connection_status(const struct connection *connection);
/* A number that the last answer, JSON, has under a name: such as `"pid":`. False: it has none. */
bool connection_is_told(const struct connection *connection, const char *name, uint64_t *number);

#endif
