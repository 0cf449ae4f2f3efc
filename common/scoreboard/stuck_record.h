/* What was found of processes with a stuck thread: the last
 * ones are remembered. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_STUCK_RECORD_H
#define TWINHTTPD_COMMON_SCOREBOARD_STUCK_RECORD_H

#include "common/base/number_range.h"
#include "common/scoreboard/slot.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct scoreboard;

/* Of processes with stuck threads. */
enum {
    STUCK_RECORDS = 4,  /* how many are remembered */
    STUCK_THREADS = 64, /* how many threads one tells of */
    WAIT_CHANNEL_BYTES = 48
};

/* What was found of a thread when one of its process was stuck. */
struct stuck_thread {
    int32_t tid;
    int32_t slot;                          /* -1: none */
    uint32_t role;                         /* enum slot_role */
    uint32_t verdict;                      /* enum slot_verdict */
    char state;                            /* in the kernel: R, S, D... */
    char wait_channel[WAIT_CHANNEL_BYTES]; /* in the kernel; "": none, or not to be read */
    uint8_t has_request;                   /* 0: no */
    struct request_copy request;
    struct stack_story stack; /* without frames: it has not answered */
};

/* A process in which threads were found stuck. */
struct stuck_record {
    uint64_t time_ms; /* wall clock */
    int32_t pid;
    uint32_t process;
    uint32_t generation;
    uint32_t thread_count; /* of threads[]; those that are stuck come first */
    struct stuck_thread threads[STUCK_THREADS];
};

struct stuck_place {
    _Atomic uint64_t sequence; /* odd while the record is written; 0: there is none */
    uint64_t number;
    struct stuck_record record;
};

/* Puts the complete record where every process sees it; from any process. number is the one that
 * ledger_next_stuck_record gave. */
void stuck_record_publish(struct scoreboard *scoreboard, uint64_t number,
                          const struct stuck_record *record);

/* Those that are still remembered, or about to be written. */
struct number_range stuck_record_remembered(const struct scoreboard *scoreboard);

/* Copies a record, which is too large for a stack. False: it is not remembered, or is being
 * written. */
bool stuck_record_copy(const struct scoreboard *scoreboard, uint64_t number,
                       struct stuck_record *out);

#endif
