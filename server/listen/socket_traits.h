/* What a listening socket is like beyond its address. A process that shares it can change that for
 * all, and each connection accepted from it inherits most. */
#ifndef TWINHTTPD_SERVER_LISTEN_SOCKET_TRAITS_H
#define TWINHTTPD_SERVER_LISTEN_SOCKET_TRAITS_H

#include <stdbool.h>
#include <stddef.h>

enum { SOCKET_TRAITS = 34, SOCKET_TRAIT_BYTES = 16 };

/* The values, in the order of a table; bytes 0: this kernel or socket does not have it. */
struct socket_traits {
    struct {
        unsigned char bytes;
        unsigned char value[SOCKET_TRAIT_BYTES];
    } list[SOCKET_TRAITS];
    unsigned backlog;
};

/* Notes what this listening socket is like. */
void socket_traits_read(struct socket_traits *traits, int fd);

/* Makes it so again, if anything has changed. Returns what had, as "SO_LINGER" (the first of
 * several); NULL: nothing. *restored is false when it could not be undone. What is noted changes
 * where the default of all sockets has. */
const char *socket_traits_restore(struct socket_traits *traits, int fd, bool *restored);

#endif
