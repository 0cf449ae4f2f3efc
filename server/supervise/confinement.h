/* What a serving process gives up before it serves. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_CONFINEMENT_H
#define TWINHTTPD_SERVER_SUPERVISE_CONFINEMENT_H

#include "server/supervise/server.h"

/* Drops privileges and enters the sandbox, as the settings say. False when that failed, reported:
 * the process must not serve then. */
bool confinement_enter(const struct server *server);

#endif
