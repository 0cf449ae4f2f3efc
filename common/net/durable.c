#include "common/net/durable.h"

#include "common/base/check.h"
#include "common/base/extents.h"
#include "common/base/memory.h"
#include "common/net/durable_states.h"
#include "common/net/durable_store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    REGION_BYTES = 1 << 30, /* for input; never touched, it costs nothing */
    FREE_ROOM_LEAST = 64,
    LEAVING = 1U << 31, /* beside the descriptor: it is being closed */
    PENDING = 1U << 30, /* ... whose it is, a claim decides */
    EXPECTED = 1U << 31,
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
        uint64_t attempts : 4;
        uint64_t input_place : 1;
        uint64_t has_input : 1;
        uint64_t output_place : 1;
        uint64_t interim_put : 1;
        uint64_t interim_sent : 1;
        uint64_t closing : 1;
    };
};
_Static_assert(sizeof(union word) == sizeof(uint64_t), "one store");
_Static_assert(DURABLE_BEGUN_MOST + 1 < 1 << 7 && DURABLE_ATTEMPTS_MOST < 1 << 4, "they fit");

/* Of a request behind those that are consumed. */
#define NUMBER(value) ((value) & 0x7fU)

struct input_place {
    durable_field begins_at; /* byte of all that the client sends */
    durable_field run;       /* first page << 32 | pages */
};

struct output_place {
    durable_field begins_at;
    durable_field bytes;
    durable_field digest;
    durable_field date_second;
    durable_field answers; /* that bytes and digest cover, and CLOSES */
};

struct durable_record {
    durable_field word;
    durable_field
        where; /* generation << 32 | LEAVING | PENDING | descriptor + 1; 0: the record is free */
    struct input_place input[2]; /* PENDING: the one that does not count begins at the claim */
    struct output_place output[2];
};
_Static_assert(sizeof(struct durable_record) == 128, "two cache lines");

struct area {
    durable_field used;     /* records that have ever been in use: the first ones */
    durable_field pages;    /* of the memory for input, likewise */
    durable_field expected; /* generation << 32 | EXPECTED; 0: nothing */
    durable_field expected_cookie;
    durable_field expected_claim;
    char pad[EXTENT_PAGE_BYTES - 5 * sizeof(durable_field)];
    struct durable_record records[];
};

struct durable {
    struct area *area;
    struct extents *extents;
    size_t connections;
    uint32_t generation;
    uint32_t *free; /* a stack of indices */
    size_t free_count;
    size_t free_room;
    uint64_t disbelieved;
};

static union word word_of(const struct durable_record *record)
{
    return (union word){.bits = durable_get(&record->word)};
}

/* ---- What may follow (durable_states.h) ---- */

#define STEP(name) STEP_##name,
enum step { DURABLE_STEPS(STEP) };

#define OF(field) word.field

/* A line of the table is no branch that somebody wrote: test_durable_states walks them all.
 * GCOVR_EXCL_BR_START */

/* Whether it is one that the table knows. */
static bool is_in_a_state(union word word)
{
#define OR_IS(state) || DURABLE_IS_##state(OF)
    return false DURABLE_STATES(OR_IS);
}

/* A branch or two, where the step is known. */
static inline __attribute__((always_inline)) bool may(enum step step, union word word)
{
#define OR_LINE(wanted, its_step, from, to)                                                        \
    || ((wanted) == STEP_##its_step && DURABLE_IS_##from(OF))
    return false DURABLE_MAY(OR_LINE, step) DURABLE_MAY_AFTER_LIES(OR_LINE, step);
}

/* GCOVR_EXCL_BR_STOP */

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
    if (durable_get(&durable->area->used) > connections) { /* the dead can have written anything */
        durable_set(&durable->area->used, connections);
    }
    return durable;
}

void durable_close(struct durable *durable)
{
    extents_destroy(durable->extents);
    free(durable->free);
    free(durable);
}

uint32_t durable_index(const struct durable *durable, const struct durable_record *record)
{
    ptrdiff_t index = record - durable->area->records;
    CHECK(index >= 0 && (size_t)index < durable->connections);
    return (uint32_t)index;
}

static struct durable_record *free_record(struct durable *durable)
{
    uint64_t used = durable_get(&durable->area->used);
    if (durable->free_count > 0) { /* the warmest first */
        return &durable->area->records[durable->free[--durable->free_count]];
    }
    if (used == durable->connections) {
        return NULL;
    }
    durable_set(&durable->area->used, used + 1);
    return &durable->area->records[used];
}

