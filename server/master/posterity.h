/* What a program that is being replaced leaves to the new one of its counters (carried.h). */
#ifndef TWINHTTPD_SERVER_MASTER_POSTERITY_H
#define TWINHTTPD_SERVER_MASTER_POSTERITY_H

#include <stdint.h>

struct carried;
struct carried_counts;
struct facts_reader;
struct master;

/* Zeroed: no new program has been started. */
struct posterity {
    struct carried *carried;
    struct carried_counts *draft;
    struct facts_reader *reader;
    uint64_t write_at_ms;
};

/* Before the new program is started: the descriptor for it, which the caller closes. -1: nobody
 * observes, so that there is nothing to go on with; or none can be had (reported). */
int posterity_begin(struct master *master);

/* While the new program is there, it finds what is true now, ten times a second. */
void posterity_run(struct master *master);
uint64_t posterity_due_ms(const struct master *master);

/* What is true at the end, when all processes are gone. Before observation_close. */
void posterity_close(struct master *master);

#endif
