#include "server/crash/teller.h"

#include "common/base/log.h"
#include "common/base/log_file.h"

#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PATIENCE_S = 30, NICENESS = 10 /* who serves comes first */ };

/* Who holds a copy of a socket keeps its connection open. */
static void close_all_but_log(void)
{
    unsigned log = (unsigned)log_descriptor();
    unsigned first = STDERR_FILENO + 1;
    if (log > first) {
        close_range(first, log - 1, 0);
    }
    close_range(log < first ? first : log + 1, UINT_MAX, 0);
}

/* The default action of SIGALRM is death; whoever forks may have it blocked. */
static void limit_time(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    alarm(PATIENCE_S);
}

void teller_begin(const char *name)
{
    prctl(PR_SET_NAME, "teller"); /* for ps: it looks like its parent otherwise */
    log_file_own(log_descriptor());
    close_all_but_log();
    log_set_name("%s", name);
    limit_time();
    int ignored = nice(NICENESS);
    (void)ignored;
}
