#include "common/net/endpoint.h"

#include "common/base/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_BYTES = 64, IPV4_IN_IPV6 = 12 };

/* ---- Making one ---- */

static void set_v4(struct endpoint *endpoint, struct in_addr address, in_port_t port)
{
    *endpoint = (struct endpoint){.bytes = sizeof(endpoint->address.v4)};
    endpoint->address.v4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = address, .sin_port = port};
}

static void set_v6(struct endpoint *endpoint, const struct in6_addr *address, in_port_t port,
                   uint32_t scope)
{
    *endpoint = (struct endpoint){.bytes = sizeof(endpoint->address.v6)};
    endpoint->address.v6 = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_addr = *address, .sin6_port = port, .sin6_scope_id = scope};
    endpoint->takes_both = IN6_IS_ADDR_UNSPECIFIED(address);
}

/* An address of IPv4 that is written as one of IPv6 is one of IPv4. */
static void set_either(struct endpoint *endpoint, const struct in6_addr *address, in_port_t port,
                       uint32_t scope)
{
    struct in_addr mapped;
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        memcpy(&mapped, &address->s6_addr[IPV4_IN_IPV6], sizeof(mapped));
        set_v4(endpoint, mapped, port);
    } else {
        set_v6(endpoint, address, port, scope);
    }
}

bool endpoint_parse(struct endpoint *endpoint, const char *text)
{
    char host[HOST_BYTES];
    struct in_addr v4;
    struct in6_addr v6 = IN6ADDR_ANY_INIT;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        return false;
    }
    size_t bytes = (size_t)(colon - text);
    in_port_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10)); /* checked with the settings */
    memcpy(host, text, bytes);
    host[bytes] = '\0';
    if (inet_pton(AF_INET, host, &v4) == 1) {
        set_v4(endpoint, v4, port);
        return true;
    }
    if (bytes >= 2 && host[0] == '[' && host[bytes - 1] == ']') {
        host[bytes - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &v6) != 1) {
            return false;
        }
    } else if (strcmp(host, "*") != 0) {
        return false;
    }
    set_either(endpoint, &v6, port, 0);
    endpoint->is_all = host[0] == '*';
    return true;
}

bool endpoint_from(struct endpoint *endpoint, const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        set_v4(endpoint, v4->sin_addr, v4->sin_port);
        return true;
    }
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (address->sa_family != AF_INET6) {
        return false;
    }
    set_either(endpoint, &v6->sin6_addr, v6->sin6_port, v6->sin6_scope_id);
    return true;
}

bool endpoint_of_socket(struct endpoint *endpoint, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof(address);
    int only_v6 = 0;
    socklen_t option_bytes = sizeof(only_v6);
    if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0) {
        return false;
    }
    if (!endpoint_from(endpoint, (const struct sockaddr *)&address)) {
        errno = EAFNOSUPPORT;
        return false;
    }
    if (endpoint->takes_both &&
        getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, &option_bytes) != 0) {
        return false;
    }
    endpoint->takes_both = endpoint->takes_both && only_v6 == 0;
    return true;
}

/* ---- What it is ---- */

static bool is_v6(const struct endpoint *endpoint)
{
    return endpoint->address.any.sa_family == AF_INET6;
}

