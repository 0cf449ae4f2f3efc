/* twinctl top: what a server's observer sees, again and again, in the terminal or as plain text. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_H

#include "server/twinctl/top_client.h"

struct top_options {
    struct top_address observer;
    const char *control; /* path of the socket for signals; NULL: there is none */
    bool batch;
    uint64_t tables; /* of a batch; 0: without end */
    uint64_t interval_ms;
};

/* Returns the exit status. */
int top_run(const struct top_options *options);

#endif
