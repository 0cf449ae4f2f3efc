/* Lets event loops, of threads and of processes, hand connections to each other: each has an inbox,
 * a socket that is made before the fork and outlives every worker. What lies in it when its loop
 * dies is read by its successor, which has the same inbox. */
#ifndef TWINHTTPD_SERVER_BALANCE_INBOXES_H
#define TWINHTTPD_SERVER_BALANCE_INBOXES_H

#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"

#include <stdbool.h>

/* The inboxes of one server; zeroed: none, connections stay where they are. */
struct inboxes {
    const struct scoreboard *scoreboard;
    uint32_t first_id; /* inboxes have ids, 1 and up, that no reload uses again */
    uint32_t count;
    int *fds;
    struct claims *claims; /* whose connections are on the way between them */
};

/* Makes an inbox for each of so many loops, unless there is but one. predecessor is that of the
 * server before a reload, or NULL. False with errno set on failure. Undone by inboxes_close,
 * which also takes a zeroed one. */
bool inboxes_open(struct inboxes *inboxes, const struct scoreboard *scoreboard, uint32_t loops,
                  const struct inboxes *predecessor);
void inboxes_close(struct inboxes *inboxes);

/* The id of a loop's inbox, for its slot. 0: it has none. */
uint32_t inboxes_id(const struct inboxes *inboxes, uint32_t loop);

/* The inbox with that id. -1: not one of these. */
int inboxes_find(const struct inboxes *inboxes, uint32_t id);

/* Whether nobody has shut one of them down. */
bool inboxes_is_sound(const struct inboxes *inboxes);

/* Descriptors that the inboxes of so many loops take in every process. */
uint32_t inboxes_descriptors(uint32_t loops);

/* A worker's tick (worker_options.rebalance); data is the struct inboxes. */
void inboxes_tick(const void *data, struct worker *worker, uint32_t slot_index);

#endif
