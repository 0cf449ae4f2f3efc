/* What all threads of a process are doing in which the watchdog has found a stuck one: the master
 * asks each of them for its stack, and does not wait for the answers. */
#ifndef TWINHTTPD_SERVER_MASTER_STUCK_INQUIRY_H
#define TWINHTTPD_SERVER_MASTER_STUCK_INQUIRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct child;
struct master;
struct stuck_inquiry;

SLIST_HEAD(stuck_inquiries, stuck_inquiry);

void stuck_inquiry_begin(struct master *master, const struct child *child);

/* Whether the process is still being asked: nothing should be done to it before it is over. */
bool stuck_inquiry_is_open(const struct master *master, const struct child *child);

/* Ends those that are answered, or have been given their time: what was found goes to the log and
 * to the scoreboard. True: some have ended. */
bool stuck_inquiries_run(struct master *master);

/* When it is to look for answers; 0: there is no inquiry. */
uint64_t stuck_inquiries_due_ms(const struct master *master);

void stuck_inquiries_close(struct master *master);

#endif
