#include "server/observe/facts.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "server/observe/carried.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 4 };

struct facts_reader {
    const struct scoreboard *scoreboard;
    const struct bulletin *bulletin;
    struct carried *carried;      /* NULL: none has counted but this one */
    struct carried_counts before; /* what it says */
    struct facts facts;
    uint32_t slot_room;           /* of facts.slots */
    struct facts_totals held;     /* no counter shown goes below what it was here */
    struct latency_copy latency;  /* the last one that agreed */
    struct bulletin_copy said;    /* the last one that could be read */
    struct bulletin_copy reading; /* it may come to nothing */
};

struct facts_reader *facts_reader_create(const struct scoreboard *scoreboard,
                                         const struct bulletin *bulletin, struct carried *carried)
{
    struct facts_reader *reader = memory_alloc_zeroed(1, sizeof(*reader));
    reader->scoreboard = scoreboard;
    reader->bulletin = bulletin;
    reader->carried = carried;
    return reader;
}

void facts_reader_destroy(struct facts_reader *reader)
{
    free(reader->facts.slots);
    free(reader->facts.processes);
    free(reader);
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return counter_plausible(atomic_load_explicit(counter, memory_order_relaxed));
}

static uint64_t since(uint64_t then, uint64_t now)
{
    return now > then ? now - then : 0;
}

/* ---- A slot ---- */

/* False: nobody is there, or nobody yet. */
static bool read_slot(struct facts_slot *out, const struct worker_slot *slot, uint32_t index,
                      uint64_t now_ms)
{
    uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    if (state == SLOT_EMPTY || state == SLOT_CLAIMED || state == SLOT_SPARE) {
        return false;
    }
    uint32_t role = atomic_load_explicit(&slot->role, memory_order_relaxed);
    uint32_t verdict = atomic_load_explicit(&slot->verdict, memory_order_relaxed);
    out->slot = index;
    out->tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
    out->role = role == SLOT_POOL ? SLOT_POOL : SLOT_LOOP;
    out->state = state < SLOT_STATES ? state : SLOT_STATES;
    out->verdict = verdict <= SLOT_BLOCKED ? verdict : SLOT_MOVING;
    out->heartbeat_age_ms =
        since(atomic_load_explicit(&slot->heartbeat_ms, memory_order_relaxed), now_ms);
    out->counters = (struct counter_sums){0};
    counter_sums_add(&out->counters, &slot->counters);
    out->connections_open = adoption_plausible(load(&slot->connections_open));
    out->connections_busy = adoption_plausible(load(&slot->connections_busy));
    out->connections_idle = adoption_plausible(load(&slot->connections_idle));
    out->deaths = load(&slot->deaths);
    out->has_current = slot_note_read(slot, &out->current);
    return true;
}

/* ---- A process ---- */

static struct facts_slot *next_slot(struct facts_reader *reader)
{
    struct facts *facts = &reader->facts;
    if (facts->slot_count == reader->slot_room) {
        reader->slot_room = reader->slot_room == 0 ? 16 : 2 * reader->slot_room;
        facts->slots = memory_resize(facts->slots, reader->slot_room * sizeof(*facts->slots));
    }
    return &facts->slots[facts->slot_count];
}

static void read_slots(struct facts_reader *reader, const struct bulletin_process *said)
{
    struct facts *facts = &reader->facts;
    const uint32_t capacity = reader->scoreboard->slot_capacity;
    for (uint32_t i = 0; i < said->slot_count; i++) {
        uint32_t index = said->first_slot + i;
        if (index < capacity &&
            read_slot(next_slot(reader), &reader->scoreboard->slots[index], index, facts->now_ms)) {
            facts->slot_count++;
        }
    }
}

