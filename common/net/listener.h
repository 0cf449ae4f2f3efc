/* Listening sockets: opened once by the master, used by every event loop. */
#ifndef TWINHTTPD_COMMON_NET_LISTENER_H
#define TWINHTTPD_COMMON_NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { LISTENER_ERROR_BYTES = 256, LISTENER_ADDRESS_BYTES = 128 };

/* A set of sockets bound to one address. */
struct listener {
    int *fds;
    size_t count;
    bool is_passed; /* by a service manager, which goes on listening when the server has ended */
    char address[LISTENER_ADDRESS_BYTES]; /* as bound: "127.0.0.1:8080", port 0 replaced */
};

/* Binds and listens. With reuseport count sockets share the address and the kernel spreads
 * connections over them; else count must be 1. address as in struct config. False with one line in
 * error: cause and fix. Closed by listener_close. */
bool listener_open(struct listener *listener, const char *address, bool reuseport, size_t count,
                   char error[LISTENER_ERROR_BYTES]);

/* Takes over count sockets that a service manager has bound and that listen: descriptors first_fd
 * and on. False with one line in error: one of them is no listening TCP socket; all are closed
 * then. */
bool listener_adopt(struct listener *listener, int first_fd, size_t count,
                    char error[LISTENER_ERROR_BYTES]);

void listener_close(struct listener *listener);

/* Another set of descriptors for the same sockets; closing one leaves the other as it is. False
 * with errno set. */
bool listener_share(struct listener *listener, const struct listener *other);

/* Fills in the address of sockets that were opened elsewhere. False with errno set, also when one
 * of them does not listen. */
bool listener_read_address(struct listener *listener);

/* The socket that event loop number index takes connections from. */
int listener_fd(const struct listener *listener, size_t index);

/* Whether only this machine can reach it: every socket is bound to a loopback address (127.0.0.0/8,
 * ::1, or the former written as IPv6). False also when that cannot be told. */
bool listener_is_loopback(const struct listener *listener);

/* Makes sockets listen that somebody who shared them has shut down; the others go on undisturbed.
 * False with errno set. */
bool listener_listen(const struct listener *listener);

/* Resolves "host:port", "[v6]:port" or "*:port". False with one line in error. */
bool listener_resolve(const char *address, struct sockaddr_storage *out, socklen_t *bytes,
                      char error[LISTENER_ERROR_BYTES]);

#endif
