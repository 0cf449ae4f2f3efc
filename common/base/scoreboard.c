#include "common/base/scoreboard.h"

#include "common/base/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t scoreboard_bytes(uint32_t slot_capacity)
{
    return sizeof(struct scoreboard) + slot_capacity * sizeof(struct worker_slot);
}

struct scoreboard *scoreboard_create(uint32_t slot_capacity)
{
    assert(slot_capacity > 0);
    void *memory = mmap(NULL, scoreboard_bytes(slot_capacity), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    if (mmap(memory, SCOREBOARD_PAGE_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
        munmap(memory, scoreboard_bytes(slot_capacity));
        return NULL;
    }
    struct scoreboard *scoreboard = memory;
    scoreboard->slot_capacity = slot_capacity;
    scoreboard->started_ms = clock_monotonic_ms();
    return scoreboard;
}

void scoreboard_destroy(struct scoreboard *scoreboard)
{
    if (scoreboard != NULL) {
        munmap(scoreboard, scoreboard_bytes(scoreboard->slot_capacity));
    }
}

static bool is_dead(const struct worker_slot *slot)
{
    return atomic_load(&slot->state) == SLOT_DEAD;
}

static bool is_free(const struct worker_slot *slot)
{
    return atomic_load(&slot->state) == SLOT_EMPTY || is_dead(slot);
}

/* The first of so many slots in a row that are all as asked; SCOREBOARD_FULL: there are none. */
static uint32_t find_run(const struct scoreboard *scoreboard, uint32_t count,
                         bool (*suits)(const struct worker_slot *slot))
{
    uint32_t run = 0;
    for (uint32_t i = 0; i < scoreboard->slot_capacity; i++) {
        run = suits(&scoreboard->slots[i]) ? run + 1 : 0;
        if (run == count) {
            return i + 1 - count;
        }
    }
    return SCOREBOARD_FULL;
}

/* A successor takes the place of the dead, where there is one: else the dead would stay on show. */
static uint32_t find_room(const struct scoreboard *scoreboard, uint32_t count)
{
    uint32_t first = find_run(scoreboard, count, is_dead);
    return first != SCOREBOARD_FULL ? first : find_run(scoreboard, count, is_free);
}

uint32_t scoreboard_claim(struct scoreboard *scoreboard, uint32_t count)
{
    uint32_t first = find_room(scoreboard, count);
    if (first == SCOREBOARD_FULL) {
        return first;
    }
    for (uint32_t i = first; i < first + count; i++) {
        atomic_store(&scoreboard->slots[i].draining, false);
        atomic_store(&scoreboard->slots[i].spares_wanted, 0);
        atomic_store(&scoreboard->slots[i].ready_ns, 0);
        atomic_store(&scoreboard->slots[i].state, SLOT_CLAIMED);
    }
    if (first + count > atomic_load(&scoreboard->slot_count)) {
        atomic_store(&scoreboard->slot_count, first + count);
    }
    return first;
}

void scoreboard_mark_draining(struct scoreboard *scoreboard, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        atomic_store(&scoreboard->slots[i].draining, true);
    }
}

void scoreboard_give_up_listener(struct scoreboard *scoreboard, uint32_t epoch)
{
    if (!scoreboard_listener_is_given_up(scoreboard, epoch)) {
        atomic_store(&scoreboard->listeners_given_up, epoch);
    }
}

void scoreboard_keep_listener(struct scoreboard *scoreboard, uint32_t epoch)
{
    if (scoreboard_listener_is_given_up(scoreboard, epoch)) {
        atomic_store(&scoreboard->listeners_given_up, epoch - 1);
    }
}

bool scoreboard_listener_is_given_up(const struct scoreboard *scoreboard, uint32_t epoch)
{
    return epoch <= atomic_load(&scoreboard->listeners_given_up);
}

void slot_enter(struct worker_slot *slot, uint32_t process, uint32_t generation,
                enum slot_role role)
{
    atomic_store(&slot->pid, (int32_t)getpid());
    atomic_store(&slot->tid, (int32_t)syscall(SYS_gettid));
    atomic_store(&slot->process, process);
    atomic_store(&slot->generation, generation);
    atomic_store(&slot->role, role);
    atomic_store(&slot->inbox, 0);
    atomic_store(&slot->heartbeat_ms, clock_monotonic_ms());
    atomic_store(&slot->state, SLOT_STARTING);
}

void slot_set_state(struct worker_slot *slot, enum slot_state state)
{
    atomic_store(&slot->state, state);
}

void slot_note_process_ready(struct worker_slot *slot)
{
    atomic_store(&slot->ready_ns, clock_monotonic_ns());
}

const char *slot_state_name(uint32_t state)
{
    static const char *const names[] = {
        [SLOT_EMPTY] = "empty", [SLOT_CLAIMED] = "starting",  [SLOT_STARTING] = "starting",
        [SLOT_READY] = "ready", [SLOT_DRAINING] = "draining", [SLOT_ENDED] = "ended",
        [SLOT_DEAD] = "dead",   [SLOT_SPARE] = "spare",
    };
    return state <= SLOT_SPARE ? names[state] : "unknown";
}

static void store_words(_Atomic uint64_t *out, const char *bytes, size_t count)
{
    for (size_t at = 0; at < count; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t part = count - at < sizeof(word) ? count - at : sizeof(word);
        memcpy(&word, bytes + at, part);
        atomic_store_explicit(&out[at / sizeof(word)], word, memory_order_release);
    }
}

/* The sequence makes a note readable while it changes: a reader that sees an odd number, or two
 * different ones around its copy, tries again. Release and acquire on every word keep the order. */
void slot_note_begin(struct worker_slot *slot, struct span line,
                     const struct client_address *client)
{
    struct request_note *note = &slot->current;
    uint32_t sequence = atomic_load_explicit(&note->sequence, memory_order_relaxed);
    size_t bytes = line.len < NOTE_LINE_BYTES ? line.len : NOTE_LINE_BYTES;
    atomic_store_explicit(&note->sequence, sequence + 1, memory_order_relaxed);
    store_words(note->line, line.ptr, bytes);
    for (size_t i = 0; i < CLIENT_WORDS; i++) {
        atomic_store_explicit(&note->client[i], client->words[i], memory_order_release);
    }
    atomic_store_explicit(&note->bytes, (uint32_t)bytes, memory_order_release);
    atomic_store_explicit(&note->sequence, sequence + 2, memory_order_release);
}

void slot_note_end(struct worker_slot *slot)
{
    atomic_store_explicit(&slot->current.bytes, 0, memory_order_release);
}

static bool copy_note(const struct request_note *note, struct request_copy *copy)
{
    struct client_address client;
    uint64_t words[NOTE_LINE_WORDS];
    uint32_t before = atomic_load_explicit(&note->sequence, memory_order_acquire);
    uint32_t bytes = atomic_load_explicit(&note->bytes, memory_order_relaxed);
    for (size_t i = 0; i < NOTE_LINE_WORDS; i++) {
        words[i] = atomic_load_explicit(&note->line[i], memory_order_acquire);
    }
    for (size_t i = 0; i < CLIENT_WORDS; i++) {
        client.words[i] = atomic_load_explicit(&note->client[i], memory_order_acquire);
    }
    if (before % 2 != 0 || before != atomic_load_explicit(&note->sequence, memory_order_relaxed)) {
        return false;
    }
    bytes = bytes < NOTE_LINE_BYTES ? bytes : NOTE_LINE_BYTES;
    memcpy(copy->line, words, bytes);
    copy->line[bytes] = '\0';
    client_address_format(&client, copy->client);
    return bytes > 0;
}

bool slot_note_read(const struct worker_slot *slot, struct request_copy *copy)
{
    enum { TRIES = 8 };
    for (int i = 0; i < TRIES; i++) {
        if (atomic_load_explicit(&slot->current.bytes, memory_order_relaxed) == 0) {
            return false;
        }
        if (copy_note(&slot->current, copy)) {
            return true;
        }
    }
    return false;
}

static uint64_t take(_Atomic uint64_t *counter)
{
    return atomic_exchange(counter, 0);
}

/* What one slot adds to the record, and leaves behind in the totals; the process is dead, so
 * nothing changes meanwhile. */
static void empty_slot(struct scoreboard *scoreboard, uint32_t index, struct death_record *record)
{
    struct worker_slot *slot = &scoreboard->slots[index];
    struct slot_counters *counters = &slot->counters;
    uint64_t open = take(&slot->connections_open);
    uint64_t busy = take(&slot->connections_busy);
    uint64_t idle = take(&slot->connections_idle);
    uint64_t started = take(&counters->requests_started);
    uint64_t finished = take(&counters->requests_finished);
    uint64_t aborted = take(&counters->requests_aborted);
    /* A process can die between two stores that belong together: never below zero. */
    record->in_progress += started > finished + aborted ? started - finished - aborted : 0;
    record->awaited += open > busy + idle ? open - busy - idle : 0;
    record->idle_cut += idle;
    if (record->request_count < DEATH_REQUESTS) {
        struct request_copy *copy = &record->requests[record->request_count];
        if (slot_note_read(slot, copy)) {
            copy->slot = index;
            record->request_count++;
        }
    }
    atomic_fetch_add(&scoreboard->dead.requests_started, started);
    atomic_fetch_add(&scoreboard->dead.requests_finished, finished);
    atomic_fetch_add(&scoreboard->dead.requests_aborted, aborted);
    atomic_fetch_add(&scoreboard->dead.requests_handled, take(&counters->requests_handled));
    atomic_fetch_add(&scoreboard->dead.bytes_sent, take(&counters->bytes_sent));
    atomic_fetch_add(&scoreboard->dead.connections_accepted, take(&counters->connections_accepted));
    atomic_fetch_add(&scoreboard->dead.connections_adopted, take(&counters->connections_adopted));
    atomic_fetch_add(&scoreboard->dead.connections_refused, take(&counters->connections_refused));
    atomic_fetch_add(&scoreboard->dead.faults_recovered, take(&counters->faults_recovered));
    slot_note_end(slot);
    atomic_store(&slot->verdict, SLOT_MOVING);
    atomic_store(&slot->current.sequence, 0); /* it may have died while it wrote a note */
    atomic_store(&slot->crash.written, 0);
}

/* Where the frame of this depth is kept. */
static uint32_t frame_place(uint32_t depth)
{
    return depth < CRASH_INNER_FRAMES
               ? depth
               : CRASH_INNER_FRAMES + (depth - CRASH_INNER_FRAMES) % CRASH_OUTER_FRAMES;
}

void stack_note_add(struct stack_note *note, uint64_t address)
{
    uint32_t depth = atomic_load_explicit(&note->frames_met, memory_order_relaxed);
    note->frames[frame_place(depth)] = address;
    atomic_store_explicit(&note->frames_met, depth + 1, memory_order_release);
}

void stack_note_read(const struct stack_note *note, struct stack_story *story)
{
    uint32_t met = atomic_load(&note->frames_met);
    uint32_t kept = met < CRASH_FRAMES ? met : CRASH_FRAMES;
    story->left_out = met - kept;
    story->left_out_at = CRASH_INNER_FRAMES;
    for (uint32_t i = 0; i < kept; i++) {
        uint32_t depth = i < CRASH_INNER_FRAMES ? i : i + story->left_out;
        story->frames[i].address = note->frames[frame_place(depth)];
    }
    story->frame_count = kept;
}

static bool read_crash_note(const struct crash_note *note, struct crash_story *story)
{
    if (atomic_load_explicit(&note->written, memory_order_acquire) == 0) {
        return false;
    }
    story->told = true;
    story->stack_overflow = note->stack_overflow != 0;
    story->signal = note->signal;
    story->code = note->code;
    story->pid = note->pid;
    story->tid = note->tid;
    story->slot = note->slot;
    story->sender_pid = note->sender_pid;
    story->sender_uid = note->sender_uid;
    story->address = note->address;
    stack_note_read(&note->stack, &story->stack);
    return true;
}

void scoreboard_read_crash(const struct scoreboard *scoreboard, uint32_t first, uint32_t count,
                           struct crash_story *story)
{
    memset(story, 0, sizeof(*story));
    story->slot = -1;
    for (uint32_t i = first; i < first + count; i++) {
        if (read_crash_note(&scoreboard->slots[i].crash, story)) {
            break;
        }
    }
    if ((uint32_t)story->slot < first || (uint32_t)story->slot >= first + count) {
        story->slot = -1;
        return;
    }
    story->has_request = slot_note_read(&scoreboard->slots[story->slot], &story->request);
    story->request.slot = (uint32_t)story->slot;
}

uint64_t death_requests_lost(const struct death_record *record)
{
    return record->in_progress + record->awaited;
}

struct death_record *scoreboard_bury(struct scoreboard *scoreboard,
                                     const struct death_record *cause)
{
    uint64_t number = atomic_load(&scoreboard->deaths);
    struct death_record *record = &scoreboard->records[number % DEATH_RECORDS];
    atomic_fetch_add(&scoreboard->death_sequence, 1);
    *record = *cause;
    record->crash_state = cause->crash.told ? CRASH_BURIED : CRASH_NONE;
    for (uint32_t i = cause->first_slot; i < cause->first_slot + cause->slot_count; i++) {
        empty_slot(scoreboard, i, record);
        atomic_fetch_add(&scoreboard->slots[i].deaths, 1);
        atomic_store(&scoreboard->slots[i].state, SLOT_DEAD);
    }
    atomic_fetch_add(&scoreboard->requests_lost, death_requests_lost(record));
    atomic_store(&scoreboard->deaths, number + 1);
    atomic_fetch_add(&scoreboard->death_sequence, 1);
    return record;
}

void scoreboard_retire(struct scoreboard *scoreboard, uint32_t first, uint32_t count)
{
    struct death_record unused = {.request_count = 0};
    for (uint32_t i = first; i < first + count; i++) {
        empty_slot(scoreboard, i, &unused);
        atomic_store(&scoreboard->slots[i].deaths, 0);
        atomic_store(&scoreboard->slots[i].state, SLOT_EMPTY);
    }
}

void scoreboard_take_crash(struct scoreboard *scoreboard, uint32_t slot, struct crash_story *story)
{
    scoreboard_read_crash(scoreboard, slot, 1, story);
    atomic_store(&scoreboard->slots[slot].crash.written, 0);
    slot_note_end(&scoreboard->slots[slot]);
}

void scoreboard_publish_crash(struct death_record *record, const struct crash_story *story)
{
    record->crash = *story;
    atomic_store_explicit(&record->crash_state, CRASH_PUBLISHED, memory_order_release);
}

static void copy_death(const struct death_record *record, struct death_record *out)
{
    uint32_t state = atomic_load_explicit(&record->crash_state, memory_order_acquire);
    *out = *record;
    out->crash.told = state == CRASH_PUBLISHED;
}

uint64_t scoreboard_oldest_death(const struct scoreboard *scoreboard)
{
    uint64_t deaths = atomic_load(&scoreboard->deaths);
    return deaths < DEATH_RECORDS ? 0 : deaths - DEATH_RECORDS;
}

bool scoreboard_copy_death(const struct scoreboard *scoreboard, uint64_t number,
                           struct death_record *out)
{
    enum { TRIES = 8 };
    for (int try = 0; try < TRIES; try++) {
        uint64_t before = atomic_load(&scoreboard->death_sequence);
        if (number >= atomic_load(&scoreboard->deaths) ||
            number < scoreboard_oldest_death(scoreboard)) {
            return false;
        }
        copy_death(&scoreboard->records[number % DEATH_RECORDS], out);
        if (before % 2 == 0 && before == atomic_load(&scoreboard->death_sequence)) {
            return true;
        }
    }
    return false;
}

/* Word 0: address family in the high half, port in the low; words 1 and 2: the address. */
struct client_address client_address_pack(const struct sockaddr *address)
{
    struct client_address client = {{0}};
    uint64_t family = address->sa_family;
    if (family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        client.words[0] = family << 32 | ntohs(v4->sin_port);
        memcpy(&client.words[1], &v4->sin_addr, sizeof(v4->sin_addr));
    } else if (family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        client.words[0] = family << 32 | ntohs(v6->sin6_port);
        memcpy(&client.words[1], &v6->sin6_addr, sizeof(v6->sin6_addr));
    }
    return client;
}

void client_address_format(const struct client_address *client, char out[CLIENT_TEXT_BYTES])
{
    int family = (int)(client->words[0] >> 32);
    unsigned port = (unsigned)(client->words[0] & 0xffff);
    char host[INET6_ADDRSTRLEN];
    if ((family != AF_INET && family != AF_INET6) ||
        inet_ntop(family, &client->words[1], host, sizeof(host)) == NULL) {
        snprintf(out, CLIENT_TEXT_BYTES, "unknown");
        return;
    }
    snprintf(out, CLIENT_TEXT_BYTES, family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, port);
}
