#include "common/net/connection_internal.h"

#include "common/base/check.h"
#include "common/net/durable.h"

/* Where a successor is to go on with the connection, what is read lies in the durable area, from
 * the first request that is not answered in full. */

/* The input begins with what has not been answered. */
static void forget_done(struct connection *c)
{
    CHECK(c->input_done <= c->input_used && c->input_done <= c->request_start);
    c->input_used -= c->input_done;
    c->request_start -= c->input_done;
    c->input_done = 0;
}

/* The area is full: the connection goes on as if there were none. */
static void abandon(struct connection *c)
{
    durable_abandon(c->loop->options.durable, c->record, &c->input);
    c->record = NULL;
    connection_journal_mortal(c);
    forget_done(c);
}

static bool prepare_durable(struct connection *c)
{
    struct durable *durable = c->loop->options.durable;
    if (c->input.capacity == 0) {
        return durable_input_take(durable, c->record, c->read_bytes, CONNECTION_READ_BYTES,
                                  &c->input);
    }
    if (c->input.capacity - c->input.len >= CONNECTION_READ_BYTES / 4) {
        return true;
    }
    size_t left = c->input.len - c->input_done; /* twice as much, for a long request */
    size_t room = left > CONNECTION_READ_BYTES ? left : CONNECTION_READ_BYTES;
    if (!durable_input_move(durable, c->record, &c->input, room)) {
        return false;
    }
    forget_done(c);
    return true;
}

bool connection_input_prepare(struct connection *c)
{
    bool prepared = prepare_durable(c);
    if (!prepared) {
        abandon(c);
    }
    return prepared;
}

bool connection_input_may_step(const struct connection *c)
{
    return c->replay != NULL ? connection_replay_may_step(c)
                             : c->answered < DURABLE_BEGUN_MOST && connection_sending_may_note(c);
}

void connection_input_hold_little(struct connection *c)
{
    CHECK(c->input_done <= c->input.len);
    bool is_done = c->input_done == c->input.len || durable_state(c->record).closing;
    if (is_done && durable_may_give(c->record)) {
        connection_give_back_input(c);
    }
}
