/* GET /fault/scribble?ms=N&seed=N: writes over the whole scoreboard, for so long, what a process
 * might that has gone astray or been taken over: words without sense, words that could be true, all
 * ones, single bits, whole parts in each other's places, and one and the same word again and again
 * while somebody else may be looking at it twice. The same seed does the same in the same order. It
 * is for tests: whatever is written, the master must go on. */
#include "common/base/clock.h"
#include "common/handlers/handlers.h"
#include "common/http/query.h"

#include <string.h>
#include <unistd.h>

enum {
    DEFAULT_MS = 100,
    LONGEST_MS = 10000,
    WORDS_AT_A_TIME = 64,
    CHANGES_OF_A_WORD = 20000, /* some 100 us */
    SEED_MAX = 1 << 30
};

#define DELIBERATE __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

struct scribbler {
    struct scoreboard *scoreboard;
    uint64_t chance; /* never 0 */
    uint64_t until_ms;
};

static uint64_t draw(struct scribbler *scribbler)
{
    uint64_t x = scribbler->chance;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return scribbler->chance = x;
}

static uint64_t below(struct scribbler *scribbler, uint64_t limit)
{
    return draw(scribbler) % limit;
}

/* A value that somebody might take for true, or trip over. */
static uint64_t draw_value(struct scribbler *scribbler)
{
    const uint64_t values[] = {
        0,
        1,
        below(scribbler, 10),
        UINT64_MAX,
        INT64_MAX,
        UINT32_MAX,
        UINT64_C(0x7fffffff7fffffff),
        UINT64_C(0x0101010101010101) * below(scribbler, 256),
        UINT64_C(1) << below(scribbler, 64),
        clock_monotonic_ms(),
        clock_monotonic_ns(),
        (uint64_t)getpid(),
        (uint64_t)getppid(),
        below(scribbler, scribbler->scoreboard->slot_capacity + 2),
        draw(scribbler),
        UINT64_C(0x100000001) * below(scribbler, 10),
    };
    return values[below(scribbler, sizeof(values) / sizeof(values[0]))];
}

/* ---- Anywhere ---- */

static char *shared_part(const struct scribbler *scribbler)
{
    return (char *)scribbler->scoreboard + SCOREBOARD_PAGE_BYTES;
}

static size_t shared_bytes(const struct scribbler *scribbler)
{
    return sizeof(struct scoreboard) - SCOREBOARD_PAGE_BYTES +
           scribbler->scoreboard->slot_capacity * sizeof(struct worker_slot);
}

static volatile uint64_t *draw_word(struct scribbler *scribbler)
{
    size_t words = shared_bytes(scribbler) / sizeof(uint64_t);
    return (volatile uint64_t *)(void *)shared_part(scribbler) + below(scribbler, words);
}

/* The slots are a small part, of which the most depends. */
static volatile uint64_t *draw_word_of_a_slot(struct scribbler *scribbler)
{
    struct scoreboard *scoreboard = scribbler->scoreboard;
    size_t words = scoreboard->slot_capacity * sizeof(struct worker_slot) / sizeof(uint64_t);
    return (volatile uint64_t *)(void *)scoreboard->slots + below(scribbler, words);
}

DELIBERATE static void write_words(struct scribbler *scribbler)
{
    for (int i = 0; i < WORDS_AT_A_TIME; i++) {
        *draw_word(scribbler) = draw_value(scribbler);
        *draw_word_of_a_slot(scribbler) = draw_value(scribbler);
    }
}

DELIBERATE static void flip_bits(struct scribbler *scribbler)
{
    for (int i = 0; i < WORDS_AT_A_TIME; i++) {
        *draw_word(scribbler) ^= UINT64_C(1) << below(scribbler, 64);
        *draw_word_of_a_slot(scribbler) ^= UINT64_C(1) << below(scribbler, 64);
    }
}

DELIBERATE static void fill(struct scribbler *scribbler)
{
    char *part = shared_part(scribbler);
    size_t bytes = shared_bytes(scribbler);
    size_t first = below(scribbler, bytes);
    int byte = (int)below(scribbler, 256);
    for (size_t i = first; i < bytes && i < first + sizeof(struct death_record); i++) {
        ((volatile char *)part)[i] = (char)byte;
    }
}

static void fill_all(struct scribbler *scribbler)
{
    memset(shared_part(scribbler), (int)below(scribbler, 256), shared_bytes(scribbler));
}

/* Twice the same is not always the same. */
DELIBERATE static void change_a_word(struct scribbler *scribbler)
{
    volatile uint64_t *word = draw_word_of_a_slot(scribbler);
    uint64_t one = draw_value(scribbler), other = draw_value(scribbler);
    for (int i = 0; i < CHANGES_OF_A_WORD; i++) {
        *word = one;
        *word = other;
    }
}

/* ---- Where it matters ---- */

