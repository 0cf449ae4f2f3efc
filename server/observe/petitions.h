/* What the observer asks of its master: lines of the control protocol (control_peer.h), each with a
 * number, over a socket of their own. The master decides, and answers when it likes. */
#ifndef TWINHTTPD_SERVER_OBSERVE_PETITIONS_H
#define TWINHTTPD_SERVER_OBSERVE_PETITIONS_H

#include "common/base/span.h"

#include <stdbool.h>

struct event_base;
struct petitions;

enum {
    PETITIONS_MOST = 8,           /* that wait for an answer */
    PETITIONS_PATIENCE_MS = 10000 /* then the master is not expected to answer any more */
};

/* The master's answer, a JSON object in a line; ptr NULL: there is none. */
typedef void (*petition_answer_fn)(void *data, struct span answer);

/* over is called when the master has closed the socket. Takes the socket over; never NULL. */
struct petitions *petitions_create(int fd, struct event_base *base, void (*over)(void *data),
                                   void *data);

/* Nobody is answered any more. NULL: nothing. */
void petitions_destroy(struct petitions *petitions);

/* Sends the request, one line without its end. answer is called once, later. False: too many wait,
 * or the master does not read; nothing is called then. */
bool petitions_send(struct petitions *petitions, struct span line, petition_answer_fn answer,
                    void *data);

#endif
