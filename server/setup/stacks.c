#include "server/setup/stacks.h"

#include "common/base/log.h"

#include <pthread.h>
#include <sys/resource.h>

enum { LEAST_BYTES = 524288 };

/* The kernel looks at it when the stack grows. */
static void ensure_own(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= LEAST_BYTES) {
        return;
    }
    limit.rlim_cur = LEAST_BYTES;
    if (limit.rlim_max < LEAST_BYTES) { /* for root */
        limit.rlim_max = LEAST_BYTES;
    }
    if (setrlimit(RLIMIT_STACK, &limit) != 0) {
        log_write(LOG_WARN,
                  "cannot raise the limit of the stack to %d bytes: %m; raise it "
                  "(ulimit -s, LimitSTACK=), or processes may die of it",
                  LEAST_BYTES);
    }
}

/* The C library has taken the limit for that of all threads before main began. */
static void ensure_threads(void)
{
    pthread_attr_t attributes;
    size_t bytes;
    if (pthread_getattr_default_np(&attributes) != 0) {
        return;
    }
    if (pthread_attr_getstacksize(&attributes, &bytes) == 0 && bytes < LEAST_BYTES &&
        pthread_attr_setstacksize(&attributes, LEAST_BYTES) == 0) {
        pthread_setattr_default_np(&attributes);
    }
    pthread_attr_destroy(&attributes);
}

void stacks_ensure(void)
{
    ensure_own();
    ensure_threads();
}
