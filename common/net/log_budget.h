/* Lines that any client can cause: a few of them a second are written, the others are counted, so
 * that an attack fills neither the disk nor the worker's time. */
#ifndef TWINHTTPD_COMMON_NET_LOG_BUDGET_H
#define TWINHTTPD_COMMON_NET_LOG_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised but for how it tells: nothing has been written. */
struct log_budget {
    uint64_t since_ms; /* when the current second began */
    bool warns;        /* the lines are at level warn instead of info */
    const char *verb;  /* what happened to those that are not listed; NULL: by level */
    uint32_t written;  /* in this second */
    uint64_t dropped;  /* since the last line that told how many */
};

/* Whether one more line may be written now. */
bool log_budget_allows(struct log_budget *budget, uint64_t now_ms);

/* Tells in one line how many were dropped, once their second is over. */
void log_budget_report(struct log_budget *budget, uint64_t now_ms);

#endif
