#include "common/base/client_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { IPV4_IN_IPV6 = 12 }; /* where the former stands in the latter */

/* Word 0: address family in the high half, port in the low; words 1 and 2: the address. */
struct client_address client_address_pack(const struct sockaddr *address)
{
    struct client_address client = {{0}};
    uint64_t family = address->sa_family;
    if (family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        client.words[0] = family << 32 | ntohs(v4->sin_port);
        memcpy(&client.words[1], &v4->sin_addr, sizeof(v4->sin_addr));
        return client;
    }
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        client.words[0] = (uint64_t)AF_INET << 32 | ntohs(v6->sin6_port);
        memcpy(&client.words[1], &v6->sin6_addr.s6_addr[IPV4_IN_IPV6], sizeof(struct in_addr));
    } else if (family == AF_INET6) {
        client.words[0] = family << 32 | ntohs(v6->sin6_port);
        memcpy(&client.words[1], &v6->sin6_addr, sizeof(v6->sin6_addr));
    } else if (family == AF_UNIX) {
        client.words[0] = family << 32;
    }
    return client;
}

void client_address_format(const struct client_address *client, char out[CLIENT_TEXT_BYTES])
{
    int family = (int)(client->words[0] >> 32);
    unsigned port = (unsigned)(client->words[0] & 0xffff);
    char host[INET6_ADDRSTRLEN];
    if ((family != AF_INET && family != AF_INET6) ||
        inet_ntop(family, &client->words[1], host, sizeof(host)) == NULL) {
        snprintf(out, CLIENT_TEXT_BYTES, "unknown");
        return;
    }
    snprintf(out, CLIENT_TEXT_BYTES, family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, port);
}
