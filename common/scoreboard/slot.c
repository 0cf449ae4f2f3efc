#include "common/scoreboard/slot.h"

#include "common/base/clock.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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
