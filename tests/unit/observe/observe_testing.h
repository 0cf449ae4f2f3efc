/* A server as its observer sees it: shared memory that tests fill by hand, and a master's word. For
 * test programs, behind cmocka.h. */
#ifndef TWINHTTPD_TESTS_UNIT_OBSERVE_OBSERVE_TESTING_H
#define TWINHTTPD_TESTS_UNIT_OBSERVE_OBSERVE_TESTING_H

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/scoreboard/scoreboard.h"
#include "server/observe/bulletin.h"
#include "tests/unit/client_at.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct scoreboard *scoreboard;
static struct ledger *ledger;
static struct bulletin *bulletin;
static struct bulletin_copy word; /* what the master says with the next post */

/* The master has finished something. */
static inline void post(void)
{
    ledger_get_totals(ledger, &word.totals);
    word.beat_ms = clock_monotonic_ms();
    bulletin_post(bulletin, &word);
}

static inline void add_process(uint32_t number, uint32_t slots)
{
    uint32_t first = ledger_claim(ledger, slots);
    uint32_t generation = ledger_next_generation(ledger);
    assert_int_not_equal(first, LEDGER_FULL);
    for (uint32_t i = 0; i < slots; i++) {
        struct worker_slot *slot = &scoreboard->slots[first + i];
        slot->pid = (int32_t)getpid();
        slot->tid = (int32_t)getpid();
        slot->process = number;
        slot->generation = generation;
        slot->state = SLOT_READY;
        slot->role = i == 0 ? SLOT_LOOP : SLOT_POOL;
        slot->heartbeat_ms = clock_monotonic_ms();
    }
    word.processes[word.process_count++] =
        (struct bulletin_process){.pid = (int32_t)getpid(),
                                  .number = number,
                                  .generation = generation,
                                  .first_slot = first,
                                  .slot_count = slots,
                                  .state = BULLETIN_CHILD_READY,
                                  .started_ns = clock_monotonic_ns()};
}

static inline void make_server(uint32_t processes, uint32_t slots_each)
{
    memset(&word, 0, sizeof(word));
    scoreboard = scoreboard_create(processes * slots_each + 2);
    ledger = ledger_create(scoreboard);
    bulletin = bulletin_create();
    assert_non_null(scoreboard);
    assert_non_null(bulletin);
    strcpy(scoreboard->server, "prefork-server");
    strcpy(scoreboard->model, "prefork");
    for (uint32_t i = 0; i < processes; i++) {
        add_process(i, slots_each);
    }
    word.master_pid = 4242;
    word.phase = BULLETIN_RUNNING;
    word.wanted = processes;
    word.observer_deaths = 1;
    post();
}

static inline void discard_server(void)
{
    bulletin_destroy(bulletin);
    ledger_destroy(ledger);
    scoreboard_destroy(scoreboard);
}

/* A process dies, and the master says so; a successor has its number if it is to have one. */
static inline void bury_process(uint32_t index, int32_t signal, bool succeeded)
{
    const struct bulletin_process dead = word.processes[index];
    struct death_record *death = memory_alloc_zeroed(1, sizeof(*death));
    death->pid = dead.pid;
    death->process = dead.number;
    death->generation = dead.generation;
    death->first_slot = dead.first_slot;
    death->slot_count = dead.slot_count;
    death->signal = signal;
    death->time_ms = clock_realtime_ms();
    bulletin_begin(bulletin);
    ledger_bury(ledger, death);
    memmove(&word.processes[index], &word.processes[index + 1],
            (word.process_count - index - 1) * sizeof(word.processes[0]));
    word.process_count--;
    if (succeeded) {
        add_process(dead.number, dead.slot_count);
    }
    free(death);
    post();
}

/* All of what is shared, as somebody writes it who can. */
static inline void scribble(int byte)
{
    memset((char *)scoreboard + SCOREBOARD_PAGE_BYTES, byte,
           sizeof(*scoreboard) - SCOREBOARD_PAGE_BYTES +
               scoreboard->slot_capacity * sizeof(struct worker_slot));
}

static const int scribbles[] = {0x00, 0xff, 0x01, 0x7f, 0x80, 0x41};
enum { SCRIBBLES = sizeof(scribbles) / sizeof(scribbles[0]) };

#endif
