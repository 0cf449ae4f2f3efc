/* How many connections each client address has open on one event loop. An IPv6 client is counted
 * by its /64 network, since that is the least a host is given (RFC 6177; RFC 4291, 2.5.4). */
#ifndef TWINHTTPD_COMMON_NET_CLIENT_COUNTS_H
#define TWINHTTPD_COMMON_NET_CLIENT_COUNTS_H

#include "common/base/client_address.h"

#include <stdbool.h>

/* Zero-initialised: empty. Holds memory while a client is counted. */
struct client_counts {
    void *tree; /* of tsearch(3) */
};

/* Counts one more connection, unless the client has as many as it may: false. */
bool client_counts_enter(struct client_counts *counts, const struct client_address *client,
                         uint64_t most);

/* The opposite; the client must have been counted. */
void client_counts_leave(struct client_counts *counts, const struct client_address *client);

#endif
