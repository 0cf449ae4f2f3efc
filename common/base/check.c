#include "common/base/check.h"

#include "common/base/log.h"

#include <stdlib.h>

static _Thread_local const char *failure;

/* A check that fails while the log is written leaves the first one's text, and does not log. */
void check_failed(const char *text)
{
    if (failure == NULL) {
        failure = text;
        log_write(LOG_ERROR, "assertion failed: %s", text);
    }
    abort();
}

const char *check_failure(void)
{
    return failure;
}