DELIBERATE static void exchange_slots(struct scribbler *scribbler)
{
    struct scoreboard *scoreboard = scribbler->scoreboard;
    struct worker_slot *to = &scoreboard->slots[below(scribbler, scoreboard->slot_capacity)];
    struct worker_slot *from = &scoreboard->slots[below(scribbler, scoreboard->slot_capacity)];
    memmove((void *)to, (void *)from, sizeof(*to));
}

DELIBERATE static void write_slots(struct scribbler *scribbler)
{
    for (uint32_t i = 0; i < scribbler->scoreboard->slot_capacity; i++) {
        struct worker_slot *slot = &scribbler->scoreboard->slots[i];
        slot->state = (uint32_t)below(scribbler, SLOT_SPARE + 2);
        slot->verdict = (uint32_t)below(scribbler, SLOT_BLOCKED + 2);
        slot->role = (uint32_t)below(scribbler, 3);
        slot->inbox = (uint32_t)draw_value(scribbler);
        slot->draining = (uint32_t)draw_value(scribbler);
        slot->spares_wanted = (uint32_t)draw_value(scribbler);
        slot->pid = (int32_t)draw_value(scribbler);
        slot->tid = (int32_t)draw_value(scribbler);
        slot->generation = (uint32_t)draw_value(scribbler);
        slot->heartbeat_ms = draw_value(scribbler);
        slot->ready_ns = draw_value(scribbler);
        slot->connections_open = draw_value(scribbler);
        slot->connections_mortal = draw_value(scribbler);
        slot->legacy = draw_value(scribbler);
        slot->counters.adoption[below(scribbler, ADOPTION_KINDS)] = draw_value(scribbler);
        slot->crash.written = (uint32_t)below(scribbler, 2);
        slot->crash.slot = (int32_t)draw_value(scribbler);
        slot->crash.stack.frames_met = (uint32_t)draw_value(scribbler);
        slot->inquiry.answered = (uint32_t)draw_value(scribbler);
        slot->inquiry.stack.frames_met = (uint32_t)draw_value(scribbler);
    }
}

DELIBERATE static void write_records(struct scribbler *scribbler)
{
    struct scoreboard *scoreboard = scribbler->scoreboard;
    for (uint32_t i = 0; i < DEATH_RECORDS; i++) {
        struct death_record *record = &scoreboard->records[i];
        record->number = draw_value(scribbler);
        record->died_ns = draw_value(scribbler);
        record->request_count = (uint32_t)draw_value(scribbler);
        record->crash_state = (uint32_t)below(scribbler, CRASH_PUBLISHED + 2);
        record->crash.told = (uint8_t)draw_value(scribbler);
        record->crash.stack.frame_count = (uint32_t)draw_value(scribbler);
        record->crash.stack.left_out_at = (uint32_t)draw_value(scribbler);
    }
    for (uint32_t i = 0; i < STUCK_RECORDS; i++) {
        scoreboard->stuck_places[i].sequence = draw_value(scribbler);
        scoreboard->stuck_places[i].record.thread_count = (uint32_t)draw_value(scribbler);
    }
}

DELIBERATE static void write_counts(struct scribbler *scribbler)
{
    struct scoreboard *scoreboard = scribbler->scoreboard;
    scoreboard->slot_count = (uint32_t)draw_value(scribbler);
    scoreboard->generation = (uint32_t)draw_value(scribbler);
    scoreboard->deaths = draw_value(scribbler);
    scoreboard->death_sequence = draw_value(scribbler);
    scoreboard->stuck_records = draw_value(scribbler);
}

/* ---- The handler ---- */

static void scribble(struct scribbler *scribbler)
{
    static void (*const ways[])(struct scribbler *) = {
        write_words,    flip_bits,   fill,          fill_all,     change_a_word,
        exchange_slots, write_slots, write_records, write_counts,
    };
    while (clock_monotonic_ms() < scribbler->until_ms) {
        ways[below(scribbler, sizeof(ways) / sizeof(ways[0]))](scribbler);
    }
}

static void fault_scribble(const struct http_request *request, struct http_response *response,
                           struct handler_context *context, void *data)
{
    const struct handler_environment *env = data;
    uint64_t ms, seed;
    (void)context;
    if (!query_uint(request, response, "ms", DEFAULT_MS, LONGEST_MS, &ms) ||
        !query_uint(request, response, "seed", 1, SEED_MAX, &seed)) {
        return;
    }
    struct scribbler scribbler = {.scoreboard = (struct scoreboard *)(uintptr_t)env->scoreboard,
                                  .chance = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15),
                                  .until_ms = clock_monotonic_ms() + ms};
    scribble(&scribbler);
    http_response_text(response, 200, "scribbled");
}

void scribble_register(struct router *router, struct handler_environment *env)
{
    router_add(router, &(struct route){.path = "/fault/scribble",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .blocks = true,
                                       .handler = fault_scribble,
                                       .data = env});
}