static void read_process(struct facts_reader *reader, const struct bulletin_process *said)
{
    struct facts *facts = &reader->facts;
    uint32_t first = facts->slot_count;
    read_slots(reader, said);
    facts->processes[facts->process_count++] = (struct facts_process){
        .pid = said->pid,
        .number = said->number,
        .generation = said->generation,
        .state = (enum bulletin_state)said->state,
        .inherits = said->inherits != 0,
        .age_ms = since(said->started_ns / 1000000, facts->now_ms),
        .first = first,
        .count = facts->slot_count - first,
    };
}

static void read_processes(struct facts_reader *reader, const struct bulletin_copy *said)
{
    struct facts *facts = &reader->facts;
    facts->slot_count = facts->process_count = 0;
    if (said->process_count > 0) {
        facts->processes =
            memory_resize(facts->processes, said->process_count * sizeof(*facts->processes));
    }
    for (uint32_t i = 0; i < said->process_count; i++) {
        read_process(reader, &said->processes[i]);
    }
}

/* ---- Totals ---- */

/* A structure of nothing but numbers. */
static void raise_numbers(void *numbers, const void *at_least, size_t bytes)
{
    uint64_t *to = numbers;
    const uint64_t *least = at_least;
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++) {
        to[i] = to[i] > least[i] ? to[i] : least[i];
    }
}

static struct facts_totals sum_totals(const struct facts *facts, const struct ledger_totals *books)
{
    struct facts_totals totals = {
        .counters = books->dead,
        .deaths = books->deaths,
        .requests_lost = books->requests_lost,
        .in_progress_lost = books->in_progress_lost,
        .stuck_incidents = books->stuck_incidents,
        .recoveries = books->recoveries,
    };
    memcpy(totals.deaths_by_signal, books->deaths_by_signal, sizeof(totals.deaths_by_signal));
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        const struct counter_sums *counters = &facts->slots[i].counters;
        const uint64_t *adoption = counters->adoption.of;
        counter_sums_add_numbers(&totals.counters, counters, sizeof(*counters));
        totals.in_progress_lost += adoption[ADOPTION_LOST_IN_PROGRESS];
        totals.requests_lost +=
            adoption[ADOPTION_LOST_IN_PROGRESS] + adoption[ADOPTION_LOST_AWAITED];
    }
    return totals;
}

/* Nothing but numbers; its gauges count for nothing (sum_gauges). */
static void add_carried(struct facts_totals *totals, const struct carried_counts *before)
{
    _Static_assert(sizeof(*totals) % sizeof(uint64_t) == 0, "numbers alone");
    counter_sums_add_numbers(totals, &before->totals, sizeof(*totals));
}

/* Those that the server has now, whatever it had before. */
static void sum_gauges(struct facts *facts)
{
    struct facts_totals *totals = &facts->totals;
    totals->connections_open = totals->connections_busy = totals->connections_idle = 0;
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        totals->connections_open += facts->slots[i].connections_open;
        totals->connections_busy += facts->slots[i].connections_busy;
        totals->connections_idle += facts->slots[i].connections_idle;
    }
}

/* A request that a dead process had started is started again by the successor that goes on with it,
 * and counted once: meanwhile the sum would go back. Answers are booked before they are sent, and
 * taken back should the kernel not take all of it. */
static void hold_totals(struct facts_reader *reader, const struct facts_totals *totals)
{
    reader->facts.totals = *totals;
    raise_numbers(&reader->facts.totals, &reader->held, sizeof(reader->held));
    reader->held = reader->facts.totals;
    sum_gauges(&reader->facts);
}

/* ---- All of it ---- */

static void take_word(struct facts_reader *reader)
{
    const struct bulletin_copy *said = &reader->said;
    struct facts *facts = &reader->facts;
    facts->master_pid = said->master_pid;
    facts->phase = (enum bulletin_phase)said->phase;
    facts->wanted = said->wanted;
    facts->observer_deaths = said->observer_deaths;
    facts->deaths = number_range_last(said->totals.deaths, DEATH_RECORDS);
    facts->stuck = number_range_last(said->totals.stuck_records, STUCK_RECORDS);
}

