/* How a request can end, as a client sees it. */
#ifndef TWINHTTPD_LOADTEST_PROBER_OUTCOME_H
#define TWINHTTPD_LOADTEST_PROBER_OUTCOME_H

enum outcome {
    OUTCOME_OK,
    OUTCOME_BAD_STATUS,    /* a whole answer, but no 2xx or 3xx */
    OUTCOME_MALFORMED,     /* not HTTP, or more bytes than the answer has */
    OUTCOME_REFUSED,       /* nobody listens */
    OUTCOME_CONNECT_ERROR, /* any other reason for no connection */
    OUTCOME_RESET_BEFORE,  /* the connection broke before the first byte of the answer */
    OUTCOME_RESET_WITHIN,  /* or inside the answer */
    OUTCOME_CLOSED_BEFORE, /* the same by an end of the stream, as if in order */
    OUTCOME_CLOSED_WITHIN,
    OUTCOME_TIMEOUT,  /* no whole answer in time: hung */
    OUTCOME_NOT_SENT, /* was due, and found no free connection before the run ended */
    OUTCOMES
};

/* The name in reports. */
const char *outcome_name(enum outcome outcome);

#endif
