/* What a serving process gives up before it serves, and what its master does so that it stays out
 * of reach. */
#ifndef TWINHTTPD_SERVER_PROCESS_CONFINEMENT_H
#define TWINHTTPD_SERVER_PROCESS_CONFINEMENT_H

#include "server/adoption/estate.h"
#include "server/setup/server.h"

/* Drops privileges, moves into the estate (NULL: there is none) and enters the sandbox, as the
 * settings say; sees to core files, and that it ends with its master, if it has one. False when
 * that failed, reported: the process must not serve then. Without an estate it may, reported, too;
 * *estate is NULL then. */
bool confinement_enter(const struct server *server, struct estate **estate);

/* The same for a process that only looks: it accepts, reads and answers, and neither starts threads
 * nor makes memory writable that was not. False, reported: it must not look then. */
bool confinement_observe(const struct server *server);

/* For a master whose processes are to be in a sandbox: from now on its memory, its environment and
 * its descriptors in /proc are root's alone, so that no process of its own user can take it over.
 * It leaves no core file. What is forked later begins like that. */
void confinement_hide(enum config_seccomp mode);

#endif
