#include "common/scoreboard/ledger.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/scoreboard/scoreboard.h"

#include <stdlib.h>
#include <string.h>

enum place_state { PLACE_FREE, PLACE_TAKEN, PLACE_OF_THE_DEAD, PLACE_STATES };

/* A slot. */
struct place {
    enum place_state state;
    uint64_t deaths; /* of threads in it, since somebody was asked to leave it */
};

enum { COUNTERS = sizeof(struct slot_counters) / sizeof(uint64_t) };

struct ledger {
    struct scoreboard *scoreboard;
    int32_t master_pid;
    uint32_t slot_count; /* places from here on have never been used */
    uint32_t generation;
    uint64_t deaths;
    uint64_t requests_lost;
    uint64_t stuck_incidents;
    uint64_t stuck_records;
    uint64_t death_sequence;
    uint64_t dead[COUNTERS];
    struct place places[];
};

struct ledger *ledger_create(struct scoreboard *scoreboard)
{
    size_t bytes = sizeof(struct ledger) + scoreboard->slot_capacity * sizeof(struct place);
    struct ledger *ledger = memory_alloc_zeroed(1, bytes);
    ledger->scoreboard = scoreboard;
    return ledger;
}

void ledger_destroy(struct ledger *ledger)
{
    free(ledger);
}

/* ---- Places ---- */

static void set_state(struct ledger *ledger, uint32_t index, enum place_state state)
{
    static const bool may_follow[PLACE_STATES][PLACE_STATES] = {
        [PLACE_FREE] = {[PLACE_TAKEN] = true},
        [PLACE_TAKEN] = {[PLACE_FREE] = true, [PLACE_OF_THE_DEAD] = true},
        [PLACE_OF_THE_DEAD] = {[PLACE_TAKEN] = true, [PLACE_FREE] = true},
    };
    CHECK(index < ledger->scoreboard->slot_capacity);
    struct place *place = &ledger->places[index];
    CHECK(may_follow[place->state][state]);
    place->state = state;
}

static void check_range(const struct ledger *ledger, uint32_t first, uint32_t count)
{
    CHECK(first <= ledger->slot_count && count <= ledger->slot_count - first);
}

/* They belong to one process, from ledger_claim to its end. */
static void check_taken(const struct ledger *ledger, uint32_t first, uint32_t count)
{
    check_range(ledger, first, count);
    for (uint32_t i = first; i < first + count; i++) {
        CHECK(ledger->places[i].state == PLACE_TAKEN);
    }
}

/* ---- Showing ---- */

static _Atomic uint64_t *counters_of(struct slot_counters *counters)
{
    _Static_assert(sizeof(*counters) == COUNTERS * sizeof(_Atomic uint64_t),
                   "nothing but counters");
    return (_Atomic uint64_t *)(void *)counters;
}

/* Nobody is there, whatever somebody has written: else siblings would leave connections to it. */
static void restate_free_slots(const struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->scoreboard->slot_capacity; i++) {
        enum place_state state = ledger->places[i].state;
        struct worker_slot *slot = &ledger->scoreboard->slots[i];
        if (state != PLACE_TAKEN) {
            atomic_store(&slot->state, state == PLACE_FREE ? SLOT_EMPTY : SLOT_DEAD);
        }
    }
}

void ledger_restate(const struct ledger *ledger)
{
    CHECK(ledger->slot_count <= ledger->scoreboard->slot_capacity);
    CHECK(ledger->death_sequence == 2 * ledger->deaths); /* even: no record is being written */
    struct scoreboard *shown = ledger->scoreboard;
    _Atomic uint64_t *dead = counters_of(&shown->dead);
    for (size_t i = 0; i < COUNTERS; i++) {
        atomic_store(&dead[i], ledger->dead[i]);
    }
    atomic_store(&shown->master_pid, ledger->master_pid);
    atomic_store(&shown->slot_count, ledger->slot_count);
    atomic_store(&shown->generation, ledger->generation);
    atomic_store(&shown->requests_lost, ledger->requests_lost);
    atomic_store(&shown->stuck_incidents, ledger->stuck_incidents);
    atomic_store(&shown->stuck_records, ledger->stuck_records);
    atomic_store(&shown->death_sequence, ledger->death_sequence);
    atomic_store(&shown->deaths, ledger->deaths);
    restate_free_slots(ledger);
}

