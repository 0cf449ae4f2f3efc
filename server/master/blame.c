/* Why a process has died, for whoever goes on with its requests: of its own doing, and then most
 * likely by which of them, or by somebody outside. */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/scoreboard/crash_story.h"
#include "server/master/proc.h"

#include <signal.h>
#include <string.h>

_Static_assert((int)DEATH_REQUESTS <= (int)WORKER_SUSPECTS, "there is room for all that are named");

void blame_open(struct master *master)
{
    master->oom_kills = proc_oom_kills();
}

/* SIGKILL tells nothing. If the kernel has killed anybody for want of memory since the last look,
 * it may have been this one. */
static bool may_have_taken_all_memory(struct master *master)
{
    uint64_t before = master->oom_kills;
    master->oom_kills = proc_oom_kills();
    return master->oom_kills > before;
}

static bool was_sent_by_others(const struct crash_story *crash)
{
    return crash->told && crash_was_sent(crash) && crash->sender_pid != crash->pid;
}

static void suspect(struct worker_end *end, const struct request_copy *request)
{
    CHECK(end->suspect_count < WORKER_SUSPECTS);
    memcpy(end->suspects[end->suspect_count++], request->client, sizeof(request->client));
}

/* Those that handlers were working on; all that had begun, if there were more than are named. */
static void suspect_all(struct worker_end *end, const struct death_record *death)
{
    end->suspects_known = death->request_count < DEATH_REQUESTS;
    for (uint32_t i = 0; i < death->request_count && end->suspects_known; i++) {
        suspect(end, &death->requests[i]);
    }
}

struct worker_end blame_end(struct master *master, const struct child *child,
                            const struct death_record *death)
{
    struct worker_end end = {.by_itself = true};
    const struct crash_story *crash = &death->crash;
    if (death->signal == SIGKILL && !child->aborted) {
        end.by_itself = may_have_taken_all_memory(master);
    } else if (was_sent_by_others(crash) && !child->aborted) {
        end.by_itself = false;
    } else if (crash->told && !child->aborted) {
        end.suspects_known = crash->has_request; /* else it was the loop itself */
        if (crash->has_request) {
            suspect(&end, &crash->request);
        }
        return end;
    }
    suspect_all(&end, death);
    return end;
}
