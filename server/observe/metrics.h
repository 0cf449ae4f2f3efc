/* GET /metrics: what Prometheus asks for, in either of the two formats that it reads. Names and
 * labels stand in the table of metrics.c, and their meaning in README.md. */
#ifndef TWINHTTPD_SERVER_OBSERVE_METRICS_H
#define TWINHTTPD_SERVER_OBSERVE_METRICS_H

#include "common/base/buffer.h"
#include "common/base/span.h"
#include "server/observe/state_json.h"

enum metrics_format { METRICS_TEXT /* 0.0.4 */, METRICS_OPENMETRICS /* 1.0.0 */ };

/* The better one of the two for the value of an Accept field (ptr NULL: absent): the text format,
 * unless the other one is named and not weighed lower. */
enum metrics_format metrics_choose(struct span accept);

/* The Content-Type of a format. */
const char *metrics_content_type(enum metrics_format format);

/* Appends all metrics. latency is of the same reading as the view. */
void metrics_put(struct buffer *out, enum metrics_format format, const struct state_view *view,
                 const struct latency_copy *latency);

#endif
