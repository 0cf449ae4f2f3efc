/* What goes with a connection from one event loop to another. */
#ifndef TWINHTTPD_COMMON_NET_CONNECTION_PASSPORT_H
#define TWINHTTPD_COMMON_NET_CONNECTION_PASSPORT_H

#include "common/net/loop.h"

#include <stdint.h>
#include <sys/socket.h>

/* What goes with the socket. Both ends are threads of one program; what has another form was sent
 * by somebody who has taken over a loop, and is thrown away. */
struct passport {
    uint64_t deadline_ms;
    uint64_t waiting_since_ms;
    uint64_t served; /* bool, without padding */
    uint64_t claim;  /* which decides whose it is; 0: only the receiver can have it */
    uint64_t cookie; /* by which the receiver's successor knows the socket */
};
_Static_assert(sizeof(struct passport) == 5 * sizeof(uint64_t),
               "no padding, in which memory of this worker would travel along");

/* Room for one descriptor, aligned as the kernel wants it. */
union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* A connection could not be handed over or taken over, errno tells why: in the log, not too often.
 */
void connection_report_failure(struct loop *loop, const char *failure);

#endif
