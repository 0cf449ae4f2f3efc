/* The results of a run as one JSON object. */
#ifndef TWINHTTPD_LOADTEST_PROBER_REPORT_H
#define TWINHTTPD_LOADTEST_PROBER_REPORT_H

#include "common/base/buffer.h"
#include "loadtest/prober/options.h"
#include "loadtest/prober/results.h"

/* Above this the figures show the prober as well as the server. */
enum { REPORT_LATE_US = 1000 };

void report_write(struct buffer *out, const struct prober_options *options,
                  const struct results *results);

#endif
