/* Asks a server's observer for its state: a connection, a request, an answer, and the end. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_CLIENT_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_CLIENT_H

#include "common/base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { TOP_HOST_BYTES = 80 };

/* Where an observer listens. */
struct top_address {
    char host[TOP_HOST_BYTES]; /* "127.0.0.1:8090", as it was named: the observer compares it */
    struct sockaddr_storage socket;
    socklen_t socket_bytes;
};

/* Reads "127.0.0.1:8090", "[::1]:8090", "localhost:8090" (which is 127.0.0.1), or one of them as
 * the URL of the page. No other name: the observer answers to none. False with one line in error.
 */
bool top_address_parse(const char *text, struct top_address *address, struct error *error);

/* The state, which the caller gives back with json_decref. NULL with one line in error, cause and
 * what to do: nobody answers, not within patience_ms, or what is no state. */
json_t *top_client_fetch(const struct top_address *address, uint64_t patience_ms,
                         struct error *error);

#endif