static void make_room_for_one_more(struct durable *durable)
{
    if (durable->free_count == durable->free_room) {
        durable->free_room = durable->free_room == 0 ? FREE_ROOM_LEAST : 2 * durable->free_room;
        durable->free = memory_resize(durable->free, durable->free_room * sizeof(*durable->free));
    }
}

static void release_record(struct durable *durable, struct durable_record *record)
{
    CHECK(durable_get(&record->where) == 0 ||
          durable->free_count < durable_get(&durable->area->used));
    CHECK(durable->free_count < durable->connections);
    durable_set(&record->where, 0);
    make_room_for_one_more(durable);
    durable->free[durable->free_count++] = durable_index(durable, record);
}

/* ---- A connection's life ---- */

static uint64_t place_of(uint32_t generation, int fd)
{
    CHECK(fd >= 0);
    return (uint64_t)generation << 32 | ((uint32_t)fd + 1);
}

void durable_expect(struct durable *durable, uint64_t cookie, uint64_t claim)
{
    durable_set(&durable->area->expected_cookie, cookie);
    durable_set(&durable->area->expected_claim, claim);
    durable_set(&durable->area->expected, (uint64_t)durable->generation << 32 | EXPECTED);
}

void durable_expect_nothing(struct durable *durable)
{
    durable_set(&durable->area->expected, 0);
}

static void note_claim(struct durable_record *record, uint64_t claim)
{
    durable_set(&record->input[!word_of(record).input_place].begins_at, claim);
}

struct durable_record *durable_enter(struct durable *durable, int fd, uint64_t claim)
{
    struct durable_record *record = free_record(durable);
    if (record != NULL) {
        CHECK(durable_get(&record->where) == 0);
        durable_set(&record->word, 0);
        note_claim(record, claim);
        durable_set(&record->where, place_of(durable->generation, fd) | (claim != 0 ? PENDING : 0));
    }
    durable_expect_nothing(durable);
    return record;
}

static struct extent run_of(const struct input_place *place)
{
    uint64_t run = durable_get(&place->run);
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
    CHECK((durable_get(&record->where) & ~(uint64_t)(LEAVING | PENDING)) ==
          place_of(durable->generation, fd));
    durable_set(&record->where, durable_get(&record->where) | LEAVING);
    close(fd);
    give_run(durable, record);
    release_record(durable, record);
    *input = (struct buffer){0};
}

void durable_end(struct durable_record *record)
{
    durable_set(&record->where, durable_get(&record->where) | LEAVING);
}

void durable_pend(struct durable_record *record, uint64_t claim)
{
    CHECK(claim != 0);
    note_claim(record, claim);
    durable_set(&record->where, durable_get(&record->where) | PENDING);
}

void durable_settle(struct durable_record *record)
{
    durable_set(&record->where, durable_get(&record->where) & ~(uint64_t)PENDING);
}

void durable_abandon(struct durable *durable, struct durable_record *record, struct buffer *input)
{
    union word word = word_of(record);
    struct buffer own = {0};
    CHECK(!word.has_input || word.consumed <= input->len);
    durable_set(&record->where, 0);
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
    durable_set(&place->begins_at, begins_at);
    durable_set(&place->run, (uint64_t)run.page << 32 | run.count);
}

static struct buffer memory_of(const struct durable *durable, struct extent run)
{
    return (struct buffer){.data = extents_memory(durable->extents, run),
                           .capacity = (size_t)run.count * EXTENT_PAGE_BYTES};
}

/* A run for input; of count 0: no place is left. */
static struct extent take_run(struct durable *durable, size_t bytes)
{
    struct extent run = extents_take(durable->extents, bytes);
    if (run.page + run.count > durable_get(&durable->area->pages)) { /* before it is touched */
        durable_set(&durable->area->pages, run.page + run.count);
    }
    return run;
}

