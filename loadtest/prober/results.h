/* What a run has seen: every request's outcome, and the figures made of them. */
#ifndef TWINHTTPD_LOADTEST_PROBER_RESULTS_H
#define TWINHTTPD_LOADTEST_PROBER_RESULTS_H

#include "loadtest/prober/fine_histogram.h"
#include "loadtest/prober/outcome.h"
#include "loadtest/prober/timeline.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { RESULTS_ERROR_BYTES = 128 };

/* Latencies are in microseconds. What was due during the warm-up is in the timeline, in the file of
 * outcomes and in the counts of the warm-up, and nowhere else. */
struct results {
    uint64_t start_ns;    /* the first moment of the warm-up */
    uint64_t measured_ns; /* the moment from which requests count */
    uint64_t end_ns;      /* no request was due later */
    uint64_t outcomes[OUTCOMES];
    uint64_t warm_up_outcomes[OUTCOMES];
    uint64_t connections_opened;
    uint64_t connects_failed;  /* without a request that waited for the connection */
    uint64_t idle_closes;      /* by the server, between two requests */
    uint64_t announced_closes; /* by the server, after an answer that said so */
    uint64_t queue_max;        /* requests that waited for a free connection at one time */
    bool interrupted;
    char first_error[RESULTS_ERROR_BYTES]; /* of the operating system; empty: none */
    struct fine_histogram latency;         /* of good answers, since the request was due */
    struct fine_histogram all;             /* the same with failures, until they were known */
    struct fine_histogram service;         /* of good answers, since the request was sent */
    struct fine_histogram lateness;        /* of the prober itself, in noticing what was due */
    struct timeline timeline;
    FILE *outcomes_file; /* NULL: none wanted */
};

/* One request's end. started_ns is 0 when it was never sent. */
struct ended_request {
    const unsigned *connection; /* which one it was sent on; NULL: never sent */
    uint64_t intended_ns;
    uint64_t started_ns;
    uint64_t ended_ns;
    enum outcome outcome;
    unsigned status;            /* 0: no answer */
    const uint64_t *generation; /* of the worker that answered; NULL: not told */
    const uint64_t *pid;        /* its process's; NULL: not told */
};

/* Opens the file of outcomes if there is a path; false with errno when that fails. The memory is
 * given back with results_destroy. */
bool results_create(struct results **results, const char *outcomes_path);

/* False with errno when not all outcomes could be written. */
bool results_flush(struct results *results);
void results_destroy(struct results *results);

void results_start(struct results *results, uint64_t now_ns, unsigned warm_up_ms);
void results_add_lateness(struct results *results, uint64_t intended_ns, uint64_t now_ns);
void results_add_start(struct results *results, uint64_t now_ns);
void results_add_end(struct results *results, const struct ended_request *request);

/* Keeps the first of the errors. */
void results_note_error(struct results *results, const char *what, int error);

#endif
