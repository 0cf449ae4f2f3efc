#include "common/net/durable.h"

#include "common/base/check.h"
#include "common/base/extents.h"
#include "common/base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    REGION_BYTES = 1 << 30, /* for input; never touched, it costs nothing */
    LEAVING = 1U << 31,     /* beside the descriptor: it is being closed, or given away */
    CLOSES = 1U << 31
};

/* What says how far a connection has come. */
union word {
    uint64_t bits;
    struct {
        uint64_t consumed : 32;
        uint64_t begun : 7;
        uint64_t answered : 7;
        uint64_t suspect : 7;
        uint64_t attempts : 2;
        uint64_t input_place : 1;
        uint64_t has_input : 1;
        uint64_t output_place : 1;
        uint64_t interim_put : 1;
        uint64_t interim_sent : 1;
        uint64_t closing : 1;
    };
};
_Static_assert(sizeof(union word) == sizeof(uint64_t), "one store");
_Static_assert(DURABLE_BEGUN_MOST < 1 << 7 && DURABLE_ATTEMPTS_MOST < 1 << 2, "they fit");

/* Of a request behind those that are consumed. */
#define NUMBER(value) ((value) & 0x7fU)

typedef _Atomic uint64_t field;

struct input_place {
    field begins_at; /* byte of all that the client sends */
    field run;       /* first page << 32 | pages */
};

struct output_place {
    field begins_at;
    field bytes;
    field digest;
    field date_second;
    field answers; /* that bytes and digest cover, and CLOSES */
};

struct durable_record {
    field word;
    field where; /* generation << 32 | LEAVING | descriptor + 1; 0: the record is free */
    struct input_place input[2];
    struct output_place output[2];
};
_Static_assert(sizeof(struct durable_record) == 128, "two cache lines");

struct area {
    field used; /* records that have ever been in use: the first ones */
    char pad[EXTENT_PAGE_BYTES - sizeof(field)];
    struct durable_record records[];
};

struct durable {
    struct area *area;
    struct extents *extents;
    size_t connections;
    uint32_t generation;
    uint32_t *free; /* a stack of indices */
    size_t free_count;
};

/* ---- Single stores, in the order of the program ---- */