bool durable_input_take(struct durable *durable, struct durable_record *record, uint64_t read_bytes,
                        size_t bytes, struct buffer *input)
{
    union word word = word_of(record);
    CHECK(may(STEP_TAKE, word) && input->capacity == 0);
    struct extent run = take_run(durable, bytes);
    if (run.count == 0) {
        return false;
    }
    fill_input_place(&record->input[word.input_place], read_bytes, run);
    word.has_input = 1;
    word.consumed = 0;
    durable_set(&record->word, word.bits);
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
    CHECK(may(STEP_MOVE, word) && word.consumed <= input->len);
    size_t left = input->len - word.consumed;
    struct extent run = take_run(durable, left + room);
    if (run.count == 0) {
        return false;
    }
    struct buffer moved = memory_of(durable, run);
    CHECK(moved.capacity - left >= room);
    memcpy(moved.data, input->data + word.consumed, left);
    moved.len = left;
    fill_input_place(to, durable_get(&from->begins_at) + word.consumed, run);
    word.input_place = !word.input_place;
    word.consumed = 0;
    durable_set(&record->word, word.bits);
    extents_give(durable->extents, old);
    *input = moved;
    return true;
}

bool durable_may_give(const struct durable_record *record)
{
    return may(STEP_GIVE, word_of(record));
}

void durable_input_give(struct durable *durable, struct durable_record *record,
                        struct buffer *input)
{
    union word word = word_of(record);
    if (!word.has_input) {
        return;
    }
    CHECK(may(STEP_GIVE, word) && input->capacity > 0);
    word.has_input = 0;
    word.consumed = 0;
    durable_set(&record->word, word.bits);
    extents_give(durable->extents, run_of(&record->input[word.input_place]));
    *input = (struct buffer){0};
}

/* ---- Steps ---- */

static void fill_output_place(struct output_place *place, const struct durable_output *output)
{
    durable_set(&place->begins_at, output->begins_at);
    durable_set(&place->bytes, output->bytes);
    durable_set(&place->digest, output->digest);
    durable_set(&place->date_second, (uint64_t)output->date_second);
    durable_set(&place->answers, output->answers | (output->closes ? CLOSES : 0));
}

struct durable_output durable_output(const struct durable_record *record)
{
    const struct output_place *place = &record->output[word_of(record).output_place];
    return (struct durable_output){.begins_at = durable_get(&place->begins_at),
                                   .bytes = durable_get(&place->bytes),
                                   .digest = durable_get(&place->digest),
                                   .date_second = (int64_t)durable_get(&place->date_second),
                                   .answers = (uint32_t)durable_get(&place->answers) & ~CLOSES,
                                   .closes = (durable_get(&place->answers) & CLOSES) != 0};
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
    CHECK(may(STEP_BEGIN, word));
    if (is_empty(word)) {
        prepare_output(record, &word, &(struct durable_output){.begins_at = written_bytes});
    }
    if (word.begun == word.answered) {           /* else it begins again */
        CHECK(word.begun <= DURABLE_BEGUN_MOST); /* one more, if that many were none */
        word.begun++;
    }
    durable_set(&record->word, word.bits);
}

void durable_answered(struct durable_record *record)
{
    union word word = word_of(record);
    CHECK(may(STEP_ANSWER, word));
    word.answered++;
    durable_set(&record->word, word.bits);
}

void durable_interim(struct durable_record *record, uint64_t written_bytes)
{
    union word word = word_of(record);
    CHECK(may(STEP_INTERIM, word));
    if (is_empty(word)) {
        prepare_output(record, &word, &(struct durable_output){.begins_at = written_bytes});
    }
    word.interim_put = 1;
    durable_set(&record->word, word.bits);
}

void durable_sending(struct durable_record *record, uint64_t put_bytes,
                     const struct durable_offer *offer)
{
    union word word = word_of(record);
    struct durable_output output = durable_output(record);
    CHECK(may(STEP_SENDING, word) && put_bytes >= output.begins_at);
    if (output.bytes == put_bytes - output.begins_at && output.digest == offer->digest) {
        return; /* offered before */
    }
    output.bytes = put_bytes - output.begins_at;
    output.digest = offer->digest;
    output.date_second = offer->date_second;
    output.closes = offer->closes;
    output.answers = word.answered;
    prepare_output(record, &word, &output);
    durable_set(&record->word, word.bits);
}

