/* From the command line to a running server: what both binaries do in main. */
#ifndef TWINHTTPD_SERVER_MAIN_BOOTSTRAP_H
#define TWINHTTPD_SERVER_MAIN_BOOTSTRAP_H

#include "server/setup/server.h"

/* Returns the exit status: 0 after an orderly stop, 1 when it cannot start, with one line on
 * standard error that names cause and fix. */
int bootstrap_main(const struct server_kind *kind, int argc, char **argv);

#endif
