/* What the commands at the control socket (control.h) do to the master. */
#ifndef TWINHTTPD_SERVER_MASTER_COMMANDS_H
#define TWINHTTPD_SERVER_MASTER_COMMANDS_H

#include "common/base/buffer.h"
#include "common/base/span.h"

#include <stdbool.h>

struct master;
struct ucred;

/* Makes the socket if the configuration names one. False when it cannot, reported. */
bool control_start(struct master *master);

/* After a reload: moves to the path that the configuration names now. What cannot be done is
 * reported, and the old path stays. */
void control_follow(struct master *master);

/* When the new program has died on trial: takes its path back. */
void control_take_back(struct master *master);

/* Answers a line of the control protocol (control_answer_fn); data is the master. */
void control_answer_request(void *data, const struct ucred *peer, struct span line,
                            struct buffer *answer);

/* A reload that was put off has been begun, or refused: error, one line; NULL: begun. */
void control_answer_reload(struct master *master, const char *error);

#endif
