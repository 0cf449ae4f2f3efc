/* What a program leaves of its counters to the one that serves in its place: an old program to the
 * new one that replaces it, and a new one to the old one, which serves again should it fail
 * (counted_page.h). */
#ifndef TWINHTTPD_SERVER_MASTER_POSTERITY_H
#define TWINHTTPD_SERVER_MASTER_POSTERITY_H

#include <stdint.h>

struct carried_counts;
struct counted_page;
struct facts_reader;
struct inheritance_pages;
struct master;

/* What somebody else reads, as this program's observer would tell it. page NULL: nobody does. */
struct bequest {
    struct counted_page *page;
    struct facts_reader *reader;
};

/* Zeroed: nobody is left anything. */
struct posterity {
    struct bequest next;          /* for the new program: what this one and those before counted */
    struct bequest previous;      /* for the old program: what this one counted */
    struct counted_page *awaited; /* what the new program counts; NULL: there is none */
    struct carried_counts *draft;
    uint64_t write_at_ms;
};

/* In a new program, behind observation_open: the old one is there as long as it may serve again. */
void posterity_open(struct master *master);

/* Before a new program is started: both descriptors for it, which the caller closes. -1: nobody
 * observes, so that there is nothing to go on with; or none can be had (reported). */
struct inheritance_pages posterity_begin(struct master *master);

/* This program serves again: what the new one has counted, and still counts, is added. */
void posterity_take_back(struct master *master);

/* The new program has ended. */
void posterity_end(struct master *master);

/* While another program is there, it finds what is true now, ten times a second. */
void posterity_run(struct master *master);
uint64_t posterity_due_ms(const struct master *master);

/* What is true at the end, when all processes are gone. Before observation_close. */
void posterity_close(struct master *master);

#endif
