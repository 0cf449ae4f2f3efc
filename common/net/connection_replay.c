/* What comes up again: the requests that a predecessor had begun, whose answers are made once more,
 * passed over or refused, and an output of which a part has been sent. */
#include "common/net/connection_replay.h"

#include "common/base/check.h"
#include "common/base/digest.h"
#include "common/base/escape.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/net/connection_internal.h"
#include "common/net/durable.h"

#include <stdlib.h>

/* What a successor has before it: the requests that had begun come up again, from the input. */
struct replay {
    struct durable_state state;
    struct durable_output output;
    enum replay_part part;
    uint64_t sent; /* of the output's bytes */
    uint32_t met;  /* requests that have come up so far */
    bool client_has_left;
    char date_line[DATE_LINE_BYTES];
    size_t date_line_bytes;
};

/* ---- Beginning ---- */

void connection_replay_begin(struct connection *c, enum replay_part part, uint64_t sent)
{
    CHECK(c->replay == NULL);
    struct replay *replay = memory_alloc_zeroed(1, sizeof(*replay));
    c->loop->replaying++;
    replay->state = durable_state(c->record);
    replay->output = durable_output(c->record);
    replay->part = part;
    replay->sent = sent;
    replay->date_line_bytes = loop_format_date(replay->output.date_second, replay->date_line);
    c->replay = replay;
}

void connection_replay_forget_output(struct connection *c)
{
    c->replay->output = (struct durable_output){0};
}

bool connection_replay_is_hopeless(const struct connection *c)
{
    const struct replay *replay = c->replay;
    return replay->part == REPLAY_A_PART && replay->state.attempts >= DURABLE_ATTEMPTS_MOST;
}

/* ---- Requests ---- */

static void log_given_up(struct connection *c, unsigned status)
{
    if (!log_budget_allows(&c->loop->given_up, loop_now_ms(c->loop))) {
        return;
    }
    struct http_request *request = &c->exchange->request;
    struct buffer line = {0};
    char client[CLIENT_TEXT_BYTES];
    escape_text(&line, http_request_shown_line(request, &request->arena));
    client_address_format(&c->client, client);
    log_write(LOG_WARN, "gave up \"%.*s\" of %s with %u: %s", (int)line.len, line.data, client,
              status,
              status == 500 ? "processes die under it"
                            : "a process has died under it, and it may not be repeated");
    buffer_free(&line);
}

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
    connection_journal_adoption(c->loop, ADOPTION_SKIPPED, 1);
    c->served = true;
    connection_wait_for_request(c, connection_config(c)->idle_timeout_ms);
    if (replay->met == replay->output.answers) {
        durable_sent(c->record, c->input_used, c->sent_bytes, false);
        connection_journal_took(c, connection_journal_finished(c));
        c->request_start = c->input_used;
        c->input_done = (uint32_t)c->input_used;
    }
}

static enum replay_step refuse(struct connection *c, unsigned status)
{
    struct http_response *response = &c->exchange->response;
    http_response_reset(response);
    http_response_error(response, status);
    c->exchange->route = NULL;
    if (!connection_replay_is_silent(c)) { /* else a predecessor has said so */
        connection_journal_adoption(c->loop,
                                    status == 500 ? ADOPTION_REFUSED_500 : ADOPTION_REFUSED_502, 1);
        log_given_up(c, status);
    }
    return REPLAY_ANSWERED;
}

static uint32_t forgiven_to(const struct replay *replay)
{
    return replay->client_has_left ? REPLAY_FORGIVEN_WHO_HAS_LEFT : REPLAY_FORGIVEN;
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
    if (index == replay->state.suspect && replay->state.attempts > forgiven_to(replay)) {
        return refuse(c, 500);
    }
    if (!may_be_repeated(c->exchange)) {
        return refuse(c, 502);
    }
    connection_journal_adoption(c->loop, ADOPTION_REPEATED, 1);
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

bool connection_replay_closes(const struct connection *c)
{
    const struct replay *replay = c->replay;
    if (connection_replay_is_silent(c)) {
        return replay->output.closes && replay->met == replay->output.answers;
    }
    return !replay->client_has_left && loop_is_draining(c->loop);
}

/* All of it is there. */
static bool is_due(const struct connection *c)
{
    return connection_replay_is_silent(c) &&
           c->put_bytes - c->replay->output.begins_at >= c->replay->output.bytes;
}

bool connection_replay_may_step(const struct connection *c)
{
    const struct replay *replay = c->replay;
    if (replay->client_has_left) { /* what had not begun is nobody's business any more */
        bool is_made_again =
            connection_replay_is_silent(c) && replay->met >= replay->output.answers;
        return replay->met < replay->state.begun && !is_made_again;
    }
    return c->answered < DURABLE_BEGUN_MOST &&
           (connection_replay_is_silent(c) || connection_sending_may_note(c)) && !is_due(c);
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
    connection_journal_adoption(c->loop, ADOPTION_RESUMED, 1);
    return true;
}

/* What is there again was sent in part: the log has that. */
static void count_sent(struct connection *c, uint64_t sent_bytes)
{
    c->sent_bytes = sent_bytes < c->put_bytes ? sent_bytes : c->put_bytes;
}

/* ---- Without a client ---- */

void connection_replay_part(struct connection *c)
{
    CHECK(c->replay != NULL && !c->replay->client_has_left);
    c->replay->client_has_left = true;
}

/* All is noted together: should this process die before, too, its successor finds all of it to be
 * done again, and none of the lines written. */
static bool see_off(struct connection *c)
{
    struct replay *replay = c->replay;
    connection_sending_drop(c); /* nobody will have it */
    if (replay->met >= replay->output.answers && connection_replay_is_silent(c)) {
        replay->part = REPLAY_NOTHING; /* what comes now was not sent */
    }
    if (c->phase == PHASE_HANDLING) {
        connection_sending_log_later(c);
        return false;
    }
    if (replay->met < replay->state.begun && c->phase == PHASE_WAITING) {
        return true;
    }
    count_sent(c, replay->output.begins_at + replay->sent);
    connection_destroy(c);
    return false;
}

/* ---- Before anything is sent ---- */

static void lose(struct connection *c)
{
    CHECK(!c->lost);
    c->lost = true;
    connection_journal_adoption(c->loop, ADOPTION_LOST, 1);
    connection_destroy(c);
}

bool connection_replay_goes_on(struct connection *c)
{
    if (c->replay->client_has_left) {
        return see_off(c);
    }
    if (connection_replay_is_silent(c) && !resume(c)) {
        count_sent(c, c->replay->output.begins_at + c->replay->sent);
        lose(c);
        return false;
    }
    if (c->replay->met >= c->replay->state.begun) {
        connection_replay_end(c);
    }
    return true;
}

/* ---- The end ---- */

/* What was left to this loop has been dealt with. */
static void tell(struct loop *loop)
{
    CHECK(loop->replaying == 0);
    char text[ADOPTION_TEXT_BYTES];
    struct adoption_counts counts = {0};
    adoption_add(&counts, &loop_slot(loop)->counters.adoption);
    adoption_describe(&counts, text);
    log_write(LOG_NOTICE, "has dealt with what its predecessor left: %s", text);
}

void connection_replay_end(struct connection *c)
{
    if (c->replay == NULL) {
        return;
    }
    free(c->replay);
    c->replay = NULL;
    CHECK(c->loop->replaying > 0);
    if (--c->loop->replaying == 0 && !c->loop->stopped) {
        tell(c->loop);
    }
}
