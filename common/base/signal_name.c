#include "common/base/signal_name.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>

void signal_name(int number, char out[SIGNAL_NAME_BYTES])
{
    const char *abbreviation = sigabbrev_np(number);
    if (abbreviation != NULL) {
        snprintf(out, SIGNAL_NAME_BYTES, "SIG%s", abbreviation);
    } else {
        snprintf(out, SIGNAL_NAME_BYTES, "signal %d", number);
    }
}

void signal_describe_end(int wait_status, char out[SIGNAL_END_BYTES])
{
    char name[SIGNAL_NAME_BYTES];
    if (WIFSIGNALED(wait_status)) {
        signal_name(WTERMSIG(wait_status), name);
        snprintf(out, SIGNAL_END_BYTES, "was killed by %s", name);
    } else {
        snprintf(out, SIGNAL_END_BYTES, "exited with status %d", WEXITSTATUS(wait_status));
    }
}

int signal_number(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (end != text) {
        return *end == '\0' && number > 0 && number < NSIG ? (int)number : 0;
    }
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    for (int i = 1; i < NSIG; i++) {
        const char *abbreviation = sigabbrev_np(i);
        if (abbreviation != NULL && strcasecmp(abbreviation, name) == 0) {
            return i;
        }
    }
    return 0;
}
