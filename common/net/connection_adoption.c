#include "common/base/check.h"
#include "common/base/digest.h"
#include "common/base/memory.h"
#include "common/net/connection_internal.h"
#include "common/net/durable.h"
#include "common/net/tcp_account.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CRASHES_FORGIVEN = 1, /* of a process, under one and the same request */
    KILLS_FORGIVEN = 2
};

/* What has been sent of what the predecessor had in its output. */
enum replay_part { REPLAY_NOTHING, REPLAY_A_PART, REPLAY_ALL };

/* What a successor has before it: the requests that had begun come up again, from the input. */
struct replay {
    struct durable_state state;
    struct durable_output output;
    enum replay_part part;
    uint64_t sent; /* of the output's bytes */
    uint32_t met;  /* requests that have come up so far */
    uint32_t forgiven;
    char date_line[DATE_LINE_BYTES];
    size_t date_line_bytes;
};

/* How an adopted connection stands. */
enum standing { STANDS_WELL, STANDS_AT_ITS_END, STANDS_NOWHERE };

/* ---- What comes up again ---- */

/* Whether its handler may run once more although it may have run before (RFC 9110, 9.2.2). */
static bool may_be_repeated(const struct http_exchange *exchange)
{
    enum http_method method = exchange->request.method;
    return exchange->route == NULL || exchange->route->repeatable || method == METHOD_GET ||
           method == METHOD_HEAD || method == METHOD_OPTIONS;
}

/* Its answer has been sent. */
static void skip(struct connection *c)
{
    const struct replay *replay = c->replay;
    c->answered++;
    connection_journal_finished(c);
    c->served = true;
    connection_wait_for_request(c, connection_config(c)->idle_timeout_ms);
    if (replay->met == replay->output.answers) {
        durable_sent(c->record, c->input_used, c->sent_bytes, false);
        c->input_done = c->request_start = c->input_used;
    }
}

static enum replay_step refuse(struct connection *c, unsigned status)
{
    struct http_response *response = &c->exchange->response;
    http_response_reset(response);
    http_response_error(response, status);
    c->exchange->route = NULL;
    c->loop->adoption.refused++;
    return REPLAY_ANSWERED;
}

enum replay_step connection_replay_next(struct connection *c)
{
    struct replay *replay = c->replay;
    CHECK(c->record != NULL && replay->output.answers <= replay->state.begun);
    const uint32_t index = ++replay->met;
    const bool was_answered = index <= replay->output.answers;
    if (index > replay->state.begun) {
        return REPLAY_RUN;
    }
    if (was_answered && replay->part == REPLAY_ALL) {
        skip(c);
        return REPLAY_SKIP;
    }
    if (index == replay->state.suspect && replay->state.attempts > replay->forgiven) {
        return refuse(c, 500);
    }
    if (!may_be_repeated(c->exchange)) {
        return refuse(c, 502);
    }
    c->loop->adoption.repeated++;
    return was_answered && replay->part == REPLAY_A_PART ? REPLAY_RUN_HERE : REPLAY_RUN;
}

void connection_replay_expectation(const struct connection *c, bool *body_has_begun)
{
    const struct replay *replay = c->replay;
    if (replay->met == 0 && replay->state.interim_sent) {
        *body_has_begun = true;
    } else if (replay->met == replay->state.begun && replay->state.interim_put) {
        *body_has_begun = replay->part == REPLAY_ALL;
    }
}

bool connection_replay_is_silent(const struct connection *c)
{
    return c->replay->part == REPLAY_A_PART;
}

struct span connection_replay_date(const struct connection *c)
{
    return (struct span){c->replay->date_line, c->replay->date_line_bytes};
}

bool connection_replay_is_due(const struct connection *c)
{
    return connection_replay_is_silent(c) &&
           c->put_bytes - c->replay->output.begins_at >= c->replay->output.bytes;
}

/* All of the output whose beginning has been sent is there again, to the byte? Then the rest of it
 * goes on. */
static bool resume(struct connection *c)
{
    struct replay *replay = c->replay;
    if (c->put_bytes - replay->output.begins_at != replay->output.bytes ||
        c->digest != replay->output.digest || replay->output.digest == DIGEST_NONE ||
        !output_skip(&c->output, replay->sent)) {
        return false;
    }
    c->sent_bytes += replay->sent;
    CHECK(c->sent_bytes < c->put_bytes); /* the rest goes on */
    replay->part = REPLAY_NOTHING;       /* that was not dealt with */
    c->loop->adoption.resumed++;
    return true;
}

bool connection_replay_goes_on(struct connection *c)
{
    if (connection_replay_is_silent(c) && !resume(c)) {
        return false;
    }
    if (c->replay->met >= c->replay->state.begun) {
        connection_replay_end(c);
    }
    return true;
}

