/* POST /api/v1/commands: a command to the master, for who has the token. */
#ifndef TWINHTTPD_SERVER_OBSERVE_COMMANDS_H
#define TWINHTTPD_SERVER_OBSERVE_COMMANDS_H

#include "common/http/exchange.h"
#include "server/observe/observer.h"

/* Before any handler runs: true if the exchange is a command that the master has been asked to
 * carry out. Then the exchange is completed when it has answered. */
bool commands_take(struct observer_environment *environment, struct http_exchange *exchange);

#endif
