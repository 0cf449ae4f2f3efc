#include "loadtest/prober/connection.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 65536 };

/* ---- The answer ---- */

static int on_body(llhttp_t *parser, const char *data, size_t bytes)
{
    struct connection *connection = parser->data;
    size_t room = sizeof(connection->body) - connection->body_bytes;
    size_t kept = bytes < room ? bytes : room;
    if (connection->client->reads_answers) {
        memcpy(connection->body + connection->body_bytes, data, kept);
        connection->body_bytes += kept;
    }
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct connection *connection = parser->data;
    if (parser->status_code < 200) { /* an interim answer: the real one follows */
        return 0;
    }
    connection->answer_complete = true;
    connection->keeps_open = llhttp_should_keep_alive(parser) != 0;
    return HPE_PAUSED;
}

static const llhttp_settings_t parser_settings = {
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void expect_answer(struct connection *connection)
{
    llhttp_init(&connection->parser, HTTP_RESPONSE, &parser_settings);
    connection->parser.data = connection;
    connection->answer_begun = false;
    connection->answer_complete = false;
    connection->body_bytes = 0;
    connection->sent_bytes = 0;
}

unsigned connection_status(const struct connection *connection)
{
    return connection->answer_complete ? connection->parser.status_code : 0;
}

bool connection_is_told(const struct connection *connection, const char *name, uint64_t *number)
{
    if (!connection->answer_complete) {
        return false;
    }
    const char *found = memmem(connection->body, connection->body_bytes, name, strlen(name));
    const char *end = connection->body + connection->body_bytes;
    if (found == NULL) {
        return false;
    }
    *number = 0;
    const char *digit = found + strlen(name);
    for (; digit < end && *digit >= '0' && *digit <= '9'; digit++) {
        *number = *number * 10 + (uint64_t)(*digit - '0');
    }
    return digit > found + strlen(name);
}

/* ---- Socket and event ---- */

static void on_event(evutil_socket_t fd, short what, void *argument);

static void watch(struct connection *connection, short what)
{
    if (connection->watched == what) {
        return;
    }
    if (connection->watched != 0) {
        event_del(&connection->event);
    }
    if (event_assign(&connection->event, connection->client->base, connection->fd,
                     (short)(what | EV_PERSIST), on_event, connection) != 0 ||
        event_add(&connection->event, NULL) != 0) {
        abort(); /* libevent is out of memory */
    }
    connection->watched = what;
}

void connection_init(struct connection *connection, struct client *client, unsigned number)
{
    *connection = (struct connection){.client = client, .number = number, .fd = -1};
}

void connection_drop(struct connection *connection)
{
    if (connection->watched != 0) {
        event_del(&connection->event);
        connection->watched = 0;
    }
    if (connection->fd >= 0) {
        close(connection->fd);
        connection->fd = -1;
    }
    connection->state = CONNECTION_CLOSED;
    connection->has_request = false;
}

/* Has on_event called from the event loop, as if the kernel had told it. */
static void call_soon(struct connection *connection, short what)
{
    event_active(&connection->event, what, 0);
}

static int begin_connect(struct connection *connection)
{
    const struct prober_options *options = connection->client->options;
    const int on = 1;
    connection->fd =
        socket(options->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
        return errno;
    }
    if (connect(connection->fd, (const struct sockaddr *)&options->address,
                (socklen_t)options->address_bytes) != 0 &&
        errno != EINPROGRESS) {
        return errno;
    }
    return 0;
}

void connection_open(struct connection *connection)
{
    assert(connection->state == CONNECTION_CLOSED);
    connection->state = CONNECTION_OPENING;
    connection->error = begin_connect(connection);
    if (connection->error == 0) {
        watch(connection, EV_WRITE);
        return;
    }
    if (event_assign(&connection->event, connection->client->base, -1, 0, on_event, connection) !=
        0) {
        abort();
    }
    connection->watched = EV_TIMEOUT; /* not 0: what is called soon must be deleted as well */
    call_soon(connection, EV_WRITE);
}

static void send_request(struct connection *connection)
{
    const struct buffer *request = &connection->client->request;
    size_t left = request->len - connection->sent_bytes;
    ssize_t sent = send(connection->fd, request->data + connection->sent_bytes, left, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        /* Reading tells how the connection has ended. */
        connection->sent_bytes = request->len;
        watch(connection, EV_READ);
        call_soon(connection, EV_READ);
        return;
    }
    connection->sent_bytes += sent > 0 ? (size_t)sent : 0;
    bool is_sent = connection->sent_bytes == request->len;
    watch(connection, is_sent ? EV_READ : (short)(EV_READ | EV_WRITE));
}

void connection_request(struct connection *connection, uint64_t intended_ns, uint64_t now_ns)
{
    assert(!connection->has_request);
    connection->has_request = true;
    connection->intended_ns = intended_ns;
    connection->started_ns = now_ns;
    expect_answer(connection);
    if (connection->state == CONNECTION_CLOSED) {
        connection_open(connection);
    } else {
        assert(connection->state == CONNECTION_IDLE);
        connection->state = CONNECTION_BUSY;
        send_request(connection);
    }
}

/* ---- What the event loop tells ---- */

/* The request's times stay readable for the callback. */
static void end_request(struct connection *connection, enum outcome outcome,
                        enum connection_state next)
{
    if (next == CONNECTION_CLOSED) {
        connection_drop(connection);
    }
    connection->state = next;
    connection->has_request = false;
    connection->client->answered(connection, outcome);
}

static void end_connect(struct connection *connection, int error)
{
    bool is_refused = error == ECONNREFUSED;
    bool had_request = connection->has_request;
    struct client *client = connection->client;
    client->failed(client, "connect", error);
    connection_drop(connection);
    if (had_request) {
        client->answered(connection, is_refused ? OUTCOME_REFUSED : OUTCOME_CONNECT_ERROR);
    } else {
        client->closed(connection,
                       is_refused ? CONNECTION_END_REFUSED : CONNECTION_END_CONNECT_FAILED);
    }
}

static void finish_connect(struct connection *connection)
{
    int error = connection->error;
    socklen_t length = sizeof(error);
    if (error == 0 && getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        error = errno;
    }
    if (error != 0) {
        end_connect(connection, error);
        return;
    }
    connection->state = connection->has_request ? CONNECTION_BUSY : CONNECTION_IDLE;
    watch(connection, EV_READ);
    connection->client->opened(connection);
    if (connection->state == CONNECTION_BUSY) {
        send_request(connection);
    }
}

static void answer_is_complete(struct connection *connection)
{
    unsigned status = connection->parser.status_code;
    enum outcome outcome = status < 400 ? OUTCOME_OK : OUTCOME_BAD_STATUS;
    enum connection_state next = CONNECTION_IDLE;
    if (!connection->keeps_open) {
        next = CONNECTION_ENDING;
    } else if (connection->client->options->connect_per_request) {
        next = CONNECTION_CLOSED;
    }
    end_request(connection, outcome, next);
}

static void parse(struct connection *connection, const char *data, size_t bytes)
{
    connection->answer_begun = true;
    llhttp_errno_t error = llhttp_execute(&connection->parser, data, bytes);
    if (connection->answer_complete) {
        size_t used = (size_t)(llhttp_get_error_pos(&connection->parser) - data);
        if (error == HPE_PAUSED && used == bytes) {
            answer_is_complete(connection);
        } else {
            end_request(connection, OUTCOME_MALFORMED, CONNECTION_CLOSED);
        }
    } else if (error != HPE_OK) {
        end_request(connection, OUTCOME_MALFORMED, CONNECTION_CLOSED);
    }
}

/* An answer without a length ends here; any other one is cut. */
static void end_of_stream(struct connection *connection)
{
    if (!connection->answer_begun) {
        end_request(connection, OUTCOME_CLOSED_BEFORE, CONNECTION_CLOSED);
        return;
    }
    llhttp_finish(&connection->parser);
    if (connection->answer_complete) {
        answer_is_complete(connection);
    } else {
        end_request(connection, OUTCOME_CLOSED_WITHIN, CONNECTION_CLOSED);
    }
}

static void read_answer(struct connection *connection)
{
    char data[READ_BYTES];
    ssize_t got = recv(connection->fd, data, sizeof(data), 0);
    if (got > 0) {
        parse(connection, data, (size_t)got);
    } else if (got == 0) {
        end_of_stream(connection);
    } else if (errno != EAGAIN) {
        connection->client->failed(connection->client, "receive", errno);
        end_request(connection,
                    connection->answer_begun ? OUTCOME_RESET_WITHIN : OUTCOME_RESET_BEFORE,
                    CONNECTION_CLOSED);
    }
}

/* Nothing is asked here, so there is nothing to be told but the end. A server that says a word
 * before it closes (408) is not listened to. */
static void read_without_request(struct connection *connection)
{
    char data[READ_BYTES];
    if (recv(connection->fd, data, sizeof(data), 0) < 0 && errno == EAGAIN) {
        return;
    }
    enum connection_end end =
        connection->state == CONNECTION_ENDING ? CONNECTION_END_ANNOUNCED : CONNECTION_END_IDLE;
    connection_drop(connection);
    connection->client->closed(connection, end);
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    struct connection *connection = argument;
    switch (connection->state) {
    case CONNECTION_OPENING:
        finish_connect(connection);
        break;
    case CONNECTION_BUSY:
        if ((what & EV_WRITE) != 0) {
            send_request(connection);
        } else {
            read_answer(connection);
        }
        break;
    case CONNECTION_IDLE:
    case CONNECTION_ENDING:
        read_without_request(connection);
        break;
    case CONNECTION_CLOSED:
        break;
    }
}
