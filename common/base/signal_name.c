#include "common/base/signal_name.h"

#include <stdio.h>
#include <string.h>

void signal_name(int number, char out[SIGNAL_NAME_BYTES])
{
    const char *abbreviation = sigabbrev_np(number);
    if (abbreviation != NULL) {
        snprintf(out, SIGNAL_NAME_BYTES, "SIG%s", abbreviation);
    } else {
        snprintf(out, SIGNAL_NAME_BYTES, "signal %d", number);
    }
}