void ledger_name_master(struct ledger *ledger, int32_t pid)
{
    CHECK(pid > 0 && ledger->master_pid == 0); /* said once */
    ledger->master_pid = pid;
    ledger_restate(ledger);
}

void ledger_restate_process(const struct ledger *ledger, const struct ledger_process *process)
{
    check_taken(ledger, process->first_slot, process->slot_count);
    CHECK(process->loop_count <= process->slot_count);
    for (uint32_t i = 0; i < process->slot_count; i++) {
        uint32_t index = process->first_slot + i;
        struct worker_slot *slot = &ledger->scoreboard->slots[index];
        atomic_store(&slot->pid, process->pid);
        atomic_store(&slot->process, process->number);
        atomic_store(&slot->generation, process->generation);
        atomic_store(&slot->role, i < process->loop_count ? SLOT_LOOP : SLOT_POOL);
        atomic_store(&slot->draining, process->draining);
        atomic_store(&slot->deaths, ledger->places[index].deaths);
    }
}

/* ---- Slots ---- */

static bool is_dead(const struct place *place)
{
    return place->state == PLACE_OF_THE_DEAD;
}

static bool is_free(const struct place *place)
{
    return place->state != PLACE_TAKEN;
}

/* The first of so many places in a row that are all as asked; LEDGER_FULL: there are none. */
static uint32_t find_run(const struct ledger *ledger, uint32_t count,
                         bool (*suits)(const struct place *place))
{
    CHECK(count > 0);
    uint32_t run = 0;
    for (uint32_t i = 0; i < ledger->scoreboard->slot_capacity; i++) {
        run = suits(&ledger->places[i]) ? run + 1 : 0;
        if (run == count) {
            return i + 1 - count;
        }
    }
    return LEDGER_FULL;
}

/* A successor takes the place of the dead, where there is one: else the dead would stay on show. */
static uint32_t find_room(const struct ledger *ledger, uint32_t count)
{
    uint32_t first = find_run(ledger, count, is_dead);
    return first != LEDGER_FULL ? first : find_run(ledger, count, is_free);
}

/* Whoever had it may have left anything, or somebody else since. */
static void clear_slot(struct ledger *ledger, uint32_t index)
{
    struct worker_slot *slot = &ledger->scoreboard->slots[index];
    memset((void *)slot, 0, sizeof(*slot));
    atomic_store(&slot->deaths, ledger->places[index].deaths);
    atomic_store(&slot->state, SLOT_CLAIMED);
}

uint32_t ledger_claim(struct ledger *ledger, uint32_t count)
{
    uint32_t first = find_room(ledger, count);
    if (first == LEDGER_FULL) {
        return first;
    }
    for (uint32_t i = first; i < first + count; i++) {
        set_state(ledger, i, PLACE_TAKEN);
        clear_slot(ledger, i);
    }
    if (first + count > ledger->slot_count) {
        ledger->slot_count = first + count;
    }
    ledger_restate(ledger);
    return first;
}

uint32_t ledger_next_generation(struct ledger *ledger)
{
    ledger->generation++;
    ledger_restate(ledger);
    return ledger->generation;
}

/* ---- The dead ---- */

static uint64_t take(_Atomic uint64_t *counter)
{
    return atomic_exchange(counter, 0);
}

/* What no process can have more of. A number from a slot may be anything: a lie must not spoil the
 * sum for good. */
static uint64_t plausible(uint64_t count)
{
    return count < UINT32_MAX ? count : 0;
}

/* What one slot adds to the record. A process can die between two stores that belong together:
 * never below zero. */
