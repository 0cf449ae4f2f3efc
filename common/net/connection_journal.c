#include "common/net/connection_internal.h"

void connection_journal_leave(struct connection *c)
{
    struct worker_slot *slot = worker_slot_of(c->worker);
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
    struct worker_slot *slot = worker_slot_of(c->worker);
    if (c->unfinished++ == 0) {
        slot_add(&slot->connections_busy, 1);
    }
    slot_add(&slot->counters.requests_started, 1);
}

/* ---- The access log ---- */

void connection_journal_note(struct connection *c, const struct access_log_extent *where)
{
    struct access_log *log = c->worker->access_log;
    if (log != NULL) {
        access_log_note(log, c->exchange, where);
        if (c->sending) { /* other connections come before its turn */
            access_log_defer(log, &c->unlogged);
        }
    }
}

void connection_journal_log_sent(struct connection *c, bool all)
{
    struct access_log *log = c->worker->access_log;
    if (log == NULL) {
        return;
    }
    if (!all) {
        access_log_defer(log, &c->unlogged);
    }
    if (c->unlogged.len > 0) {
        access_log_settle(log, &c->unlogged, c->sent_bytes);
    }
    access_log_sent(log);
}

void connection_journal_log_cut(struct connection *c)
{
    struct access_log *log = c->worker->access_log;
    if (log != NULL) {
        access_log_defer(log, &c->unlogged);
        access_log_cut(log, &c->unlogged, c->sent_bytes);
    }
}

/* ---- What the master counts when this process dies ---- */

uint32_t connection_journal_finished(struct connection *c)
{
    struct worker_slot *slot = worker_slot_of(c->worker);
    uint32_t answered = c->answered;
    slot_add(&slot->counters.requests_finished, answered);
    c->unfinished -= answered;
    c->answered = 0;
    if (answered > 0 && c->unfinished == 0) {
        slot_subtract(&slot->connections_busy, 1);
    }
    if (c->phase == PHASE_CLOSING) {
        connection_journal_leave(c);
    }
    return answered;
}

void connection_journal_not_finished(struct connection *c, uint32_t answered)
{
    struct worker_slot *slot = worker_slot_of(c->worker);
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
