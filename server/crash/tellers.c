#include "server/crash/tellers.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/crash/teller.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void tellers_open(struct tellers *tellers, struct scoreboard *scoreboard)
{
    *tellers = (struct tellers){.scoreboard = scoreboard};
    STAILQ_INIT(&tellers->waiting);
}

static struct tale *take_next(struct tellers *tellers)
{
    struct tale *tale = STAILQ_FIRST(&tellers->waiting);
    if (tale != NULL) {
        STAILQ_REMOVE_HEAD(&tellers->waiting, link);
        tellers->waiting_count--;
    }
    return tale;
}

/* Ends the tale. */
static void tell_without_names(struct tellers *tellers, struct tale *tale)
{
    tale->kind->tell(tale, tellers->scoreboard);
    free(tale);
}

void tellers_close(struct tellers *tellers)
{
    struct tale *tale;
    while ((tale = take_next(tellers)) != NULL) {
        tell_without_names(tellers, tale);
    }
    for (size_t i = 0; i < TELLERS; i++) {
        free(tellers->running[i].tale);
    }
}

void tellers_add(struct tellers *tellers, struct tale *tale)
{
    STAILQ_INSERT_TAIL(&tellers->waiting, tale, link);
    tellers->waiting_count++;
    if (tellers->waiting_count > TALES_WAITING) {
        free(take_next(tellers));
        tellers->given_up++;
    }
}

/* ---- Starting ---- */

static _Noreturn void be_teller(struct tale *tale, struct scoreboard *scoreboard)
{
    teller_begin(tale->kind->teller);
    tale->kind->resolve(tale);
    tale->kind->tell(tale, scoreboard);
    _exit(0);
}

static void start(struct tellers *tellers, struct running_teller *place, struct tale *tale)
{
    pid_t pid = fork();
    if (pid == 0) {
        be_teller(tale, tellers->scoreboard);
    }
    if (pid < 0) {
        tell_without_names(tellers, tale);
    } else {
        *place = (struct running_teller){pid, tale, clock_monotonic_ms() + TELLER_OVERDUE_S * 1000};
    }
}

/* Not reaped yet, so that the number is nobody else's. */
static void kill_overdue(struct running_teller *teller)
{
    if (teller->pid != 0 && clock_monotonic_ms() >= teller->kill_at_ms) {
        log_write(LOG_WARN, "killing the teller of a stack (pid %d), which has not ended in time",
                  (int)teller->pid);
        kill(teller->pid, SIGKILL);
        teller->kill_at_ms += TELLER_OVERDUE_S * 1000;
    }
}

static void tell_given_up(struct tellers *tellers)
{
    if (tellers->given_up > 0) {
        log_write(LOG_WARN, "%u stacks are not told: more came than tellers can tell of",
                  tellers->given_up);
        tellers->given_up = 0;
    }
}

void tellers_run(struct tellers *tellers)
{
    for (size_t i = 0; i < TELLERS; i++) {
        struct running_teller *place = &tellers->running[i];
        struct tale *tale = place->pid == 0 ? take_next(tellers) : NULL;
        kill_overdue(place);
        if (tale != NULL) {
            tell_given_up(tellers);
            start(tellers, place, tale);
        }
    }
}

/* ---- Ending ---- */

/* It may have been too slow, or the file that has the names is damaged. */
static void end(struct tellers *tellers, struct running_teller *teller, int wait_status)
{
    if (wait_status == 0) {
        free(teller->tale);
    } else {
        log_write(LOG_WARN, "the teller of a stack (pid %d) %s %d: it is told without names",
                  (int)teller->pid,
                  WIFSIGNALED(wait_status) ? "was ended by signal" : "exited with",
                  WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status));
        tell_without_names(tellers, teller->tale);
    }
    *teller = (struct running_teller){0};
}

bool tellers_reap(struct tellers *tellers, pid_t pid, int wait_status)
{
    for (size_t i = 0; i < TELLERS; i++) {
        if (tellers->running[i].pid == pid) {
            end(tellers, &tellers->running[i], wait_status);
            return true;
        }
    }
    return false;
}

uint64_t tellers_due_ms(const struct tellers *tellers)
{
    uint64_t due_ms = 0;
    for (size_t i = 0; i < TELLERS; i++) {
        const struct running_teller *teller = &tellers->running[i];
        if (teller->pid != 0 && (due_ms == 0 || teller->kill_at_ms < due_ms)) {
            due_ms = teller->kill_at_ms;
        }
    }
    return due_ms;
}
