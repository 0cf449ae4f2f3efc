/* First the master reads what the kernel tells of each thread, while no signal has touched it yet.
 * Then each thread that serves is asked for its stack (stack_report.h). Most answer within a
 * millisecond; one that the kernel holds in state D, or that has been stopped, may never: after
 * PATIENCE_MS the others are told without it.
 *
 * The names of the functions are looked up by a process of its own (teller.h), since their tables
 * take time and memory that the master does not have. */
#include "server/master/stuck_inquiry.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/scoreboard/crash_story.h"
#include "common/scoreboard/stuck_record.h"
#include "server/crash/crash_symbols.h"
#include "server/crash/stack_report.h"
#include "server/master/master_internal.h"
#include "server/master/proc.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 200,
    LOOK_AGAIN_MS = 10,
    WHO_BYTES = 48,
    REQUEST_PHRASE_BYTES = NOTE_LINE_BYTES + CLIENT_TEXT_BYTES + 16
};

struct stuck_inquiry {
    struct tale tale; /* that it becomes when it is over */
    SLIST_ENTRY(stuck_inquiry) link;
    uint64_t number;  /* of the record */
    uint64_t look_ms; /* when to look for answers again */
    uint64_t until_ms;
    struct stuck_record record;
    uint32_t asked[STUCK_THREADS]; /* number of the question to each of the threads; 0: none */
    char kernel[STUCK_THREADS][PROC_DESCRIPTION_BYTES];
};

/* ---- Who there is ---- */

static bool is_known(const struct stuck_record *record, int32_t tid)
{
    for (uint32_t i = 0; i < record->thread_count; i++) {
        if (record->threads[i].tid == tid) {
            return true;
        }
    }
    return false;
}

/* NULL: it is in the record already, or there are too many. */
static struct stuck_thread *add_thread(struct stuck_inquiry *inquiry, int32_t tid)
{
    struct stuck_record *record = &inquiry->record;
    if (record->thread_count == STUCK_THREADS || is_known(record, tid)) {
        return NULL;
    }
    CHECK(record->thread_count < STUCK_THREADS);
    uint32_t index = record->thread_count;
    struct stuck_thread *thread = &record->threads[index];
    struct proc_thread seen;
    if (!proc_thread_read(record->pid, tid, &seen)) {
        return NULL;
    }
    record->thread_count++;
    *thread = (struct stuck_thread){.tid = tid, .slot = -1, .state = seen.state};
    proc_thread_wait_channel(record->pid, tid, thread->wait_channel, sizeof(thread->wait_channel));
    proc_thread_describe(record->pid, tid, inquiry->kernel[index]);
    return thread;
}

static void add_slots(struct stuck_inquiry *inquiry, const struct master *master,
                      const struct child *child, bool stuck)
{
    for (uint32_t i = child->first_slot; i < child->first_slot + child->slot_count; i++) {
        const struct worker_slot *slot = &master->server->scoreboard->slots[i];
        CHECK(i < master->server->scoreboard->slot_capacity);
        uint32_t verdict = master->watchdog.watches[i].verdict;
        struct stuck_thread *thread = slot_verdict_is_stuck(verdict) == stuck
                                          ? add_thread(inquiry, atomic_load(&slot->tid))
                                          : NULL;
        if (thread != NULL) {
            thread->slot = (int32_t)i;
            thread->role = i - child->first_slot < child->loop_count ? SLOT_LOOP : SLOT_POOL;
            thread->verdict = verdict;
            thread->has_request = slot_note_read(slot, &thread->request);
        }
    }
}

/* Who holds what the stuck one waits for may be any of them. */
static void add_others(struct stuck_inquiry *inquiry)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/task", inquiry->record.pid);
    DIR *threads = opendir(path);
    if (threads == NULL) {
        log_write(LOG_WARN, "watchdog: cannot read %s: %m", path);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(threads)) != NULL) {
        int32_t tid = (int32_t)strtol(entry->d_name, NULL, 10); /* 0: "." and ".." */
        if (tid > 0) {
            add_thread(inquiry, tid);
        }
    }
    closedir(threads);
}

/* ---- Asking ---- */

/* Each question has a number of its own, which is not 0. */
static void ask(struct stuck_inquiry *inquiry, struct master *master)
{
    const struct stuck_record *record = &inquiry->record;
    for (uint32_t i = 0; i < record->thread_count; i++) {
        const struct stuck_thread *thread = &record->threads[i];
        if (thread->slot >= 0) {
            struct worker_slot *slot = &master->server->scoreboard->slots[thread->slot];
            master->watchdog.questions += master->watchdog.questions == UINT32_MAX ? 2 : 1;
            CHECK(master->watchdog.questions != 0); /* 0 stands for none */
            inquiry->asked[i] = master->watchdog.questions;
            atomic_store(&slot->inquiry.asked, inquiry->asked[i]);
            syscall(SYS_tgkill, record->pid, thread->tid, STACK_SIGNAL); /* it may have ended */
        }
    }
}

void stuck_inquiry_begin(struct master *master, const struct child *child)
{
    struct stuck_inquiry *inquiry = memory_alloc_zeroed(1, sizeof(*inquiry));
    struct stuck_record *record = &inquiry->record;
    record->time_ms = clock_realtime_ms();
    record->pid = child->pid;
    record->process = child->number;
    record->generation = child->generation;
    add_slots(inquiry, master, child, true);
    add_slots(inquiry, master, child, false);
    add_others(inquiry);
    ask(inquiry, master);
    inquiry->until_ms = clock_monotonic_ms() + PATIENCE_MS;
    SLIST_INSERT_HEAD(&master->watchdog.inquiries, inquiry, link);
}

