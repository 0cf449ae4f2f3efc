/* The state as a table, for those who have the page without JavaScript. */
#ifndef TWINHTTPD_SERVER_OBSERVE_STATE_HTML_H
#define TWINHTTPD_SERVER_OBSERVE_STATE_HTML_H

#include "common/base/buffer.h"
#include "server/observe/state_json.h"

/* Appends a sentence of totals, and a table of all processes and their threads.
 * What clients have sent is escaped. */
void state_html_put(struct buffer *out, const struct state_view *view);

#endif