/* The master's word and the slots, with nothing on its way from one to the other. */
static bool read_agreeing(struct facts_reader *reader)
{
    if (!bulletin_read(reader->bulletin, &reader->reading)) {
        return false;
    }
    read_processes(reader, &reader->reading);
    struct facts_totals totals = sum_totals(&reader->facts, &reader->reading.totals);
    add_carried(&totals, &reader->before);
    if (!bulletin_is_unchanged(reader->bulletin, &reader->reading)) {
        return false;
    }
    reader->said = reader->reading;
    hold_totals(reader, &totals);
    return true;
}

static void read_carried(struct facts_reader *reader)
{
    if (reader->carried != NULL) {
        carried_read(reader->carried, &reader->before);
    }
}

const struct facts *facts_read(struct facts_reader *reader)
{
    struct facts *facts = &reader->facts;
    facts->now_ms = clock_monotonic_ms();
    facts->time_ms = clock_realtime_ms();
    facts->uptime_ms = since(reader->scoreboard->started_ms, facts->now_ms);
    facts->heard_ms = bulletin_heard_ms(reader->bulletin, facts->now_ms);
    facts->agreed = false;
    read_carried(reader);
    for (int try = 0; try < TRIES && !facts->agreed; try++) {
        facts->agreed = read_agreeing(reader);
    }
    if (!facts->agreed) { /* the master has stopped in the middle: what it said last, and the slots
                           */
        read_processes(reader, &reader->said);
        sum_gauges(facts);
    }
    take_word(reader);
    return facts;
}

const struct facts *facts_last(const struct facts_reader *reader)
{
    return &reader->facts;
}

/* ---- What is too large to be read each time ---- */

/* Pool threads measure nothing. */
static void read_loops(const struct facts_reader *reader, const struct facts_process *process,
                       struct latency_copy *sum, facts_latency_fn each, void *data)
{
    struct latency_copy latency;
    for (uint32_t i = process->first; i < process->first + process->count; i++) {
        const struct facts_slot *slot = &reader->facts.slots[i];
        if (slot->role == SLOT_LOOP) {
            latency_read(&reader->scoreboard->slots[slot->slot].latency, &latency);
            histogram_sum(&sum->requests, &latency.requests);
            histogram_sum(&sum->turns, &latency.turns);
            if (each != NULL) {
                each(data, process, slot, &latency.requests);
            }
        }
    }
}

bool facts_read_latency(struct facts_reader *reader, struct latency_copy *out,
                        facts_latency_fn each, void *data)
{
    const struct facts *facts = &reader->facts;
    *out = reader->before.latency;
    latency_add(out, &reader->scoreboard->dead_latency);
    for (uint32_t i = 0; i < facts->process_count; i++) {
        read_loops(reader, &facts->processes[i], out, each, data);
    }
    if (facts->agreed && bulletin_is_unchanged(reader->bulletin, &reader->said)) {
        reader->latency = *out;
        return true;
    }
    *out = reader->latency;
    return false;
}

bool facts_copy_death(const struct facts_reader *reader, uint64_t number, struct death_record *out)
{
    return deaths_copy(reader->scoreboard, number, out);
}

uint64_t facts_death_digest(const struct facts_reader *reader, uint64_t number)
{
    return deaths_digest(reader->scoreboard, number);
}

bool facts_copy_stuck(const struct facts_reader *reader, uint64_t number, struct stuck_record *out)
{
    return stuck_record_copy(reader->scoreboard, number, out);
}

const char *facts_process_state_name(enum bulletin_state state)
{
    switch (state) {
    case BULLETIN_CHILD_READY:
        return "ready";
    case BULLETIN_CHILD_RETIRING:
        return "draining";
    case BULLETIN_CHILD_STARTING:
        break;
    }
    return "starting";
}
