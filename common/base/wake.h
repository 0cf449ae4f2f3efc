/* Waking a thread that waits for a descriptor. */
#ifndef TWINHTTPD_COMMON_BASE_WAKE_H
#define TWINHTTPD_COMMON_BASE_WAKE_H

/* A non-blocking eventfd, which becomes readable when it is woken. -1 with errno set. Closed by the
 * caller. */
int wake_open(void);

/* From any thread. */
void wake(int fd);

#endif
