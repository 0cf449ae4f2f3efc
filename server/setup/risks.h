/* What is allowed and seldom meant: told once, when a server starts or a reload brings it. */
#ifndef TWINHTTPD_SERVER_SETUP_RISKS_H
#define TWINHTTPD_SERVER_SETUP_RISKS_H

#include "server/setup/server.h"

/* Warns in the log of serving processes that stay root, of handlers for demonstrations that others
 * than this machine can reach, and of settings that have no effect; not of what predecessor had
 * already (NULL: there is none). */
void risks_tell(const struct server *server, const struct server *predecessor);

/* Prints a line for each setting that has no effect, for --test-config: the server has its plan and
 * nothing else. */
void risks_print(const struct server *server, FILE *out);

#endif