bool stuck_inquiry_is_open(const struct master *master, const struct child *child)
{
    const struct stuck_inquiry *inquiry;
    SLIST_FOREACH(inquiry, &master->watchdog.inquiries, link)
    {
        if (inquiry->record.pid == child->pid) {
            return true;
        }
    }
    return false;
}

/* ---- Telling, by the teller ---- */

static void describe_request(const struct stuck_thread *thread, char out[REQUEST_PHRASE_BYTES])
{
    if (thread->has_request) {
        snprintf(out, REQUEST_PHRASE_BYTES, "in \"%s\" from %s", thread->request.line,
                 thread->request.client);
    } else {
        snprintf(out, REQUEST_PHRASE_BYTES, "outside of any handler");
    }
}

/* A thread without a slot is not asked. */
static const char *missing_stack(const struct stuck_thread *thread)
{
    return thread->stack.frame_count > 0 || thread->slot < 0
               ? ""
               : "; it has not told its stack in time";
}

static void log_thread(const struct stuck_record *record, const struct stuck_thread *thread,
                       const char *kernel)
{
    char who[WHO_BYTES], slot[WHO_BYTES] = "no slot", request[REQUEST_PHRASE_BYTES];
    if (thread->slot >= 0) {
        snprintf(slot, sizeof(slot), "slot %d", thread->slot);
    }
    describe_request(thread, request);
    log_write(LOG_WARN, "watchdog: pid %d thread %d (%s): %s%s, %s%s", record->pid, thread->tid,
              slot, kernel, slot_verdict_is_stuck(thread->verdict) ? ", stuck" : "", request,
              missing_stack(thread));
    snprintf(who, sizeof(who), "watchdog: thread %d", thread->tid);
    crash_log_stack(LOG_WARN, who, &thread->stack);
}

static void tell(const struct tale *tale, struct scoreboard *scoreboard)
{
    const struct stuck_inquiry *inquiry = (const void *)tale;
    const struct stuck_record *record = &inquiry->record;
    for (uint32_t i = 0; i < record->thread_count; i++) {
        log_thread(record, &record->threads[i], inquiry->kernel[i]);
    }
    stuck_record_publish(scoreboard, inquiry->number, record);
}

static void resolve(struct tale *tale)
{
    struct stuck_record *record = &((struct stuck_inquiry *)(void *)tale)->record;
    for (uint32_t i = 0; i < record->thread_count; i++) {
        crash_symbols_resolve(&record->threads[i].stack);
    }
}

static const struct tale_kind stack_tale = {"stack teller", resolve, tell};

/* ---- The end ---- */

/* The answer to a later question does as well. Whoever forges one forges a stack, no more. */
static bool has_answered(const struct stuck_inquiry *inquiry, const struct scoreboard *scoreboard,
                         uint32_t index)
{
    const struct stuck_thread *thread = &inquiry->record.threads[index];
    if (thread->slot < 0) {
        return false;
    }
    uint32_t answered = atomic_load_explicit(&scoreboard->slots[thread->slot].inquiry.answered,
                                             memory_order_acquire);
    return (int32_t)(answered - inquiry->asked[index]) >= 0;
}

static bool is_over(const struct stuck_inquiry *inquiry, const struct scoreboard *scoreboard)
{
    for (uint32_t i = 0; i < inquiry->record.thread_count; i++) {
        if (inquiry->asked[i] != 0 && !has_answered(inquiry, scoreboard, i)) {
            return clock_monotonic_ms() >= inquiry->until_ms;
        }
    }
    return true;
}

static void read_answers(struct stuck_inquiry *inquiry, const struct scoreboard *scoreboard)
{
    for (uint32_t i = 0; i < inquiry->record.thread_count; i++) {
        struct stuck_thread *thread = &inquiry->record.threads[i];
        if (has_answered(inquiry, scoreboard, i)) {
            stack_note_read(&scoreboard->slots[thread->slot].inquiry.stack, &thread->stack);
        }
    }
}

/* The tellers free it. */
static void end(struct master *master, struct stuck_inquiry *inquiry)
{
    read_answers(inquiry, master->server->scoreboard);
    SLIST_REMOVE(&master->watchdog.inquiries, inquiry, stuck_inquiry, link);
    inquiry->tale.kind = &stack_tale;
    inquiry->number = ledger_next_stuck_record(master->server->ledger);
    tellers_add(&master->tellers, &inquiry->tale);
}

bool stuck_inquiries_run(struct master *master)
{
    const struct scoreboard *scoreboard = master->server->scoreboard;
    struct stuck_inquiry *inquiry = SLIST_FIRST(&master->watchdog.inquiries);
    bool some_ended = false;
    while (inquiry != NULL) {
        struct stuck_inquiry *next = SLIST_NEXT(inquiry, link);
        inquiry->look_ms = clock_monotonic_ms() + LOOK_AGAIN_MS;
        if (is_over(inquiry, scoreboard)) {
            end(master, inquiry);
            some_ended = true;
        }
        inquiry = next;
    }
    return some_ended;
}

uint64_t stuck_inquiries_due_ms(const struct master *master)
{
    uint64_t due_ms = 0;
    const struct stuck_inquiry *inquiry;
    SLIST_FOREACH(inquiry, &master->watchdog.inquiries, link)
    {
        due_ms = due_ms == 0 || inquiry->look_ms < due_ms ? inquiry->look_ms : due_ms;
    }
    return due_ms;
}

void stuck_inquiries_close(struct master *master)
{
    struct stuck_inquiry *inquiry;
    while ((inquiry = SLIST_FIRST(&master->watchdog.inquiries)) != NULL) {
        SLIST_REMOVE_HEAD(&master->watchdog.inquiries, link);
        free(inquiry);
    }
}
