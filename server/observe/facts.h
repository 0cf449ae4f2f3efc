/* One reading of all that the server shows, as plain structures: the scoreboard, which is testimony
 * of whoever wrote there last, and the bulletin, which is the master's word. Whatever stands there,
 * each number in here is possible, each text has its end, and no counter goes back. Nobody else in
 * this room reads shared memory. */
#ifndef TWINHTTPD_SERVER_OBSERVE_FACTS_H
#define TWINHTTPD_SERVER_OBSERVE_FACTS_H

#include "common/scoreboard/latency.h"
#include "common/scoreboard/scoreboard.h"
#include "server/observe/bulletin.h"

#include <stdbool.h>
#include <stdint.h>

/* A thread that serves. */
struct facts_slot {
    uint32_t slot; /* its place in the scoreboard */
    int32_t tid;
    uint32_t role;    /* enum slot_role */
    uint32_t state;   /* enum slot_state; what is none of them: not known */
    uint32_t verdict; /* enum slot_verdict */
    uint64_t heartbeat_age_ms;
    struct counter_sums counters;
    uint64_t connections_open, connections_busy, connections_idle;
    uint64_t deaths;
    bool has_current;
    struct request_copy current; /* what its handler works on */
};

/* A serving process. */
struct facts_process {
    int32_t pid;
    uint32_t number;
    uint32_t generation;
    enum bulletin_state state;
    bool inherits; /* it goes on with what a death has left */
    uint64_t age_ms;
    uint32_t first; /* of its slots, in facts.slots */
    uint32_t count;
};

struct facts_totals {
    struct counter_sums counters;
    uint64_t connections_open, connections_busy, connections_idle;
    uint64_t deaths;
    uint64_t requests_lost;
    uint64_t in_progress_lost; /* of these */
    uint64_t stuck_incidents;
    uint64_t deaths_by_signal[LEDGER_SIGNALS]; /* 0: the process exited */
    struct recovery_totals recoveries;
};

struct facts {
    uint64_t now_ms;    /* CLOCK_MONOTONIC, of this reading */
    uint64_t time_ms;   /* wall clock */
    uint64_t uptime_ms; /* of the server */
    bool agreed;        /* this reading met nothing half done; else totals are the last ones */
    uint64_t heard_ms;  /* for how long nothing has been heard of the master */
    int32_t master_pid;
    enum bulletin_phase phase;
    uint32_t wanted; /* processes */
    uint64_t observer_deaths;
    struct number_range deaths; /* numbers of those whose records are remembered */
    struct number_range stuck;  /* the same of stuck processes */
    struct facts_totals totals;
    uint32_t process_count;
    struct facts_process *processes; /* in the order of their start */
    uint32_t slot_count;
    struct facts_slot *slots; /* those of one process in a row; no place where nobody is */
};

struct facts_reader;
struct carried;

/* All of them outlive the reader. carried: what other programs have counted; NULL: none.
 * Freed by facts_reader_destroy. */
struct facts_reader *facts_reader_create(const struct scoreboard *scoreboard,
                                         const struct bulletin *bulletin, struct carried *carried);
void facts_reader_destroy(struct facts_reader *reader);

/* Reads everything again. The result is the reader's, and stands until the next reading. */
const struct facts *facts_read(struct facts_reader *reader);

/* The last reading. */
const struct facts *facts_last(const struct facts_reader *reader);

/* What one slot of the last reading has measured; clamped. */
typedef void (*facts_latency_fn)(void *data, const struct facts_process *process,
                                 const struct facts_slot *slot,
                                 const struct histogram_copy *requests);

/* What all slots have measured and all the dead had, together: of the processes of the last
 * reading. each (NULL: nobody) is told what each event loop has: what stands there is read once.
 * False: it was met half done, and *out is what it was the time before. */
bool facts_read_latency(struct facts_reader *reader, struct latency_copy *out,
                        facts_latency_fn each, void *data);

/* As deaths_copy, deaths_digest and stuck_record_copy. */
bool facts_copy_death(const struct facts_reader *reader, uint64_t number, struct death_record *out);
uint64_t facts_death_digest(const struct facts_reader *reader, uint64_t number);
bool facts_copy_stuck(const struct facts_reader *reader, uint64_t number, struct stuck_record *out);

/* "starting", "ready" or "draining" */
const char *facts_process_state_name(enum bulletin_state state);

#endif
