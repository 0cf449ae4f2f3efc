#include "server/process/core_files.h"

#include "common/base/log.h"

#include <sys/resource.h>

void core_files_allow(bool allowed)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0) {
        log_write(LOG_WARN, "cannot read the limit of core files: %m");
        return;
    }
    if (allowed && limit.rlim_max == 0) {
        log_write(LOG_WARN, "there will be no core files: their hard limit is 0; raise it "
                            "(ulimit -Hc, LimitCORE=)");
    }
    limit.rlim_cur = allowed ? limit.rlim_max : 0;
    if (setrlimit(RLIMIT_CORE, &limit) != 0) {
        log_write(LOG_WARN, "cannot set the limit of core files: %m");
    }
}
