#include "common/net/connection_internal.h"

#include "common/base/check.h"
#include "common/net/durable.h"

void connection_journal_leave(struct connection *c)
{
    struct worker_slot *slot = loop_slot(c->loop);
    if (c->idle) {
        slot_subtract(&slot->connections_idle, 1);
        c->idle = false;
    }
    if (c->counted) {
        slot_subtract(&slot->connections_open, 1);
        c->counted = false;
    }
    if (c->mortal) {
        slot_subtract(&slot->connections_mortal, 1);
        c->mortal = false;
    }
}

void connection_journal_mortal(struct connection *c)
{
    CHECK(c->record == NULL && !c->mortal);
    slot_add(&loop_slot(c->loop)->connections_mortal, 1);
    c->mortal = true;
}

void connection_journal_ended(struct connection *c)
{
    struct slot_counters *counters = &loop_slot(c->loop)->counters;
    CHECK(!c->counted && !c->mortal); /* it has left the gauges */
    if (c->unfinished > 0) {
        slot_add(c->lost ? &counters->adoption[ADOPTION_LOST_IN_PROGRESS]
                         : &counters->requests_aborted,
                 c->unfinished);
        slot_subtract(&loop_slot(c->loop)->connections_busy, 1);
    }
}

void connection_journal_started(struct connection *c)
{
    struct worker_slot *slot = loop_slot(c->loop);
    if (c->unfinished++ == 0) {
        slot_add(&slot->connections_busy, 1);
    }
    slot_add(&slot->counters.requests_started, 1);
}

uint32_t connection_journal_finished(struct connection *c)
{
    struct worker_slot *slot = loop_slot(c->loop);
    uint32_t answered = c->answered;
    slot_add(&slot->counters.requests_finished, answered);
    c->unfinished -= answered;
    c->answered = 0;
    if (answered > 0 && c->unfinished == 0) {
        slot_subtract(&slot->connections_busy, 1);
    }
    if (c->phase == PHASE_CLOSING) {
        CHECK(c->unfinished == 0); /* the last answer was the last one owed */
        connection_journal_leave(c);
    }
    return answered;
}

/* What is read comes behind all that was asked before, and is not read before that is answered: so
 * only the first can have begun in a read before the last one. */
void connection_journal_took(struct connection *c, uint32_t answers)
{
    struct histogram *durations = &loop_slot(c->loop)->latency.requests;
    if (answers == 0) {
        return;
    }
    const uint64_t now_ns = loop_read_moment_ns(c->loop);
    histogram_add(durations, now_ns - c->owed_since_ns, 1);
    if (answers > 1) {
        histogram_add(durations, now_ns - c->read_ns, answers - 1);
    }
    c->owed_since_ns = c->read_ns;
}

void connection_journal_not_finished(struct connection *c, uint32_t answered)
{
    struct worker_slot *slot = loop_slot(c->loop);
    CHECK(c->answered == 0);
    if (answered > 0 && c->unfinished == 0) {
        slot_add(&slot->connections_busy, 1);
    }
    slot_subtract(&slot->counters.requests_finished, answered);
    c->unfinished += answered;
    c->answered = answered;
    if (c->phase == PHASE_CLOSING && !c->counted) {
        slot_add(&slot->connections_open, 1);
        c->counted = true;
    }
}

/* ---- Of what a predecessor has left ---- */

void connection_journal_adoption(struct loop *loop, enum adoption_kind kind, uint64_t amount)
{
    slot_add(&loop_slot(loop)->counters.adoption[kind], amount);
}

/* Its requests count as started here: whoever died does not count any more what it has left. */
void connection_journal_lost(struct loop *loop, const struct durable_record *record)
{
    const struct durable_state state = durable_state(record);
    if (state.closing) { /* its client has all that it will get */
        return;
    }
    connection_journal_adoption(loop, ADOPTION_LOST, 1);
    if (state.begun > 0) {
        slot_add(&loop_slot(loop)->counters.requests_started, state.begun);
        connection_journal_adoption(loop, ADOPTION_LOST_IN_PROGRESS, state.begun);
    } else {
        connection_journal_adoption(loop, ADOPTION_LOST_AWAITED, 1);
    }
}

void connection_journal_last(struct connection *c, uint32_t answers)
{
    struct slot_counters *counters = &loop_slot(c->loop)->counters;
    slot_add(&counters->requests_started, answers);
    slot_add(&counters->requests_finished, answers);
    connection_journal_took(c, answers);
    connection_journal_adoption(c->loop, ADOPTION_SKIPPED, answers);
}
