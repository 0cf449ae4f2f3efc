/* on_stuck: spare. How many threads stand in for pool threads that are stuck, as ordered by the
 * master (server/master/spare_order.h). A spare thread is a pool thread like the others; which
 * of them end when fewer are wanted does not matter, as long as they are not stuck themselves. */
#ifndef TWINHTTPD_SERVER_THREADPOOL_SPARE_THREADS_H
#define TWINHTTPD_SERVER_THREADPOOL_SPARE_THREADS_H

#include "common/scoreboard/slot.h"

struct spare_threads {
    const struct worker_slot *orders; /* the process's first slot */
    uint32_t places;
    _Atomic uint32_t running; /* of these, the ones that are taken, or about to be */
};

/* Makes slots first to end the places of spare threads that are not there. */
void spare_threads_open(struct spare_threads *spares, struct worker_slot *process_slots,
                        uint32_t first, uint32_t end);

/* Whether one more is wanted; it then counts as running. */
bool spare_threads_may_start(struct spare_threads *spares);

/* Asked by a spare thread between two requests. True: it is not needed any more, and does not count
 * from now on. */
bool spare_threads_may_end(struct spare_threads *spares);

/* One that counted could not be started. */
void spare_threads_failed(struct spare_threads *spares);

#endif