void connection_replay_end(struct connection *c)
{
    free(c->replay);
    c->replay = NULL;
}

/* ---- Adoption ---- */

static enum replay_part part_of(uint64_t sent, uint64_t bytes)
{
    return sent == 0 ? REPLAY_NOTHING : sent < bytes ? REPLAY_A_PART : REPLAY_ALL;
}

/* The client may have it all without knowing that nothing more will come. */
static void see_out(struct connection *c)
{
    connection_set_phase(c, PHASE_CLOSING);
    if (shutdown(c->fd, SHUT_WR) == 0) {
        connection_linger_begin(c);
    } else {
        connection_destroy(c);
    }
}

static struct replay *create_replay(const struct connection *c, enum replay_part part,
                                    uint64_t sent, bool crashed)
{
    struct replay *replay = memory_alloc_zeroed(1, sizeof(*replay));
    replay->state = durable_state(c->record);
    replay->output = durable_output(c->record);
    replay->part = part;
    replay->sent = sent;
    replay->forgiven = crashed ? CRASHES_FORGIVEN : KILLS_FORGIVEN;
    replay->date_line_bytes = loop_format_date(replay->output.date_second, replay->date_line);
    return replay;
}

/* Output that the record tells of. */
static enum standing replay_output(struct connection *c, uint64_t written_bytes, bool crashed)
{
    const struct durable_state state = durable_state(c->record);
    const struct durable_output output = durable_output(c->record);
    uint64_t sent = written_bytes - output.begins_at;
    if (written_bytes < output.begins_at || sent > output.bytes ||
        output.answers > state.answered) {
        return STANDS_NOWHERE;
    }
    enum replay_part part = part_of(sent, output.bytes);
    if (part == REPLAY_ALL && output.closes) {
        durable_sent(c->record, state.consumed, written_bytes, true);
        return STANDS_AT_ITS_END;
    }
    if (part == REPLAY_ALL && output.answers == 0) { /* "100 Continue" alone */
        durable_sent(c->record, state.consumed, written_bytes, false);
    } else if (part != REPLAY_ALL) {
        c->sent_bytes = c->put_bytes = output.begins_at;
    }
    durable_restart(c->record, part == REPLAY_NOTHING ? 0 : output.answers);
    c->replay = create_replay(c, part, sent, crashed);
    return STANDS_WELL;
}

static enum standing find_out(struct connection *c, uint64_t written_bytes, bool crashed)
{
    const struct config *config = connection_config(c);
    const struct durable_state state = durable_state(c->record);
    c->sent_bytes = c->put_bytes = written_bytes;
    c->served = written_bytes > 0;
    connection_wait_for_request(c, c->served ? config->idle_timeout_ms : config->header_timeout_ms);
    if (c->served) {
        connection_move(c, PLACE_IN_USE);
    }
    if (state.closing) {
        return STANDS_AT_ITS_END;
    }
    if (state.begun > 0 || state.interim_put) {
        return replay_output(c, written_bytes, crashed);
    }
    if (state.interim_sent) {
        c->replay = create_replay(c, REPLAY_NOTHING, 0, crashed);
    }
    return STANDS_WELL;
}

static void count_client(struct loop *loop, const struct client_address *client)
{
    if (loop->options.config->max_connections_per_client > 0) { /* it was let in before */
        client_counts_enter(&loop->client_counts, client, UINT64_MAX);
    }
}

static struct connection *enter(struct loop *loop, struct durable_record *record, int fd,
                                const struct client_address *client, const struct buffer *input)
{
    count_client(loop, client);
    struct connection *c = connection_enter(loop, fd, client);
    c->record = record;
    c->input = *input;
    c->input_used = c->input_done = c->request_start = durable_state(record).consumed;
    return c;
}

bool connection_adopt(struct loop *loop, struct durable_record *record, int fd, bool crashed)
{
    struct tcp_account account;
    struct client_address client;
    struct buffer input;
    struct durable *durable = loop->options.durable;
    bool is_known = connection_find_client(fd, &client) && tcp_account_ask(fd, &account);
    bool has_left = is_known && account.is_over; /* its counts may be one too many */
    if (!is_known || has_left || !durable_adopt(durable, record, fd, account.read_bytes, &input)) {
        durable_drop(durable, record);
        close(fd);
        return has_left;
    }
    struct connection *c = enter(loop, record, fd, &client, &input);
    c->read_bytes = account.read_bytes;
    switch (find_out(c, account.written_bytes, crashed)) {
    case STANDS_WELL:
        connection_watch_read(c);
        connection_advance(c);
        return true;
    case STANDS_AT_ITS_END:
        see_out(c);
        return true;
    case STANDS_NOWHERE:
        break;
    }
    connection_destroy(c);
    return false;
}
