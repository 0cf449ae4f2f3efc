/* What a program hands over to the one that replaces it: the listening sockets, and a socket over
 * which the two talk while the new one is on trial. It travels in variables of the
 * environment. */
#ifndef TWINHTTPD_SERVER_SETUP_INHERITANCE_H
#define TWINHTTPD_SERVER_SETUP_INHERITANCE_H

#include "server/setup/server.h"

/* What the new program tells the old one, a byte each. Ending without a word is a reason to go
 * back. */
enum inheritance_news {
    INHERITANCE_SERVES = 'R',    /* at the sockets that it was given */
    INHERITANCE_ELSEWHERE = 'O', /* at others: its configuration names another address */
    INHERITANCE_DRAINS = 'Q',    /* it was told to end, or has a successor itself */
    INHERITANCE_STOPS = 'T',     /* it was told to end at once */
    INHERITANCE_LEAVES = 0x80    /* plus n: it does not serve at the sockets of the n-th address */
};

enum { INHERITANCE_RECALL = 'B' }; /* what the old program may say: see inheritance_is_recalled */

/* Of the counters (server/observe/counted_page.h); -1: nothing. */
struct inheritance_pages {
    int counted_fd;  /* what was counted so far */
    int counting_fd; /* where the new program writes what it counts */
};

/* In the forked process, before it becomes the new program: keeps the sockets, talk_fd and pages
 * open and names them in the environment. False with errno set. */
bool inheritance_offer(const struct server *server, int talk_fd,
                       const struct inheritance_pages *pages);

/* In the new program: takes the sockets, each set with the address that was wanted. Zeroed: there
 * are none, or (reported) none of use. Only the first call finds any. */
void inheritance_take(struct listeners *listeners);

/* The same of the socket at which the observer answers. */
void inheritance_take_observing(struct listeners *observing);

/* The same of each of the pages; -1: there is none. */
int inheritance_take_counted(void);
int inheritance_take_counting(void);

/* Whether this program was started to replace another one. */
bool inheritance_is_offered(void);

/* Whether the program that it was started to replace is still there. */
bool inheritance_is_heard(void);

/* Tells the old program. Nothing happens where there is none (any more). */
void inheritance_tell(enum inheritance_news news);

/* The old program serves again: this one is to end, and leaves the sockets to it. */
bool inheritance_is_recalled(void);

/* In a process forked by this program: it has nothing to tell. */
void inheritance_close(void);

#endif