static bool is_wildcard(const struct endpoint *endpoint)
{
    return is_v6(endpoint) ? IN6_IS_ADDR_UNSPECIFIED(&endpoint->address.v6.sin6_addr)
                           : endpoint->address.v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

uint16_t endpoint_port(const struct endpoint *endpoint)
{
    return ntohs(is_v6(endpoint) ? endpoint->address.v6.sin6_port : endpoint->address.v4.sin_port);
}

void endpoint_set_port(struct endpoint *endpoint, uint16_t port)
{
    if (is_v6(endpoint)) {
        endpoint->address.v6.sin6_port = htons(port);
    } else {
        endpoint->address.v4.sin_port = htons(port);
    }
}

bool endpoint_is_loopback(const struct endpoint *endpoint)
{
    return is_v6(endpoint)
               ? IN6_IS_ADDR_LOOPBACK(&endpoint->address.v6.sin6_addr)
               : ntohl(endpoint->address.v4.sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
}

void endpoint_make_reachable(const struct endpoint *endpoint, struct endpoint *reachable)
{
    const struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
    *reachable = *endpoint;
    if (!is_wildcard(endpoint)) {
        return;
    }
    if (is_v6(endpoint) && !endpoint->takes_both) {
        reachable->address.v6.sin6_addr = in6addr_loopback;
    } else {
        set_v4(reachable, loopback, htons(endpoint_port(endpoint)));
    }
}

/* ---- Two of them ---- */

static bool is_same_address(const struct endpoint *one, const struct endpoint *other)
{
    if (is_v6(one) != is_v6(other)) {
        return false;
    }
    if (!is_v6(one)) {
        return one->address.v4.sin_addr.s_addr == other->address.v4.sin_addr.s_addr;
    }
    return IN6_ARE_ADDR_EQUAL(&one->address.v6.sin6_addr, &other->address.v6.sin6_addr) &&
           one->address.v6.sin6_scope_id == other->address.v6.sin6_scope_id;
}

bool endpoint_equals(const struct endpoint *one, const struct endpoint *other)
{
    return is_same_address(one, other) && endpoint_port(one) == endpoint_port(other) &&
           one->takes_both == other->takes_both;
}

static bool is_same_port(const struct endpoint *one, const struct endpoint *other)
{
    return endpoint_port(one) != 0 && endpoint_port(one) == endpoint_port(other);
}

/* Whether it takes connections over that version of IP. */
static bool takes(const struct endpoint *endpoint, bool v6)
{
    return is_v6(endpoint) == v6 || endpoint->takes_both;
}

bool endpoint_covers(const struct endpoint *outer, const struct endpoint *inner)
{
    if (!is_same_port(outer, inner)) {
        return false;
    }
    bool takes_all = is_wildcard(outer) && takes(outer, is_v6(inner)) &&
                     (!inner->takes_both || outer->takes_both);
    return takes_all || endpoint_equals(outer, inner);
}

bool endpoint_overlaps(const struct endpoint *one, const struct endpoint *other)
{
    bool in_v4 = takes(one, false) && takes(other, false);
    bool in_v6 = takes(one, true) && takes(other, true);
    return is_same_port(one, other) && (in_v4 || in_v6) &&
           (is_wildcard(one) || is_wildcard(other) || is_same_address(one, other));
}

/* ---- Text ---- */

static void format_number(const struct endpoint *endpoint, char out[ENDPOINT_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (is_v6(endpoint)) {
        inet_ntop(AF_INET6, &endpoint->address.v6.sin6_addr, host, sizeof(host));
    } else {
        inet_ntop(AF_INET, &endpoint->address.v4.sin_addr, host, sizeof(host));
    }
    snprintf(out, ENDPOINT_TEXT_BYTES, is_v6(endpoint) ? "[%s]:%u" : "%s:%u", host,
             endpoint_port(endpoint));
}

void endpoint_format(const struct endpoint *endpoint, char out[ENDPOINT_TEXT_BYTES])
{
    if (endpoint->takes_both) {
        snprintf(out, ENDPOINT_TEXT_BYTES, "*:%u", endpoint_port(endpoint));
    } else {
        format_number(endpoint, out);
    }
}

void endpoint_format_for_url(const struct endpoint *endpoint, char out[ENDPOINT_TEXT_BYTES])
{
    struct endpoint reachable;
    endpoint_make_reachable(endpoint, &reachable);
    if (endpoint->takes_both) {
        snprintf(out, ENDPOINT_TEXT_BYTES, "localhost:%u", endpoint_port(endpoint));
    } else {
        format_number(&reachable, out);
    }
}

const char *endpoint_note(const struct endpoint *endpoint)
{
    if (!is_wildcard(endpoint)) {
        return "";
    }
    if (endpoint->takes_both) {
        return " (every IPv4 and IPv6 address)";
    }
    return is_v6(endpoint) ? " (every IPv6 address)" : " (every IPv4 address)";
}

/* ---- The list ---- */

bool endpoints_add(struct endpoints *endpoints, const struct endpoint *endpoint)
{
    if (endpoints->count == ENDPOINTS_MOST) {
        return false;
    }
    CHECK(endpoints->count < ENDPOINTS_MOST);
    endpoints->list[endpoints->count++] = *endpoint;
    return true;
}

static bool is_listed_in_v4(const struct endpoints *endpoints, const struct endpoint *wildcard)
{
    for (size_t i = 0; i < endpoints->count; i++) {
        if (!is_v6(&endpoints->list[i]) && is_same_port(&endpoints->list[i], wildcard)) {
            return true;
        }
    }
    return false;
}

/* Of two that are equal the first stays. */
static bool is_covered(const struct endpoints *endpoints, size_t index)
{
    const struct endpoint *inner = &endpoints->list[index];
    for (size_t i = 0; i < endpoints->count; i++) {
        const struct endpoint *outer = &endpoints->list[i];
        if (i != index && endpoint_covers(outer, inner) &&
            (i < index || !endpoint_equals(outer, inner))) {
            return true;
        }
    }
    return false;
}

void endpoints_settle(struct endpoints *endpoints)
{
    struct endpoints all = *endpoints;
    for (size_t i = 0; i < all.count; i++) {
        struct endpoint *endpoint = &all.list[i];
        endpoint->takes_both =
            endpoint->is_all || (endpoint->takes_both && !is_listed_in_v4(endpoints, endpoint));
    }
    endpoints->count = 0;
    for (size_t i = 0; i < all.count; i++) {
        if (!is_covered(&all, i)) {
            CHECK(endpoints->count <= i); /* what is kept moves to the front */
            endpoints_add(endpoints, &all.list[i]);
        }
    }
}
