/* What a program hands over to the one that replaces it: the listening sockets, and where to tell
 * that it serves. It travels in two variables of the environment. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_INHERITANCE_H
#define TWINHTTPD_SERVER_SUPERVISE_INHERITANCE_H

#include "server/supervise/server.h"

/* In the forked process, before it becomes the new program: keeps the sockets and ready_fd open and
 * names them in the environment. False with errno set. */
bool inheritance_offer(const struct server *server, int ready_fd);

/* In the new program: takes the sockets if they were bound to this configured address, and there
 * are so many; else they are closed and false is returned. Only the first call finds any. */
bool inheritance_take(struct listener *listener, const char *address, size_t count);

/* Whether this program was started to replace another one that still serves. */
bool inheritance_is_offered(void);

/* Whether the old program would serve again if this one ended now. */
bool inheritance_may_go_back(void);

/* Tells the old program that this one serves. Nothing happens where there is none. */
void inheritance_tell_ready(void);

/* In a process forked before that: it has nothing to tell. */
void inheritance_close(void);

#endif
