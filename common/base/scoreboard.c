#include "common/base/scoreboard.h"

#include "common/base/clock.h"
#include "common/base/shared_copy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { IPV4_IN_IPV6 = 12 }; /* where the former stands in the latter */

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

void scoreboard_mark_draining(struct scoreboard *scoreboard, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        atomic_store(&scoreboard->slots[i].draining, 1);
    }
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
    story->told = 1;
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

void scoreboard_take_crash(struct scoreboard *scoreboard, uint32_t slot, struct crash_story *story)
{
    scoreboard_read_crash(scoreboard, slot, 1, story);
    atomic_store(&scoreboard->slots[slot].crash.written, 0);
    slot_note_end(&scoreboard->slots[slot]);
}

void scoreboard_publish_crash(struct scoreboard *scoreboard, uint64_t death,
                              const struct crash_story *story)
{
    struct death_record *record = &scoreboard->records[death % DEATH_RECORDS];
    if (record->number == death) {
        record->crash = *story;
        atomic_store_explicit(&record->crash_state, CRASH_PUBLISHED, memory_order_release);
    }
}

struct number_range scoreboard_deaths(const struct scoreboard *scoreboard)
{
    return number_range_last(atomic_load(&scoreboard->deaths), DEATH_RECORDS);
}

bool scoreboard_copy_death(const struct scoreboard *scoreboard, uint64_t number,
                           struct death_record *out)
{
    enum { TRIES = 8 };
    for (int try = 0; try < TRIES; try++) {
        uint64_t before = atomic_load(&scoreboard->death_sequence);
        struct number_range remembered = scoreboard_deaths(scoreboard);
        if (number < remembered.first || number >= remembered.end) {
            return false;
        }
        shared_copy_death(out, &scoreboard->records[number % DEATH_RECORDS]);
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
        return client;
    }
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        client.words[0] = (uint64_t)AF_INET << 32 | ntohs(v6->sin6_port);
        memcpy(&client.words[1], &v6->sin6_addr.s6_addr[IPV4_IN_IPV6], sizeof(struct in_addr));
    } else if (family == AF_INET6) {
        client.words[0] = family << 32 | ntohs(v6->sin6_port);
        memcpy(&client.words[1], &v6->sin6_addr, sizeof(v6->sin6_addr));
    } else if (family == AF_UNIX) {
        client.words[0] = family << 32;
    }
    return client;
}

static bool is_loopback_v6(const struct in6_addr *address)
{
    return IN6_IS_ADDR_LOOPBACK(address) ||
           (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == IN_LOOPBACKNET);
}

bool client_address_is_loopback(const struct client_address *client)
{
    struct in6_addr v6;
    memcpy(&v6, &client->words[1], sizeof(v6));
    switch (client->words[0] >> 32) {
    case AF_INET:
        return v6.s6_addr[0] == IN_LOOPBACKNET;
    case AF_INET6:
        return is_loopback_v6(&v6);
    default:
        return client->words[0] >> 32 == AF_UNIX;
    }
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
