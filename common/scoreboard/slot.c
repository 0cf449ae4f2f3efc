#include "common/scoreboard/slot.h"

#include "common/base/check.h"
#include "common/base/clock.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the calling thread has moved in, and the state that it gave itself. What stands in the slot
 * may be another's word by now. */
static _Thread_local struct {
    const struct worker_slot *slot; /* NULL: it has none */
    enum slot_state state;
} own;

static bool is_own_or_none(const struct worker_slot *slot)
{
    return own.slot == NULL || own.slot == slot;
}

static void change_state(const struct worker_slot *slot, enum slot_state state)
{
    static const bool may_follow[SLOT_STATES][SLOT_STATES] = {
        [SLOT_STARTING] = {[SLOT_READY] = true, [SLOT_ENDED] = true},
        [SLOT_READY] =
            {[SLOT_READY] = true, [SLOT_DRAINING] = true, [SLOT_ENDED] = true, [SLOT_SPARE] = true},
        [SLOT_DRAINING] = {[SLOT_DRAINING] = true, [SLOT_ENDED] = true},
    };
    CHECK(is_own_or_none(slot));
    CHECK(state < SLOT_STATES);
    CHECK(own.slot == NULL || may_follow[own.state][state]);
    own.state = state;
}

void slot_enter(struct worker_slot *slot, uint32_t process, uint32_t generation,
                enum slot_role role)
{
    CHECK(role == SLOT_LOOP || role == SLOT_POOL);
    own.slot = slot;
    own.state = SLOT_STARTING;
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
    change_state(slot, state);
    atomic_store(&slot->state, state);
}

void slot_beat(struct worker_slot *slot, uint64_t now_ms, enum slot_state state)
{
    change_state(slot, state);
    atomic_store_explicit(&slot->heartbeat_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&slot->state, state, memory_order_relaxed);
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
    _Static_assert(sizeof(names) / sizeof(names[0]) == SLOT_STATES, "each state has a name");
    return state < SLOT_STATES ? names[state] : "unknown";
}

const char *slot_role_name(uint32_t role)
{
    return role == SLOT_POOL ? "pool" : "loop";
}

const char *slot_verdict_name(uint32_t verdict)
{
    static const char *const names[] = {
        [SLOT_STOPPED] = "stopped", [SLOT_SPINNING] = "spinning", [SLOT_BLOCKED] = "blocked"};
    return verdict <= SLOT_BLOCKED ? names[verdict] : NULL;
}

static void store_line(_Atomic uint64_t out[NOTE_LINE_WORDS], const char *bytes, size_t count)
{
    CHECK(count <= NOTE_LINE_BYTES);
    uint64_t word;
    size_t words = count / sizeof(word);
    for (size_t i = 0; i < words; i++) {
        memcpy(&word, bytes + i * sizeof(word), sizeof(word));
        atomic_store_explicit(&out[i], word, memory_order_release);
    }
    if (count % sizeof(word) != 0) {
        word = 0;
        memcpy(&word, bytes + words * sizeof(word), count % sizeof(word));
        atomic_store_explicit(&out[words], word, memory_order_release);
    }
}

/* The sequence makes a note readable while it changes: a reader that sees an odd number, or two
 * different ones around its copy, tries again. Release and acquire on every word keep the order. */
void slot_note_begin(struct worker_slot *slot, struct span line,
                     const struct client_address *client)
{
    CHECK(is_own_or_none(slot));
    struct request_note *note = &slot->current;
    uint32_t sequence = atomic_load_explicit(&note->sequence, memory_order_relaxed);
    size_t bytes = line.len < NOTE_LINE_BYTES ? line.len : NOTE_LINE_BYTES;
    atomic_store_explicit(&note->sequence, sequence + 1, memory_order_relaxed);
    store_line(note->line, line.ptr, bytes);
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
