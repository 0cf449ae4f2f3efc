/* The control socket: a Unix socket at which the master takes commands while it runs. One request
 * on each connection, one line there and one line back. Nothing here ever blocks: whoever sends
 * nothing, or does not read its answer, is cut at a deadline.
 *
 * The socket is made under a name of its own and renamed when the server serves: so the path never
 * leads to a master that has not started, and an upgrade replaces it without a gap. */
#ifndef TWINHTTPD_SERVER_CONTROL_CONTROL_H
#define TWINHTTPD_SERVER_CONTROL_CONTROL_H

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    CONTROL_CLIENTS = 8,        /* at a time; more wait in the kernel */
    CONTROL_LINE_BYTES = 4096,  /* of a request, with its end */
    CONTROL_PATIENCE_MS = 3000, /* from the accept to the last byte of the answer */
    CONTROL_WAITING_MS = 8000,  /* for an answer that comes later */
    CONTROL_PATH_BYTES_MAX = 96 /* the kernel's 107, less the name for the meantime */
};

/* Appends the answer to a request, without its end of line. Nothing: it comes later, by
 * control_answer_waiting. peer NULL: the observer (control_peer.h). */
typedef void (*control_answer_fn)(void *data, const struct ucred *peer, struct span request,
                                  struct buffer *answer);

struct control;

/* Makes the socket; it is at its path only after control_publish. NULL with one line in error. All
 * functions below take NULL for "there is none". */
struct control *control_create(const char *path, control_answer_fn answer, void *data,
                               struct error *error);

/* Moves the socket to its path, over whatever is there. Reported on failure. */
void control_publish(struct control *control);

/* Closes it, and removes its path unless that belongs to another by now. */
void control_destroy(struct control *control);

/* In a forked process: closes the descriptors and nothing else. */
void control_forget(struct control *control);

const char *control_path(const struct control *control); /* NULL without control */

/* Whether the path leads to this socket. */
bool control_is_at_its_path(const struct control *control);

/* Readable when control_serve has something to do; -1 without control. */
int control_fd(const struct control *control);

/* When control_serve has something to do in any case (CLOCK_MONOTONIC); 0: never. */
uint64_t control_due_ms(const struct control *control);

/* The answer to all whose requests have got none yet. */
void control_answer_waiting(struct control *control, struct span answer);

/* Accepts, reads, answers and cuts as far as that is possible now. */
void control_serve(struct control *control);

#endif
