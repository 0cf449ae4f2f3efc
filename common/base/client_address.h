/* A client's address, packed so that it can be copied in three words. */
#ifndef TWINHTTPD_COMMON_BASE_CLIENT_ADDRESS_H
#define TWINHTTPD_COMMON_BASE_CLIENT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <sys/socket.h>

enum {
    CLIENT_WORDS = 3,
    CLIENT_TEXT_BYTES = 56 /* "[ffff:...]:65535" and NUL */
};

struct client_address {
    uint64_t words[CLIENT_WORDS];
};

/* Packs an IPv4 or IPv6 socket address; anything else becomes "unknown". An IPv4 client of an IPv6
 * socket is one of IPv4. */
struct client_address client_address_pack(const struct sockaddr *address);
void client_address_format(const struct client_address *client, char out[CLIENT_TEXT_BYTES]);

#endif
