/* When requests are sent and on which connection.
 *
 * Open loop: request i is due i / rate after the start, whatever happened to those before it. It
 * takes the free connection that has rested longest, or a closed one, which is opened for it; if
 * there is neither it waits, and its latency counts all the same. Closed loop: each connection asks
 * again when its answer is there.
 *
 * A connection that is lost is opened again at once, but in all only so many in each tick, and few
 * while the server refuses: a server in trouble is measured, not stormed. */
#ifndef TWINHTTPD_LOADTEST_PROBER_LOAD_H
#define TWINHTTPD_LOADTEST_PROBER_LOAD_H

#include "common/base/error.h"
#include "loadtest/prober/options.h"
#include "loadtest/prober/results.h"

/* Runs to the end, or to SIGINT or SIGTERM. False with one line in error when no connection could
 * be opened at all. */
bool load_run(const struct prober_options *options, struct results *results, struct error *error);

#endif
