/* What twinctl is asked to do, from its command line. */
#ifndef TWINHTTPD_SERVER_TWINCTL_ARGUMENTS_H
#define TWINHTTPD_SERVER_TWINCTL_ARGUMENTS_H

#include "server/twinctl/top.h"

struct arguments {
    const char *control;    /* path of the socket */
    bool json;              /* print the answer as it comes */
    bool help;              /* then nothing else is set */
    json_t *request;        /* given back with json_decref; NULL: the command is top */
    struct top_options top; /* of the command top */
};

/* False with one line in error. May be called again. */
bool arguments_read(struct arguments *arguments, int argc, char *const *argv, struct error *error);

#endif
