#include "common/net/log_budget.h"

#include "common/base/check.h"
#include "common/base/log.h"

#include <stddef.h>

enum { LINES_PER_SECOND = 10, SECOND_MS = 1000 };

static bool is_second_over(const struct log_budget *budget, uint64_t now_ms)
{
    return now_ms - budget->since_ms >= SECOND_MS;
}

static enum log_level level_of(const struct log_budget *budget)
{
    return budget->warns ? LOG_WARN : LOG_INFO;
}

static const char *verb_of(const struct log_budget *budget)
{
    const char *usual = budget->warns ? "cut off" : "refused";
    return budget->verb != NULL ? budget->verb : usual;
}

bool log_budget_allows(struct log_budget *budget, uint64_t now_ms)
{
    if (!log_enabled(level_of(budget))) {
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
    CHECK(budget->written <= LINES_PER_SECOND);
    return true;
}

void log_budget_report(struct log_budget *budget, uint64_t now_ms)
{
    if (budget->dropped > 0 && is_second_over(budget, now_ms)) {
        log_write(level_of(budget), "%s %llu more, not listed: at most %d lines a second",
                  verb_of(budget), (unsigned long long)budget->dropped, LINES_PER_SECOND);
        budget->dropped = 0;
    }
}
