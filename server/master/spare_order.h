/* on_stuck: spare. The master orders spare threads for a process whose pool threads are stuck: as
 * many as are stuck, so that the pool keeps its capacity. The process starts and ends them
 * (server/threadpool/spare_threads.h). */
#ifndef TWINHTTPD_SERVER_MASTER_SPARE_ORDER_H
#define TWINHTTPD_SERVER_MASTER_SPARE_ORDER_H

#include <stdbool.h>

struct child;
struct master;

/* Orders as many as are needed, or as there may be. NULL: they stand in for all that are stuck;
 * otherwise why they cannot. */
const char *spare_order(const struct master *master, struct child *child);

#endif
