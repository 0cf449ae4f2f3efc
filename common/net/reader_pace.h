/* How fast a client takes its response. It must take something within every send timeout, and must
 * not be slower than the least rate over all: one byte now and then would do otherwise. What it has
 * taken the kernel tells: that a socket takes more is seen only when a good part of what is queued
 * is gone. */
#ifndef TWINHTTPD_COMMON_NET_READER_PACE_H
#define TWINHTTPD_COMMON_NET_READER_PACE_H

#include "common/config/config.h"

struct reader_pace {
    uint64_t since_ms;    /* since when output has been blocked */
    uint64_t given_bytes; /* to the kernel since then, with what it held already */
    uint64_t taken_bytes; /* of these, what the client has acknowledged */
};

/* Output to the socket is blocked from now on. Returns the deadline in ms. */
uint64_t reader_pace_begin(struct reader_pace *pace, int socket_fd, const struct config *config,
                           uint64_t now_ms);

/* The kernel has taken sent_bytes more, maybe none. Returns the deadline: a later one if the client
 * has taken something since the last time, else the old one. */
uint64_t reader_pace_extend(struct reader_pace *pace, int socket_fd, const struct config *config,
                            uint64_t now_ms, uint64_t sent_bytes, uint64_t deadline_ms);

#endif
