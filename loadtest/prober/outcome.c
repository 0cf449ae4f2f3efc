#include "loadtest/prober/outcome.h"

const char *outcome_name(enum outcome outcome)
{
    static const char *const names[OUTCOMES] = {
        [OUTCOME_OK] = "ok",
        [OUTCOME_BAD_STATUS] = "bad_status",
        [OUTCOME_MALFORMED] = "malformed",
        [OUTCOME_REFUSED] = "refused",
        [OUTCOME_CONNECT_ERROR] = "connect_error",
        [OUTCOME_RESET_BEFORE] = "reset_before_answer",
        [OUTCOME_RESET_WITHIN] = "reset_within_answer",
        [OUTCOME_CLOSED_BEFORE] = "closed_before_answer",
        [OUTCOME_CLOSED_WITHIN] = "closed_within_answer",
        [OUTCOME_TIMEOUT] = "timeout",
        [OUTCOME_NOT_SENT] = "not_sent",
    };
    return names[outcome];
}
