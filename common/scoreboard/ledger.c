#include "common/scoreboard/ledger.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/scoreboard/scoreboard.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum place_state { PLACE_FREE, PLACE_TAKEN, PLACE_OF_THE_DEAD, PLACE_STATES };

/* A slot. */
struct place {
    enum place_state state;
    uint64_t legacy; /* number of the death that its process is the heir of, plus 1; 0: none */
    uint64_t deaths; /* of threads in it, since somebody was asked to leave it */
};

/* What became of what one of the last dead had. */
struct bequest {
    bool waits; /* an heir has not gone on with all of it yet */
    struct death_loss left;
    struct death_loss lost;          /* but for what heirs have counted */
    struct adoption_counts adoption; /* by heirs that are gone */
};

enum {
    COUNTERS = sizeof(struct slot_counters) / sizeof(uint64_t),
    STARTED = offsetof(struct slot_counters, requests_started) / sizeof(uint64_t),
    ADOPTION = offsetof(struct slot_counters, adoption) / sizeof(uint64_t)
};
_Static_assert(ADOPTION + ADOPTION_KINDS == COUNTERS, "the last ones");

struct ledger {
    struct scoreboard *scoreboard;
    int32_t master_pid;
    uint32_t slot_count; /* places from here on have never been used */
    uint32_t generation;
    uint64_t deaths;
    uint64_t requests_lost;
    uint64_t in_progress_lost; /* of these */
    uint64_t stuck_incidents;
    uint64_t stuck_records;
    uint64_t death_sequence;
    uint64_t dead[COUNTERS];
    struct latency_copy dead_latency;
    uint64_t deaths_by_signal[LEDGER_SIGNALS];
    struct recovery_totals recoveries;
    struct bequest bequests[DEATH_RECORDS];
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

/* Nobody is there, whatever somebody has written: else siblings would leave connections to it.
 * Those that have never been used nobody looks at, and they take no memory. */
static void restate_free_slots(const struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->slot_count; i++) {
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
    CHECK(ledger->death_sequence % 2 == 0); /* no record is being written */
    struct scoreboard *shown = ledger->scoreboard;
    _Atomic uint64_t *dead = counters_of(&shown->dead);
    for (size_t i = 0; i < COUNTERS; i++) {
        atomic_store(&dead[i], ledger->dead[i]);
    }
    latency_write(&shown->dead_latency, &ledger->dead_latency);
    atomic_store(&shown->master_pid, ledger->master_pid);
    atomic_store(&shown->slot_count, ledger->slot_count);
    atomic_store(&shown->generation, ledger->generation);
    atomic_store(&shown->requests_lost, ledger->requests_lost);
    atomic_store(&shown->in_progress_lost, ledger->in_progress_lost);
    atomic_store(&shown->stuck_incidents, ledger->stuck_incidents);
    atomic_store(&shown->stuck_records, ledger->stuck_records);
    atomic_store(&shown->deaths, ledger->deaths);
    atomic_store(&shown->death_sequence, ledger->death_sequence); /* behind all that it is about */
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
        atomic_store(&slot->legacy, ledger->places[index].legacy);
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

/* A number from a slot may be anything: a lie must not spoil the sum for good. */
static uint64_t take_plausible(_Atomic uint64_t *gauge)
{
    return adoption_plausible(take(gauge));
}

/* What somebody had in one slot. A process can die between two stores that belong together: never
 * below zero. */
static void count_holding(struct worker_slot *slot, struct death_record *record)
{
    uint64_t open = take_plausible(&slot->connections_open);
    uint64_t busy = take_plausible(&slot->connections_busy);
    uint64_t idle = take_plausible(&slot->connections_idle);
    uint64_t started = atomic_load(&slot->counters.requests_started);
    uint64_t finished = atomic_load(&slot->counters.requests_finished);
    uint64_t aborted = atomic_load(&slot->counters.requests_aborted);
    record->in_progress +=
        adoption_plausible(started > finished + aborted ? started - finished - aborted : 0);
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

/* As a reader adds them up who finds them in the slot: else sums would change by the move. */
static void move_counters(struct ledger *ledger, struct worker_slot *slot)
{
    _Atomic uint64_t *counters = counters_of(&slot->counters);
    for (size_t i = 0; i < ADOPTION; i++) {
        ledger->dead[i] += counter_plausible(take(&counters[i]));
    }
    latency_take(&ledger->dead_latency, &slot->latency);
}

/* ---- Records ---- */

/* A sequence that is odd: a record is being written. Only the master writes records, so the number
 * need not be read. */
static void open_records(struct ledger *ledger)
{
    CHECK(ledger->death_sequence % 2 == 0);
    atomic_store(&ledger->scoreboard->death_sequence, ++ledger->death_sequence);
}

static void close_records(struct ledger *ledger)
{
    ledger->death_sequence++;
    ledger_restate(ledger);
}

static struct death_record *record_of(const struct ledger *ledger, uint64_t death)
{
    return &ledger->scoreboard->records[death % DEATH_RECORDS];
}

/* NULL: it is no longer remembered. */
static struct bequest *bequest_of(struct ledger *ledger, uint64_t death)
{
    CHECK(death < ledger->deaths); /* it has happened */
    bool remembered = ledger->deaths - death <= DEATH_RECORDS;
    return remembered ? &ledger->bequests[death % DEATH_RECORDS] : NULL;
}

/* What a death has cost by now, in its record. */
static void put_cost(struct death_record *record, const struct bequest *bequest)
{
    const struct adoption_counts *adoption = &bequest->adoption;
    record->lost = bequest->lost;
    record->lost.in_progress += adoption->of[ADOPTION_LOST_IN_PROGRESS];
    record->lost.awaited += adoption->of[ADOPTION_LOST_AWAITED];
    record->adoption = *adoption;
}

/* ---- What the dead leave ---- */

static void count_lost(struct ledger *ledger, uint64_t in_progress, uint64_t awaited)
{
    ledger->requests_lost += in_progress + awaited;
    ledger->in_progress_lost += in_progress;
}

static void lose(struct ledger *ledger, struct bequest *bequest, const struct death_loss *lost)
{
    bequest->lost.in_progress += lost->in_progress;
    bequest->lost.awaited += lost->awaited;
    bequest->lost.idle_cut += lost->idle_cut;
    count_lost(ledger, lost->in_progress, lost->awaited);
}

/* An heir has ended: what it has counted in these slots is booked to the death that it followed.
 * Returns the number of that, plus 1; 0: it was nobody's heir, and has nothing to count. */
static uint64_t settle_heir(struct ledger *ledger, uint32_t first, uint32_t count)
{
    struct adoption_counts counts = {0};
    uint64_t legacy = count > 0 ? ledger->places[first].legacy : 0;
    if (legacy == 0) {
        return 0;
    }
    for (uint32_t i = first; i < first + count; i++) {
        adoption_take(&counts, &ledger->scoreboard->slots[i].counters.adoption);
        ledger->places[i].legacy = 0;
        atomic_store(&ledger->scoreboard->slots[i].legacy, 0);
    }
    struct bequest *bequest = bequest_of(ledger, legacy - 1);
    for (int i = 0; i < ADOPTION_KINDS; i++) {
        ledger->dead[ADOPTION + i] += counts.of[i];
        if (bequest != NULL) {
            bequest->adoption.of[i] += counts.of[i];
        }
    }
    count_lost(ledger, counts.of[ADOPTION_LOST_IN_PROGRESS], counts.of[ADOPTION_LOST_AWAITED]);
    if (bequest != NULL) {
        put_cost(record_of(ledger, legacy - 1), bequest);
    }
    return legacy;
}

static uint64_t less(uint64_t count, uint64_t *without)
{
    uint64_t taken = count < *without ? count : *without;
    *without -= taken;
    return count - taken;
}

/* What waits for an heir, and has not been gone on with by one that has ended. */
static struct death_loss rest_of(const struct bequest *bequest)
{
    const struct adoption_counts *adoption = &bequest->adoption;
    uint64_t taken = adoption->of[ADOPTION_CONNECTIONS] + adoption->of[ADOPTION_LOST];
    struct death_loss rest = bequest->left;
    rest.idle_cut = less(rest.idle_cut, &taken);
    rest.awaited = less(rest.awaited, &taken);
    rest.in_progress = less(rest.in_progress, &taken);
    return rest;
}

/* The heir of a death has ended before it had gone on with all: the rest is a part of what it
 * leaves itself (heir), or lost (NULL). legacy: the death's number, plus 1; 0: there is none. */
static void end_legacy(struct ledger *ledger, uint64_t legacy, struct death_record *heir)
{
    struct bequest *bequest = legacy != 0 ? bequest_of(ledger, legacy - 1) : NULL;
    if (bequest == NULL || !bequest->waits) {
        return;
    }
    const struct death_loss rest = rest_of(bequest);
    bequest->waits = false;
    if (heir != NULL) {
        heir->in_progress += rest.in_progress;
        heir->awaited += rest.awaited;
        heir->idle_cut += rest.idle_cut;
        return;
    }
    ledger->dead[STARTED] += rest.in_progress;
    lose(ledger, bequest, &rest);
    put_cost(record_of(ledger, legacy - 1), bequest);
}

void ledger_name_heir(struct ledger *ledger, uint64_t death, uint32_t first, uint32_t count)
{
    check_taken(ledger, first, count);
    CHECK(death < ledger->deaths);
    for (uint32_t i = first; i < first + count; i++) {
        ledger->places[i].legacy = death + 1;
        atomic_store(&ledger->scoreboard->slots[i].legacy, death + 1);
    }
}

void ledger_settle(struct ledger *ledger, uint32_t first, bool went_on)
{
    check_taken(ledger, first, 1);
    uint64_t legacy = ledger->places[first].legacy;
    if (legacy == 0) {
        return;
    }
    struct bequest *bequest = bequest_of(ledger, legacy - 1);
    if (!went_on) {
        ledger_forfeit(ledger, legacy - 1);
    } else if (bequest != NULL) {
        bequest->waits = false;
    }
}

void ledger_forfeit(struct ledger *ledger, uint64_t death)
{
    open_records(ledger);
    end_legacy(ledger, death + 1, NULL);
    close_records(ledger);
}

/* ---- Burials ---- */

/* The process has ended; the slot shows who was there until somebody claims it. */
static void empty_slot(struct ledger *ledger, uint32_t index, struct death_record *record)
{
    struct worker_slot *slot = &ledger->scoreboard->slots[index];
    count_holding(slot, record);
    name_request(slot, index, record);
    move_counters(ledger, slot);
    slot_note_end(slot);
    atomic_store(&slot->verdict, SLOT_MOVING);
    atomic_store(&slot->current.sequence, 0); /* it may have died while it wrote a note */
    atomic_store(&slot->crash.written, 0);
}

/* Of connections that are left, those that did not outlive the process. */
static uint64_t count_mortal(struct ledger *ledger, const struct death_record *death)
{
    uint64_t count = 0;
    for (uint32_t i = death->first_slot; i < death->first_slot + death->slot_count; i++) {
        count += take_plausible(&ledger->scoreboard->slots[i].connections_mortal);
    }
    return count;
}

static struct death_loss all_of(const struct death_record *death)
{
    return (struct death_loss){death->in_progress, death->awaited, death->idle_cut};
}

/* What the dead had is left, or lost. */
static void bequeath(struct ledger *ledger, struct death_record *death, uint64_t mortal,
                     uint64_t heir_of)
{
    struct bequest *bequest = bequest_of(ledger, death->number);
    *bequest = (struct bequest){.waits = death->left != 0};
    if (death->left == 0) {
        const struct death_loss all = all_of(death);
        lose(ledger, bequest, &all);
        end_legacy(ledger, heir_of, NULL);
    } else {
        ledger->dead[STARTED] = less(ledger->dead[STARTED], &(uint64_t){death->in_progress});
        lose(ledger, bequest, &(struct death_loss){.awaited = mortal});
        end_legacy(ledger, heir_of, death);
        bequest->left = all_of(death);
        bequest->left.awaited = less(bequest->left.awaited, &mortal);
    }
    put_cost(death, bequest);
}

/* 0: it exited, or by a signal that no kernel of today has. */
static uint32_t signal_bucket(int32_t signal)
{
    return signal > 0 && signal < LEDGER_SIGNALS ? (uint32_t)signal : 0;
}

void ledger_bury(struct ledger *ledger, struct death_record *death)
{
    const uint32_t first = death->first_slot, count = death->slot_count;
    check_taken(ledger, first, count);
    CHECK(death->request_count == 0); /* they are named here */
    uint64_t mortal = count_mortal(ledger, death);
    death->crash_state = death->crash.told ? CRASH_BURIED : CRASH_NONE;
    open_records(ledger); /* who adds slots and totals meanwhile would miss what is on its way */
    for (uint32_t i = first; i < first + count; i++) {
        empty_slot(ledger, i, death);
        set_state(ledger, i, PLACE_OF_THE_DEAD);
        ledger->places[i].deaths++;
        atomic_store(&ledger->scoreboard->slots[i].deaths, ledger->places[i].deaths);
    }
    uint64_t heir_of = settle_heir(ledger, first, count);
    death->number = ledger->deaths++;
    ledger->deaths_by_signal[signal_bucket(death->signal)]++;
    bequeath(ledger, death, mortal, heir_of);
    memcpy((void *)record_of(ledger, death->number), death, sizeof(*death));
    close_records(ledger);
}

void ledger_retire(struct ledger *ledger, uint32_t first, uint32_t count)
{
    struct death_record unused = {.request_count = 0};
    check_range(ledger, first, count);
    open_records(ledger);
    for (uint32_t i = first; i < first + count; i++) {
        empty_slot(ledger, i, &unused);
        set_state(ledger, i, PLACE_FREE);
        ledger->places[i].deaths = 0;
        atomic_store(&ledger->scoreboard->slots[i].deaths, 0);
    }
    end_legacy(ledger, settle_heir(ledger, first, count), NULL);
    close_records(ledger);
}

void ledger_note_recovery(struct ledger *ledger, uint64_t death, uint64_t recovery_ns)
{
    const uint64_t recovery_us = recovery_ns / 1000;
    ledger->recoveries.of[ledger_recovery_bucket(recovery_us)]++;
    ledger->recoveries.sum_us += recovery_us;
    if (bequest_of(ledger, death) != NULL) { /* else its record is another's by now */
        record_of(ledger, death)->recovery_ns = recovery_ns;
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

/* ---- Totals ---- */

void ledger_get_totals(const struct ledger *ledger, struct ledger_totals *totals)
{
    CHECK(ledger->death_sequence % 2 == 0);
    _Static_assert(sizeof(totals->dead) == sizeof(ledger->dead), "the same numbers");
    _Static_assert(sizeof(totals->deaths_by_signal) == sizeof(ledger->deaths_by_signal),
                   "the same signals");
    *totals = (struct ledger_totals){
        .death_sequence = ledger->death_sequence,
        .deaths = ledger->deaths,
        .requests_lost = ledger->requests_lost,
        .in_progress_lost = ledger->in_progress_lost,
        .stuck_incidents = ledger->stuck_incidents,
        .stuck_records = ledger->stuck_records,
        .recoveries = ledger->recoveries,
    };
    memcpy(&totals->dead, ledger->dead, sizeof(totals->dead));
    memcpy(totals->deaths_by_signal, ledger->deaths_by_signal, sizeof(totals->deaths_by_signal));
}
