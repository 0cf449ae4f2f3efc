#include "common/net/log_budget.h"

#include "common/base/log.h"

enum { LINES_PER_SECOND = 10, SECOND_MS = 1000 };

static bool is_second_over(const struct log_budget *budget, uint64_t now_ms)
{
    return now_ms - budget->since_ms >= SECOND_MS;
}

bool log_budget_allows(struct log_budget *budget, uint64_t now_ms)
{
    if (!log_enabled(LOG_INFO)) {
        return false;
    }
    log_budget_report(budget, now_ms);
    if (is_second_over(budget, now_ms)) {
        budget->since_ms = now_ms;
        budget->written = 0;
    }
    if (budget->written == LINES_PER_SECOND) {
        budget->dropped++;
        return false;
    }
    budget->written++;
    return true;
}

void log_budget_report(struct log_budget *budget, uint64_t now_ms)
{
    if (budget->dropped > 0 && is_second_over(budget, now_ms)) {
        log_write(LOG_INFO, "refused %llu more, not listed: at most %d lines a second",
                  (unsigned long long)budget->dropped, LINES_PER_SECOND);
        budget->dropped = 0;
    }
}
