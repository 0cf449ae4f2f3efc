/* Where a server listens: an address and a port, and which of them get in each other's way. */
#ifndef TWINHTTPD_COMMON_NET_ENDPOINT_H
#define TWINHTTPD_COMMON_NET_ENDPOINT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ENDPOINTS_MOST = 16, /* that one server listens at */
    ENDPOINT_TEXT_BYTES = 64,
    ENDPOINT_NOTE_BYTES = 48
};

struct endpoint {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    socklen_t bytes;
    bool takes_both; /* IPv6's wildcard: connections over IPv4, too */
    bool is_all;     /* "*": takes_both whatever else is listed */
    bool may_lack;   /* one of several addresses of a name: this machine need not have it */
    uint8_t item;    /* of the list in the settings; those of one item have one port */
};

/* In the order of the settings. */
struct endpoints {
    struct endpoint list[ENDPOINTS_MOST];
    size_t count;
};

/* "127.0.0.1:8080", "[::1]:8080" or "*:8080": every address of IPv6 and IPv4. False: the host is no
 * number but a name, or no host at all. */
bool endpoint_parse(struct endpoint *endpoint, const char *text);

/* From the kernel's form. False: neither IPv4 nor IPv6. An IPv4 address written as IPv6 becomes the
 * former. */
bool endpoint_from(struct endpoint *endpoint, const struct sockaddr *address);

/* Where that socket is bound. False with errno set. */
bool endpoint_of_socket(struct endpoint *endpoint, int fd);

uint16_t endpoint_port(const struct endpoint *endpoint);
void endpoint_set_port(struct endpoint *endpoint, uint16_t port);

/* The same address and port, and the same kind of wildcard. */
bool endpoint_equals(const struct endpoint *one, const struct endpoint *other);

/* Whether outer takes every connection that inner would take. Never with port 0. */
bool endpoint_covers(const struct endpoint *outer, const struct endpoint *inner);

/* Whether there are connections that both would take, so that Linux lets only one listen. */
bool endpoint_overlaps(const struct endpoint *one, const struct endpoint *other);

/* 127.0.0.0/8 or ::1: only this machine reaches it. */
bool endpoint_is_loopback(const struct endpoint *endpoint);

/* "127.0.0.1:8080", "[::1]:8080", "*:8080". */
void endpoint_format(const struct endpoint *endpoint, char out[ENDPOINT_TEXT_BYTES]);

/* The same for a URL: in the place of a wildcard stands a name by which this machine reaches
 * itself. */
void endpoint_format_for_url(const struct endpoint *endpoint, char out[ENDPOINT_TEXT_BYTES]);

/* Where this machine reaches it: itself in the place of a wildcard. */
void endpoint_make_reachable(const struct endpoint *endpoint, struct endpoint *reachable);

/* What a wildcard stands for: " (every IPv4 and IPv6 address)"; "" for any other address. */
const char *endpoint_note(const struct endpoint *endpoint);

/* Adds one to the list. False: there are ENDPOINTS_MOST already. */
bool endpoints_add(struct endpoints *endpoints, const struct endpoint *endpoint);

/* Makes the list such that all of it can be listened at: "[::]" leaves IPv4 to those that are
 * listed for it with the same port, and what another one covers is left out. */
void endpoints_settle(struct endpoints *endpoints);

#endif
