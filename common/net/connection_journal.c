#include "common/net/connection_internal.h"

#include "common/base/check.h"

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
