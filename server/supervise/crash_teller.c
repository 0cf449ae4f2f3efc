/* Debug information takes megabytes once it is read, and milliseconds to read: too much for a
 * master that stands by with its memory shared by all workers, and is about to replace one. So it
 * forks, and does not wait. A damaged note can at worst end the teller. */
#include "server/supervise/crash_teller.h"

#include "common/base/crash_story.h"
#include "common/base/log.h"
#include "server/supervise/crash_symbols.h"
#include "server/supervise/teller.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void tell(struct crash_story *story, struct death_record *record, uint32_t worker)
{
    teller_begin("crash teller");
    crash_symbols_resolve(&story->stack);
    if (record != NULL) {
        scoreboard_publish_crash(record, story);
    }
    crash_log(story, worker);
    _exit(0);
}

static void start(struct death_record *record)
{
    struct crash_story story = record->crash;
    pid_t pid = fork();
    if (pid == 0) {
        tell(&story, record, record->process);
    }
    if (pid < 0) { /* without names, then */
        scoreboard_publish_crash(record, &story);
        crash_log(&story, record->process);
    }
}

void crash_teller_start(struct scoreboard *scoreboard)
{
    for (uint32_t i = 0; i < DEATH_RECORDS; i++) {
        struct death_record *record = &scoreboard->records[i];
        uint32_t buried = CRASH_BURIED;
        if (atomic_compare_exchange_strong(&record->crash_state, &buried, CRASH_IN_HANDS)) {
            start(record);
        }
    }
}

/* _Fork may be called in a signal handler, and so may what the child does with libbacktrace (see
 * crash_symbols.c). Should it wait for a lock that a lost thread held, it ends by its alarm. */
void crash_teller_run(const struct crash_story *story, uint32_t worker)
{
    struct crash_story copy = *story;
#if defined(__SANITIZE_THREAD__)
    pid_t pid = fork(); /* ThreadSanitizer knows of this one alone */
#else
    pid_t pid = _Fork();
#endif
    if (pid == 0) {
        tell(&copy, NULL, worker);
    }
    if (pid < 0) {
        crash_log(story, worker);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}
