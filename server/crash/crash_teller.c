/* Debug information takes megabytes once it is read, and milliseconds to read: too much for a
 * master that stands by with its memory shared by all workers, and is about to replace one. So it
 * forks, and does not wait. A damaged note can at worst end the teller. */
#include "server/crash/crash_teller.h"

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/scoreboard/crash_story.h"
#include "server/crash/crash_symbols.h"
#include "server/crash/teller.h"
#include "server/crash/tellers.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

struct crash_tale {
    struct tale tale;
    uint64_t death;
    int32_t pid;
    uint32_t process;
    uint32_t generation;
    struct crash_story story;
};

static void resolve(struct tale *tale)
{
    crash_symbols_resolve(&((struct crash_tale *)(void *)tale)->story.stack);
}

static void tell(const struct tale *tale, struct scoreboard *scoreboard)
{
    const struct crash_tale *crash = (const void *)tale;
    deaths_publish_crash(scoreboard, crash->death, &crash->story);
    char who[CRASH_WHO_BYTES];
    crash_name_process(crash->process, who);
    log_write(LOG_ERROR, "%s (pid %d, generation %u) crashed:", who, (int)crash->pid,
              crash->generation); /* two stories may be of one seat, and come in any order */
    crash_log(&crash->story, who);
}

void crash_teller_add(struct tellers *tellers, const struct death_record *death)
{
    static const struct tale_kind kind = {"crash teller", resolve, tell};
    struct crash_tale *crash = memory_alloc_zeroed(1, sizeof(*crash));
    crash->tale.kind = &kind;
    crash->death = death->number;
    crash->pid = death->pid;
    crash->process = death->process;
    crash->generation = death->generation;
    crash->story = death->crash;
    tellers_add(tellers, &crash->tale);
}

static _Noreturn void tell_and_exit(struct crash_story *story, const char *who)
{
    teller_begin("crash teller");
    crash_symbols_resolve(&story->stack);
    crash_log(story, who);
    _exit(0);
}

/* _Fork may be called in a signal handler, and so may what the child does with libbacktrace (see
 * crash_symbols.c). Should it wait for a lock that a lost thread held, it ends by its alarm. */
void crash_teller_run(const struct crash_story *story, const char *who)
{
    struct crash_story copy = *story;
#if defined(__SANITIZE_THREAD__)
    pid_t pid = fork(); /* ThreadSanitizer knows of this one alone */
#else
    pid_t pid = _Fork();
#endif
    if (pid == 0) {
        tell_and_exit(&copy, who);
    }
    int wait_status = 0; /* as far as it is known */
    while (pid > 0 && waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
    }
    if (pid < 0 || wait_status != 0) {
        crash_log(story, who);
    }
}
