/* What becomes of the connections that a dead process leaves to its successor: counted by the
 * loops that go on with them, each in its slot. A process that has gone astray can have written
 * anything there: what nobody can have had so often counts as nothing. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_ADOPTION_H
#define TWINHTTPD_COMMON_SCOREBOARD_ADOPTION_H

#include <stdatomic.h>
#include <stdint.h>

struct json_writer;
struct scoreboard;

enum adoption_kind {
    ADOPTION_CONNECTIONS,      /* that were taken over */
    ADOPTION_LOST,             /* that could not be, or could not be gone on with */
    ADOPTION_LOST_IN_PROGRESS, /* requests on those */
    ADOPTION_LOST_AWAITED,     /* of those, the ones without: a request may have been on its way */
    ADOPTION_REPEATED,         /* requests whose handlers had begun, and began again */
    ADOPTION_RESUMED,          /* outputs of which a part had been sent, and the rest was */
    ADOPTION_SKIPPED,          /* requests whose answers had been sent, which nobody had booked */
    ADOPTION_REFUSED_500,      /* requests under which processes died */
    ADOPTION_REFUSED_502,      /* requests that may not be repeated */
    ADOPTION_KINDS
};

typedef _Atomic uint64_t adoption_counters[ADOPTION_KINDS];

struct adoption_counts {
    uint64_t of[ADOPTION_KINDS];
};

/* No process has more of anything. */
static inline uint64_t adoption_plausible(uint64_t count)
{
    return count < UINT32_MAX ? count : 0;
}

/* Adds what a loop has counted. */
void adoption_add(struct adoption_counts *sum, const adoption_counters *counters);

/* The same, and takes it away there. */
void adoption_take(struct adoption_counts *sum, adoption_counters *counters);

/* Of all processes, the dead and the living. */
void adoption_sum(const struct scoreboard *scoreboard, struct adoption_counts *sum);

/* Requests that all deaths have cost by now; and of these, the ones that had been started. */
struct adoption_loss {
    uint64_t requests;
    uint64_t in_progress;
};
struct adoption_loss adoption_loss(const struct scoreboard *scoreboard);

enum { ADOPTION_TEXT_BYTES = 200 };

/* "3 requests repeated, ...; 0 connections lost" */
void adoption_describe(const struct adoption_counts *counts, char out[ADOPTION_TEXT_BYTES]);

/* As an object, under this key. */
void adoption_put_json(struct json_writer *json, const char *key,
                       const struct adoption_counts *counts);

#endif
