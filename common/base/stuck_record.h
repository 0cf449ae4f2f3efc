/* What was found of processes with a stuck thread (struct stuck_record in scoreboard.h): the last
 * ones are remembered. */
#ifndef TWINHTTPD_COMMON_BASE_STUCK_RECORD_H
#define TWINHTTPD_COMMON_BASE_STUCK_RECORD_H

#include "common/base/scoreboard.h"

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
