/* A client's address, for a test, by its text. */
#ifndef TWINHTTPD_TESTS_UNIT_CLIENT_AT_H
#define TWINHTTPD_TESTS_UNIT_CLIENT_AT_H

#include "common/base/client_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static inline struct client_address client_at(const char *ip, unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    assert_int_equal(inet_pton(AF_INET, ip, &address.sin_addr), 1);
    return client_address_pack((struct sockaddr *)&address);
}

static inline struct client_address client_at_v6(const char *ip, unsigned port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    assert_int_equal(inet_pton(AF_INET6, ip, &address.sin6_addr), 1);
    return client_address_pack((struct sockaddr *)&address);
}

#endif
