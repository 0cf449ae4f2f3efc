#include "server/observe/state_html.h"

#include <inttypes.h>
#include <string.h>

/* As text of an element. */
static void append_escaped(struct buffer *out, struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' || c < ' ' || c >= 0x7f) {
            buffer_printf(out, "&#%u;", c < ' ' || c >= 0x7f ? '?' : c);
        } else {
            buffer_append(out, &c, 1);
        }
    }
}

static void put_request(struct buffer *out, const struct facts_slot *slot)
{
    const char *line = slot->current.line;
    buffer_append_span(out, SPAN("<td>"));
    if (slot->has_current) {
        append_escaped(out, (struct span){line, strcspn(line, "?")});
    }
    buffer_append_span(out, SPAN("</td>"));
}

static void put_slot(struct buffer *out, const struct state_view *view,
                     const struct facts_process *process, const struct facts_slot *slot)
{
    const char *stuck = slot_verdict_name(slot->verdict);
    const struct window *window = windows_slot(view->windows, slot->slot);
    const uint64_t per_second = window != NULL ? window_per_second(window) / 1000 : 0;
    buffer_printf(out,
                  "<tr><td>%" PRIu32 "</td><td>%d</td><td>%" PRIu32
                  "</td><td>%s</td><td>%s</td><td>%s</td><td>%" PRIu64 "</td><td>%" PRIu64
                  "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td>",
                  process->number, (int)process->pid, slot->slot, slot_role_name(slot->role),
                  slot_state_name(slot->state), stuck != NULL ? stuck : "", slot->heartbeat_age_ms,
                  slot->counters.requests_finished, per_second, slot->connections_open);
    put_request(out, slot);
    buffer_append_span(out, SPAN("</tr>\n"));
}

static void put_slots(struct buffer *out, const struct state_view *view)
{
    const struct facts *facts = view->facts;
    for (uint32_t i = 0; i < facts->process_count; i++) {
        const struct facts_process *process = &facts->processes[i];
        for (uint32_t j = process->first; j < process->first + process->count; j++) {
            put_slot(out, view, process, &facts->slots[j]);
        }
    }
}

void state_html_put(struct buffer *out, const struct state_view *view)
{
    const struct facts *facts = view->facts;
    const struct facts_totals *totals = &facts->totals;
    buffer_printf(out,
                  "<p>%" PRIu64 " requests answered, %" PRIu64 " connections open, %" PRIu64
                  " deaths, which have cost %" PRIu64 " requests; the master was heard %" PRIu64
                  " ms ago.</p>\n",
                  totals->counters.requests_finished, totals->connections_open, totals->deaths,
                  totals->requests_lost, facts->heard_ms);
    buffer_append_span(
        out, SPAN("<table><thead><tr><th scope=\"col\">process</th><th scope=\"col\">pid</th>"
                  "<th scope=\"col\">slot</th><th scope=\"col\">role</th>"
                  "<th scope=\"col\">state</th><th scope=\"col\">stuck</th>"
                  "<th scope=\"col\">heartbeat (ms)</th><th scope=\"col\">requests</th>"
                  "<th scope=\"col\">per second</th><th scope=\"col\">connections</th>"
                  "<th scope=\"col\">request</th></tr></thead><tbody>\n"));
    put_slots(out, view);
    buffer_append_span(out, SPAN("</tbody></table>\n"));
}
