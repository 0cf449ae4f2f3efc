/* The process's table of descriptors. */
#ifndef TWINHTTPD_SERVER_PROCESS_DESCRIPTOR_TABLE_H
#define TWINHTTPD_SERVER_PROCESS_DESCRIPTOR_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* Makes the table as large as so many descriptors need, or 16,384. When a table that others share
 * (threads, a keeper) grows, at 64, 256, 512... descriptors, the kernel first waits until no CPU
 * looks at the old one (fs/file.c, expand_fdtable): whoever accepts or adopts stands still for some
 * 10 ms each time. It never shrinks again, and while nobody shares it it grows at once: call it
 * before. What is wrong is logged; then it grows later. */
void descriptor_table_grow(uint64_t descriptors);

/* From now on the process has no more than so many. What is wrong is logged. */
void descriptor_table_limit(uint64_t descriptors);

enum { DESCRIPTORS_KEPT_MOST = 8 };

/* Closes all but the standard streams and those in the list, of which negative ones are passed
 * over; at most DESCRIPTORS_KEPT_MOST. */
void descriptor_table_keep(const int *kept, size_t count);

#endif