static uint64_t get(const field *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

/* Whoever reads it later does so when this process is gone: the processor need not be told. */
static void set(field *at, uint64_t value)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(at, value, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

static union word word_of(const struct durable_record *record)
{
    return (union word){.bits = get(&record->word)};
}

/* ---- The area ---- */

static size_t records_bytes(size_t connections)
{
    size_t bytes = sizeof(struct area) + connections * sizeof(struct durable_record);
    return (bytes + EXTENT_PAGE_BYTES - 1) / EXTENT_PAGE_BYTES * EXTENT_PAGE_BYTES;
}

size_t durable_area_bytes(size_t connections)
{
    return records_bytes(connections) + REGION_BYTES;
}

struct durable *durable_open(void *area, size_t connections, uint32_t generation)
{
    CHECK(connections > 0 && connections < UINT32_MAX && generation != 0);
    struct durable *durable = memory_alloc_zeroed(1, sizeof(*durable));
    durable->area = area;
    durable->extents = extents_create((char *)area + records_bytes(connections), REGION_BYTES);
    durable->connections = connections;
    durable->generation = generation;
    durable->free = memory_alloc_zeroed(connections, sizeof(*durable->free));
    if (get(&durable->area->used) > connections) { /* the dead can have written anything */
        set(&durable->area->used, connections);
    }
    return durable;
}

void durable_close(struct durable *durable)
{
    extents_destroy(durable->extents);
    free(durable->free);
    free(durable);
}

static uint32_t index_of(const struct durable *durable, const struct durable_record *record)
{
    ptrdiff_t index = record - durable->area->records;
    CHECK(index >= 0 && (size_t)index < durable->connections);
    return (uint32_t)index;
}

static struct durable_record *free_record(struct durable *durable)
{
    uint64_t used = get(&durable->area->used);
    if (durable->free_count > 0) { /* the warmest first */
        return &durable->area->records[durable->free[--durable->free_count]];
    }
    if (used == durable->connections) {
        return NULL;
    }
    set(&durable->area->used, used + 1);
    return &durable->area->records[used];
}

static void release_record(struct durable *durable, struct durable_record *record)
{
    CHECK(get(&record->where) == 0 || durable->free_count < get(&durable->area->used));
    CHECK(durable->free_count < durable->connections);
    set(&record->where, 0);
    durable->free[durable->free_count++] = index_of(durable, record);
}

/* ---- A connection's life ---- */

static uint64_t place_of(uint32_t generation, int fd)
{
    CHECK(fd >= 0);
    return (uint64_t)generation << 32 | ((uint32_t)fd + 1);
}

struct durable_record *durable_enter(struct durable *durable, int fd)
{
    struct durable_record *record = free_record(durable);
    if (record != NULL) {
        CHECK(get(&record->where) == 0);
        set(&record->word, 0);
        set(&record->where, place_of(durable->generation, fd));
    }
    return record;
}

static struct extent run_of(const struct input_place *place)
{
    uint64_t run = get(&place->run);
    return (struct extent){.page = (uint32_t)(run >> 32), .count = (uint32_t)run};
}

/* Of a record that does not count any more. */
static void give_run(struct durable *durable, const struct durable_record *record)
{
    union word word = word_of(record);
    if (word.has_input) {
        extents_give(durable->extents, run_of(&record->input[word.input_place]));
    }
}

void durable_leave(struct durable *durable, struct durable_record *record, int fd,
                   struct buffer *input)
{
    CHECK((get(&record->where) & ~(uint64_t)LEAVING) == place_of(durable->generation, fd));
    set(&record->where, get(&record->where) | LEAVING);
    close(fd);
    give_run(durable, record);
    release_record(durable, record);
    *input = (struct buffer){0};
}

void durable_giving(struct durable_record *record, bool giving)
{
    uint64_t where = get(&record->where) & ~(uint64_t)LEAVING;
    set(&record->where, giving ? where | LEAVING : where);
}

void durable_abandon(struct durable *durable, struct durable_record *record, struct buffer *input)
{
    union word word = word_of(record);
    struct buffer own = {0};
    CHECK(!word.has_input || word.consumed <= input->len);
    set(&record->where, 0);
    if (word.has_input) {
        buffer_append(&own, input->data + word.consumed, input->len - word.consumed);
        *input = own;
    }
    give_run(durable, record);
    release_record(durable, record);
}

/* ---- Input ---- */

static void fill_input_place(struct input_place *place, uint64_t begins_at, struct extent run)
{
    set(&place->begins_at, begins_at);
    set(&place->run, (uint64_t)run.page << 32 | run.count);
}

static struct buffer memory_of(const struct durable *durable, struct extent run)
{
    return (struct buffer){.data = extents_memory(durable->extents, run),
                           .capacity = (size_t)run.count * EXTENT_PAGE_BYTES};
}

bool durable_input_take(struct durable *durable, struct durable_record *record, uint64_t read_bytes,
                        size_t bytes, struct buffer *input)
{
    union word word = word_of(record);
    CHECK(!word.has_input && input->capacity == 0);
    struct extent run = extents_take(durable->extents, bytes);
    if (run.count == 0) {
        return false;
    }
    fill_input_place(&record->input[word.input_place], read_bytes, run);
    word.has_input = 1;
    word.consumed = 0;
    set(&record->word, word.bits);
    *input = memory_of(durable, run);
    return true;
}

bool durable_input_move(struct durable *durable, struct durable_record *record,
                        struct buffer *input, size_t room)
{
    union word word = word_of(record);
    struct input_place *from = &record->input[word.input_place];
    struct input_place *to = &record->input[!word.input_place];
    struct extent old = run_of(from);
    CHECK(word.has_input && word.consumed <= input->len);
    size_t left = input->len - word.consumed;
    struct extent run = extents_take(durable->extents, left + room);
    if (run.count == 0) {
        return false;
    }
    struct buffer moved = memory_of(durable, run);
    CHECK(moved.capacity - left >= room);
    memcpy(moved.data, input->data + word.consumed, left);
    moved.len = left;
    fill_input_place(to, get(&from->begins_at) + word.consumed, run);
    word.input_place = !word.input_place;
    word.consumed = 0;
    set(&record->word, word.bits);
    extents_give(durable->extents, old);
    *input = moved;
    return true;
}

void durable_input_give(struct durable *durable, struct durable_record *record,
                        struct buffer *input)
{
    union word word = word_of(record);
    if (!word.has_input) {
        return;
    }
    CHECK(word.begun == 0 || word.closing);
    CHECK(input->capacity > 0);
    word.has_input = 0;
    word.consumed = 0;
    set(&record->word, word.bits);
    extents_give(durable->extents, run_of(&record->input[word.input_place]));
    *input = (struct buffer){0};
}

/* ---- Steps ---- */

static void fill_output_place(struct output_place *place, const struct durable_output *output)
{
    set(&place->begins_at, output->begins_at);
    set(&place->bytes, output->bytes);
    set(&place->digest, output->digest);
    set(&place->date_second, (uint64_t)output->date_second);
    set(&place->answers, output->answers | (output->closes ? CLOSES : 0));
}

struct durable_output durable_output(const struct durable_record *record)
{
    const struct output_place *place = &record->output[word_of(record).output_place];
    return (struct durable_output){.begins_at = get(&place->begins_at),
                                   .bytes = get(&place->bytes),
                                   .digest = get(&place->digest),
                                   .date_second = (int64_t)get(&place->date_second),
                                   .answers = (uint32_t)get(&place->answers) & ~CLOSES,
                                   .closes = (get(&place->answers) & CLOSES) != 0};
}

/* Into the place that does not count until the word says so. */
static void prepare_output(struct durable_record *record, union word *word,
                           const struct durable_output *output)
{
    word->output_place = !word->output_place;
    fill_output_place(&record->output[word->output_place], output);
}

static bool is_empty(union word word)
{
    return word.begun == 0 && !word.interim_put;
}

void durable_begin(struct durable_record *record, uint64_t written_bytes)
{
    union word word = word_of(record);
    CHECK(word.has_input && !word.closing);
    if (is_empty(word)) {
        prepare_output(record, &word, &(struct durable_output){.begins_at = written_bytes});
    }
    if (word.begun == word.answered) { /* else it begins again */
        CHECK(word.begun < DURABLE_BEGUN_MOST);
        word.begun++;
    }
    set(&record->word, word.bits);
}

void durable_answered(struct durable_record *record)
{
    union word word = word_of(record);
    CHECK(word.answered < word.begun && word.has_input);
    word.answered++;
    set(&record->word, word.bits);
}

void durable_interim(struct durable_record *record, uint64_t written_bytes)
{
    union word word = word_of(record);
    CHECK(!word.interim_put);
    if (is_empty(word)) {
        prepare_output(record, &word, &(struct durable_output){.begins_at = written_bytes});
    }
    word.interim_put = 1;
    set(&record->word, word.bits);
}

void durable_sending(struct durable_record *record, uint64_t put_bytes,
                     const struct durable_offer *offer)
{
    union word word = word_of(record);
    struct durable_output output = durable_output(record);
    CHECK(!is_empty(word) && put_bytes >= output.begins_at);
    if (output.bytes == put_bytes - output.begins_at && output.digest == offer->digest) {
        return; /* offered before */
    }
    output.bytes = put_bytes - output.begins_at;
    output.digest = offer->digest;
    output.date_second = offer->date_second;
    output.closes = offer->closes;
    output.answers = word.answered;
    prepare_output(record, &word, &output);
    set(&record->word, word.bits);
}

void durable_sent(struct durable_record *record, size_t consumed, uint64_t written_bytes,
                  bool closing)
{
    union word word = word_of(record);
    uint32_t answers = word.answered;
    CHECK(word.has_input && consumed <= UINT32_MAX && consumed >= word.consumed);
    word.begun = closing ? 0 : NUMBER(word.begun - answers); /* the last answer is the last */
    if (word.begun > 0) {
        prepare_output(record, &word, &(struct durable_output){.begins_at = written_bytes});
    }
    word.consumed = (uint32_t)consumed;
    word.answered = 0;
    word.suspect = word.suspect > answers ? NUMBER(word.suspect - answers) : 0;
    word.attempts = word.suspect > 0 ? word.attempts : 0;
    word.interim_sent = word.interim_put || (word.interim_sent && answers == 0);
    word.interim_put = 0;
    word.closing = closing;
    set(&record->word, word.bits);
}

struct durable_state durable_state(const struct durable_record *record)
{
    union word word = word_of(record);
    return (struct durable_state){.consumed = word.consumed,
                                  .begun = word.begun,
                                  .answered = word.answered,
                                  .suspect = word.suspect,
                                  .attempts = word.attempts,
                                  .has_input = word.has_input,
                                  .interim_put = word.interim_put,
                                  .interim_sent = word.interim_sent,
                                  .closing = word.closing};
}

/* ---- Adoption ---- */

/* There is something to be made from the input. */
static bool is_owed(union word word)
{
    return !word.closing && (!is_empty(word) || word.interim_sent);
}

/* Whether what it says of itself can be, as far as that can be told without its socket; then its
 * input's memory is claimed. */
static bool claim(struct durable *durable, const struct durable_record *record)
{
    union word word = word_of(record);
    uint64_t where = get(&record->where);
    if ((where & LEAVING) != 0 || (uint32_t)where == 0 || word.begun > DURABLE_BEGUN_MOST ||
        word.answered > word.begun || (!word.has_input && is_owed(word))) {
        return false;
    }
    return !word.has_input ||
           extents_claim(durable->extents, run_of(&record->input[word.input_place]));
}

struct durable_record *durable_next(struct durable *durable, size_t *cursor, uint32_t *generation,
                                    int *fd)
{
    while (*cursor < get(&durable->area->used)) {
        struct durable_record *record = &durable->area->records[(*cursor)++];
        uint64_t where = get(&record->where);
        if (where != 0 && claim(durable, record)) {
            *generation = (uint32_t)(where >> 32);
            *fd = (int)((uint32_t)where - 1);
            return record;
        }
        release_record(durable, record);
    }
    extents_forget_predecessor(durable->extents);
    return NULL;
}

bool durable_adopt(struct durable *durable, struct durable_record *record, int fd,
                   uint64_t read_bytes, struct buffer *input)
{
    union word word = word_of(record);
    const struct input_place *place = &record->input[word.input_place];
    uint64_t begins_at = get(&place->begins_at);
    *input = (struct buffer){0};
    if (word.has_input) {
        struct buffer memory = memory_of(durable, run_of(place));
        uint64_t length = read_bytes - begins_at;
        if (begins_at > read_bytes || length > memory.capacity || word.consumed > length) {
            return false;
        }
        memory.len = (size_t)length;
        *input = memory;
    }
    set(&record->where, place_of(durable->generation, fd));
    return true;
}

void durable_restart(struct durable_record *record, uint32_t answered)
{
    union word word = word_of(record);
    CHECK(answered <= word.answered);
    if (word.begun > word.answered) {
        uint32_t at_work = word.answered + 1;
        uint32_t attempts = word.suspect == at_work ? word.attempts + 1 : 1;
        word.attempts = (attempts < DURABLE_ATTEMPTS_MOST ? attempts : DURABLE_ATTEMPTS_MOST) & 3;
        word.suspect = NUMBER(at_work);
    }
    word.answered = NUMBER(answered);
    set(&record->word, word.bits);
}

void durable_drop(struct durable *durable, struct durable_record *record)
{
    give_run(durable, record);
    release_record(durable, record);
}

void durable_trim(struct durable *durable)
{
    extents_trim(durable->extents);
}
