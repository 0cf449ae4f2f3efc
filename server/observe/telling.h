/* What the observer tells of the server: what there is behind the routes of telling.c. */
#ifndef TWINHTTPD_SERVER_OBSERVE_TELLING_H
#define TWINHTTPD_SERVER_OBSERVE_TELLING_H

#include "server/observe/observer.h"

#include <stdbool.h>

/* When there is an event base: makes the sampler. False, reported, if it cannot be. Undone by
 * telling_end. */
bool telling_begin(struct observer_environment *environment);
void telling_end(struct observer_environment *environment);

#endif
