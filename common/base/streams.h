/* The standard streams of a program. */
#ifndef TWINHTTPD_COMMON_BASE_STREAMS_H
#define TWINHTTPD_COMMON_BASE_STREAMS_H

#include <stdbool.h>

/* Sees to it that descriptors 0, 1 and 2 are open: those that whoever started the program has
 * closed lead to /dev/null, or, where there is none, to something that cannot be written. Else the
 * first file or socket that is opened would get the number, and what is printed would go there. To
 * be called before anything else is opened. False with errno set: nothing at all can be opened. */
bool streams_fill(void);

#endif
