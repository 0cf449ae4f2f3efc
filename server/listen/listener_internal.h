/* What the files of listener share. Nobody else includes this. */
#ifndef TWINHTTPD_SERVER_LISTEN_LISTENER_INTERNAL_H
#define TWINHTTPD_SERVER_LISTEN_LISTENER_INTERNAL_H

#include "common/base/error.h"
#include "server/listen/listener.h"

/* ---- One socket ---- */

/* False with errno set. */
bool listener_set_option(int fd, int level, int option, int value);

/* The value; -1: there is none. */
int listener_option(int fd, int level, int option);

bool listener_is_listening(int fd);

/* Sets the options that accepted sockets inherit. False with errno set. */
bool listener_prepare(int fd);

/* ---- One set of them ---- */

/* As listener_open, but does not look whether another server is there already. False with errno
 * set. */
bool listener_open_set(struct listener *listener, const struct endpoint *endpoint, bool reuseport,
                       size_t count);

/* The same sockets once more. False with errno set. */
bool listener_share(struct listener *listener, const struct listener *other);

/* ---- Several ---- */

/* An id that neither these nor the old ones (NULL: none) have. */
uint32_t listeners_take_id(struct listeners *listeners, const struct listeners *old);

#endif
