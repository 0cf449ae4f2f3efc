/* Keepers of processes that live. One that dies takes nothing along but what it would have kept.
 * Nobody can give another one to a process that serves: it may not start any, and nobody else can
 * share its table of descriptors. So it is replaced, without a gap. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/signal_name.h"

#include <errno.h>
#include <signal.h>

enum { YOUNG_MS = 5000 }; /* where keepers die at once, nobody is replaced more often */

static void lose(struct child *child, const char *how)
{
    CHECK(!child->lacks_keeper);
    child->keeper_pid = 0;
    child->lacks_keeper = true;
    log_write(
        LOG_WARN,
        "the keeper of process %u (pid %d, generation %u) %s: its connections will die with it",
        child->number, (int)child->pid, child->generation, how);
}

void keepers_learn(struct child *child, pid_t keeper_pid)
{
    CHECK(child->keeper_pid == 0 && !child->lacks_keeper);
    child->keeper_pid = keeper_pid;
    if (keeper_pid > 0 && kill(keeper_pid, 0) != 0 && errno == ESRCH) {
        lose(child, "has ended"); /* and was reaped when nobody knew whose it was */
    }
}

static struct child *find_kept(struct master *master, pid_t keeper_pid)
{
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->keeper_pid == keeper_pid) {
            return child;
        }
    }
    return NULL;
}

void keepers_reap(struct master *master, pid_t pid, int wait_status)
{
    CHECK(pid > 0);
    struct child *child = find_kept(master, pid);
    if (child != NULL) {
        char how[SIGNAL_END_BYTES];
        signal_describe_end(wait_status, how);
        lose(child, how);
    }
}

/* From when on it may be replaced. */
static uint64_t due_ms_of(const struct child *child)
{
    uint64_t grown_ms = child->started_ns / 1000000 + YOUNG_MS;
    return grown_ms > child->replace_again_ms ? grown_ms : child->replace_again_ms;
}

void keepers_run(struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->lacks_keeper && now_ms >= due_ms_of(child) && rolling_request(master, child)) {
            log_write(LOG_NOTICE, "replacing process %u (pid %d, generation %u): it has no keeper",
                      child->number, (int)child->pid, child->generation);
        }
    }
}

/* Who could be replaced now waits for news of another, not for the time. */
uint64_t keepers_due_ms(const struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t due_ms = 0;
    const struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->lacks_keeper && !child->retiring && due_ms_of(child) > now_ms) {
            due_ms = master_earlier_ms(due_ms, due_ms_of(child));
        }
    }
    return due_ms;
}
