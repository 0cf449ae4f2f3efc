/* What lab-prober is asked to do, from its command line. */
#ifndef TWINHTTPD_LOADTEST_PROBER_OPTIONS_H
#define TWINHTTPD_LOADTEST_PROBER_OPTIONS_H

#include "common/base/error.h"

#include <stdbool.h>
#include <sys/socket.h>

struct prober_options {
    const char *address_text; /* as given: HOST:PORT */
    struct sockaddr_storage address;
    int address_bytes;
    const char *path;
    unsigned rate_per_s; /* of an open loop */
    unsigned connections;
    unsigned duration_ms; /* without the warm-up */
    unsigned warm_up_ms;
    unsigned timeout_ms;
    bool closed_loop;
    bool connect_per_request;
    const char *outcomes_path; /* NULL: no such file */
    bool help;                 /* then nothing else is set */
};

extern const char prober_usage[];

/* False with one line in error. May be called again. */
bool prober_options_read(struct prober_options *options, int argc, char *const *argv,
                         struct error *error);

#endif
