/* One question to a master at its control socket (server/control/control.h), and its answer. */
#ifndef TWINHTTPD_SERVER_TWINCTL_CONVERSATION_H
#define TWINHTTPD_SERVER_TWINCTL_CONVERSATION_H

#include "common/base/buffer.h"
#include "common/base/error.h"

#include <jansson.h>
#include <stdbool.h>

/* Appends the line with which the master answers. False with one line in error, cause and what to
 * do: it cannot be reached, or is silent for patience_s seconds. */
bool conversation_ask(const char *path, const json_t *request, unsigned patience_s,
                      struct buffer *answer, struct error *error);

#endif