static void count_losses(struct worker_slot *slot, struct death_record *record)
{
    uint64_t open = plausible(take(&slot->connections_open));
    uint64_t busy = plausible(take(&slot->connections_busy));
    uint64_t idle = plausible(take(&slot->connections_idle));
    uint64_t started = atomic_load(&slot->counters.requests_started);
    uint64_t finished = atomic_load(&slot->counters.requests_finished);
    uint64_t aborted = atomic_load(&slot->counters.requests_aborted);
    record->in_progress +=
        plausible(started > finished + aborted ? started - finished - aborted : 0);
    record->awaited += open > busy + idle ? open - busy - idle : 0;
    record->idle_cut += idle;
}

static void name_request(const struct worker_slot *slot, uint32_t index,
                         struct death_record *record)
{
    if (record->request_count < DEATH_REQUESTS) {
        struct request_copy *copy = &record->requests[record->request_count];
        if (slot_note_read(slot, copy)) {
            copy->slot = index;
            record->request_count++;
        }
    }
}

static void move_counters(struct ledger *ledger, struct worker_slot *slot)
{
    _Atomic uint64_t *counters = counters_of(&slot->counters);
    for (size_t i = 0; i < COUNTERS; i++) {
        ledger->dead[i] += take(&counters[i]);
    }
}

/* The process has ended; the slot shows who was there until somebody claims it. */
static void empty_slot(struct ledger *ledger, uint32_t index, struct death_record *record)
{
    struct worker_slot *slot = &ledger->scoreboard->slots[index];
    count_losses(slot, record);
    name_request(slot, index, record);
    move_counters(ledger, slot);
    slot_note_end(slot);
    atomic_store(&slot->verdict, SLOT_MOVING);
    atomic_store(&slot->current.sequence, 0); /* it may have died while it wrote a note */
    atomic_store(&slot->crash.written, 0);
}

/* A sequence that is odd: a record is being written. Only the master writes records, so the number
 * need not be read. */
static void show_death(struct ledger *ledger, const struct death_record *death)
{
    struct scoreboard *shown = ledger->scoreboard;
    CHECK(death->number + 1 == ledger->deaths && ledger->death_sequence == 2 * death->number);
    atomic_store(&shown->death_sequence, ledger->death_sequence + 1);
    memcpy((void *)&shown->records[death->number % DEATH_RECORDS], death, sizeof(*death));
    ledger->death_sequence += 2;
    ledger_restate(ledger);
}

void ledger_bury(struct ledger *ledger, struct death_record *death)
{
    check_taken(ledger, death->first_slot, death->slot_count);
    CHECK(death->request_count == 0); /* they are named here */
    death->number = ledger->deaths++;
    death->crash_state = death->crash.told ? CRASH_BURIED : CRASH_NONE;
    for (uint32_t i = death->first_slot; i < death->first_slot + death->slot_count; i++) {
        empty_slot(ledger, i, death);
        set_state(ledger, i, PLACE_OF_THE_DEAD);
        ledger->places[i].deaths++;
        atomic_store(&ledger->scoreboard->slots[i].deaths, ledger->places[i].deaths);
    }
    ledger->requests_lost += deaths_requests_lost(death);
    show_death(ledger, death);
}

void ledger_retire(struct ledger *ledger, uint32_t first, uint32_t count)
{
    struct death_record unused = {.request_count = 0};
    check_range(ledger, first, count);
    for (uint32_t i = first; i < first + count; i++) {
        empty_slot(ledger, i, &unused);
        set_state(ledger, i, PLACE_FREE);
        ledger->places[i].deaths = 0;
        atomic_store(&ledger->scoreboard->slots[i].deaths, 0);
    }
    ledger_restate(ledger);
}

void ledger_note_recovery(struct ledger *ledger, uint64_t death, uint64_t recovery_ns)
{
    CHECK(death < ledger->deaths);                 /* it has happened */
    if (ledger->deaths - death <= DEATH_RECORDS) { /* else its record is another's by now */
        ledger->scoreboard->records[death % DEATH_RECORDS].recovery_ns = recovery_ns;
    }
}

/* ---- Counting ---- */

void ledger_count_incident(struct ledger *ledger)
{
    ledger->stuck_incidents++;
    ledger_restate(ledger);
}

uint64_t ledger_next_stuck_record(struct ledger *ledger)
{
    uint64_t number = ledger->stuck_records++;
    ledger_restate(ledger);
    return number;
}