void durable_sent(struct durable_record *record, size_t consumed, uint64_t written_bytes,
                  bool closing)
{
    union word word = word_of(record);
    uint32_t answers = word.answered;
    CHECK(may(STEP_SENT, word) && consumed <= UINT32_MAX && consumed >= word.consumed);
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
    durable_set(&record->word, word.bits);
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

/* Whether what it says of itself can be, as far as that can be told without its socket; then its
 * input's memory is claimed. */
static bool is_credible(struct durable *durable, const struct durable_record *record)
{
    union word word = word_of(record);
    uint64_t where = durable_get(&record->where);
    if ((where & LEAVING) != 0 || (where & ~(uint64_t)PENDING & UINT32_MAX) == 0 ||
        word.begun > DURABLE_BEGUN_MOST || !is_in_a_state(word)) {
        return false;
    }
    return !word.has_input ||
           extents_claim(durable->extents, run_of(&record->input[word.input_place]));
}

static int descriptor_of(uint64_t where)
{
    return (int)((uint32_t)where & ~(LEAVING | PENDING)) - 1;
}

struct durable_record *durable_next(struct durable *durable, size_t *cursor, uint32_t *generation,
                                    int *fd)
{
    while (*cursor < durable_get(&durable->area->used)) {
        struct durable_record *record = &durable->area->records[(*cursor)++];
        uint64_t where = durable_get(&record->where);
        if (where != 0 && is_credible(durable, record)) {
            *generation = (uint32_t)(where >> 32);
            *fd = descriptor_of(where);
            return record;
        }
        durable->disbelieved += where != 0 && (where & LEAVING) == 0;
        release_record(durable, record);
    }
    uint64_t pages = durable_get(&durable->area->pages);
    extents_forget_predecessor(durable->extents, pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX);
    return NULL;
}

uint64_t durable_disbelieved(const struct durable *durable)
{
    return durable->disbelieved;
}

uint64_t durable_claim(const struct durable_record *record, uint32_t *generation)
{
    uint64_t where = durable_get(&record->where);
    *generation = (uint32_t)(where >> 32);
    return (where & PENDING) == 0
               ? 0
               : durable_get(&record->input[!word_of(record).input_place].begins_at);
}

bool durable_expected(const struct durable *durable, struct durable_expected *expected)
{
    uint64_t word = durable_get(&durable->area->expected);
    *expected = (struct durable_expected){.generation = (uint32_t)(word >> 32),
                                          .cookie = durable_get(&durable->area->expected_cookie),
                                          .claim = durable_get(&durable->area->expected_claim)};
    return (uint32_t)word == EXPECTED;
}

size_t durable_descriptors(const struct durable *durable, uint32_t generation, int *fds)
{
    size_t count = 0;
    for (uint64_t i = 0; i < durable_get(&durable->area->used) && i < durable->connections; i++) {
        uint64_t where = durable_get(&durable->area->records[i].where);
        if (where != 0 && where >> 32 == generation) {
            fds[count++] = descriptor_of(where);
        }
    }
    return count;
}

bool durable_adopt(struct durable *durable, struct durable_record *record, int fd,
                   uint64_t read_bytes, struct buffer *input)
{
    union word word = word_of(record);
    const struct input_place *place = &record->input[word.input_place];
    uint64_t begins_at = durable_get(&place->begins_at);
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
    durable_set(&record->where, place_of(durable->generation, fd));
    return true;
}

void durable_restart(struct durable_record *record, bool keep_output, uint32_t blame)
{
    union word word = word_of(record);
    const struct durable_output output = durable_output(record);
    CHECK(may(STEP_RESTART, word) && (!keep_output || output.answers <= word.answered));
    CHECK(blame <= DURABLE_ATTEMPTS_MOST);
    if (blame > 0 && word.begun > word.answered) {
        uint32_t at_work = word.answered + 1;
        uint32_t sum = (word.suspect == at_work ? word.attempts : 0) + blame;
        word.attempts = (sum < DURABLE_ATTEMPTS_MOST ? sum : DURABLE_ATTEMPTS_MOST) & 15;
        word.suspect = NUMBER(at_work);
    }
    word.answered = keep_output ? NUMBER(output.answers) : 0;
    if (!keep_output) { /* else the next successor would look for answers that this one drops */
        prepare_output(record, &word, &(struct durable_output){.begins_at = output.begins_at});
        word.interim_put = 0;
    }
    durable_set(&record->word, word.bits);
}

void durable_drop(struct durable *durable, struct durable_record *record)
{
    give_run(durable, record);
    release_record(durable, record);
}

bool durable_trim(struct durable *durable)
{
    return extents_trim(durable->extents);
}
