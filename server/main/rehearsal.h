/* What --test-config tries, so that it refuses what the start would refuse. */
#ifndef TWINHTTPD_SERVER_MAIN_REHEARSAL_H
#define TWINHTTPD_SERVER_MAIN_REHEARSAL_H

#include "common/base/error.h"
#include "server/setup/server.h"

/* Looks whether a server could start with this configuration, which it takes over: limits, user,
 * document root, addresses, logs, pid file and control socket. Nothing is made, changed or cut: the
 * server that it is meant for may be running, so what that one holds is only told. Prints what is
 * worth knowing, a line each. False with one line in error: cause and fix. */
bool rehearsal_run(const struct server_kind *kind, struct config *config, FILE *out,
                   struct error *error);

#endif
