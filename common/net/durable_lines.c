#include "common/net/durable_lines.h"

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/net/durable_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    PAGE_BYTES = 4096,
    LINES_BYTES = 2 * DURABLE_BATCH_BYTES, /* so that a batch moves to where it does not lie yet */
    KEPT_BYTES = 65536                     /* of memory that an empty batch holds on to */
};

/* What says how things stand. */
union word {
    uint64_t bits;
    struct {
        uint64_t begin : 24; /* of the batch in the lines */
        uint64_t end : 24;
        uint64_t is_writing : 1;
        uint64_t has_position : 1; /* the descriptor that it is written to */
        uint64_t is_offered : 1;
    };
};
_Static_assert(sizeof(union word) == sizeof(uint64_t), "one store");
_Static_assert(LINES_BYTES < 1 << 24, "it fits");

struct area {
    durable_field word;
    durable_field writer; /* generation << 32 | descriptor + 1; counts while the batch is written */
    durable_field offered;    /* record << 32 | bytes; counts while something is offered */
    durable_field sent_bytes; /* the same */
    char pad[PAGE_BYTES - 4 * sizeof(durable_field)];
    char lines[LINES_BYTES];
    char offer[DURABLE_OFFER_BYTES];
};

struct durable_lines {
    struct area *area;
    uint32_t generation;
    size_t touched; /* of the lines, since their memory was given back */
    bool is_kept;   /* that memory: the kernel does not take it back */
};

static union word word_of(const struct durable_lines *lines)
{
    return (union word){.bits = durable_get(&lines->area->word)};
}

static void set_word(struct durable_lines *lines, union word word)
{
    CHECK(word.begin <= word.end && word.end <= LINES_BYTES);
    durable_set(&lines->area->word, word.bits);
}

/* ---- The area ---- */

size_t durable_lines_area_bytes(void)
{
    return sizeof(struct area);
}

static bool can_be(const struct area *area)
{
    union word word = {.bits = durable_get(&area->word)};
    return word.begin <= word.end && word.end <= LINES_BYTES &&
           word.end - word.begin <= DURABLE_BATCH_BYTES;
}

struct durable_lines *durable_lines_open(void *area, uint32_t generation)
{
    CHECK(generation != 0);
    struct durable_lines *lines = memory_alloc_zeroed(1, sizeof(*lines));
    lines->area = area;
    lines->generation = generation;
    lines->touched = LINES_BYTES; /* by the predecessor, for all that is known */
    if (!can_be(area)) {          /* the dead can have written anything */
        durable_lines_drop(lines);
    } else if ((uint32_t)durable_get(&lines->area->offered) > DURABLE_OFFER_BYTES) {
        durable_lines_withdraw(lines);
    }
    return lines;
}

void durable_lines_close(struct durable_lines *lines)
{
    free(lines);
}

void durable_lines_drop(struct durable_lines *lines)
{
    set_word(lines, (union word){0});
}

/* ---- The batch ---- */

/* Memory that only waiting lines have needed. */
static void trim(struct durable_lines *lines)
{
    if (lines->touched <= KEPT_BYTES || lines->is_kept) {
        return;
    }
    lines->touched = 0;
    if (madvise(lines->area->lines + KEPT_BYTES, LINES_BYTES - KEPT_BYTES, MADV_REMOVE) != 0) {
        lines->is_kept = true;
        log_write(LOG_WARN, "memory that waiting lines have needed is kept: madvise: %m");
    }
}

/* The room behind it is all that there is. */
static struct buffer batch_at(const struct durable_lines *lines, size_t begin, size_t bytes)
{
    return (struct buffer){
        .data = lines->area->lines + begin, .len = bytes, .capacity = LINES_BYTES - begin};
}

struct buffer durable_lines_batch(const struct durable_lines *lines)
{
    union word word = word_of(lines);
    return batch_at(lines, word.begin, word.end - word.begin);
}

static size_t begin_of(const struct durable_lines *lines, const struct buffer *batch)
{
    CHECK(batch->data >= lines->area->lines);
    size_t begin = (size_t)(batch->data - lines->area->lines);
    CHECK(begin + batch->len <= LINES_BYTES);
    return begin;
}

void durable_lines_make_room(struct durable_lines *lines, struct buffer *batch, size_t bytes)
{
    CHECK(batch->len + bytes <= DURABLE_BATCH_BYTES);
    if (batch->capacity - batch->len >= bytes) {
        return;
    }
    union word word = word_of(lines);
    CHECK(batch->len <= begin_of(lines, batch)); /* it moves to where it does not lie */
    memcpy(lines->area->lines, batch->data, batch->len);
    word.end -= word.begin;
    word.begin = 0;
    set_word(lines, word);
    *batch = batch_at(lines, 0, batch->len);
}

void durable_lines_commit(struct durable_lines *lines, const struct buffer *batch)
{
    union word word = word_of(lines);
    size_t begin = begin_of(lines, batch);
    CHECK(word.begin == begin);
    word.end = (begin + batch->len) & 0xffffff;
    word.is_offered = 0;
    set_word(lines, word);
    lines->touched = word.end > lines->touched ? word.end : lines->touched;
}

void durable_lines_writing(struct durable_lines *lines, int fd, bool has_position)
{
    union word word = word_of(lines);
    CHECK(fd >= 0);
    word.is_writing = 0; /* by the predecessor, maybe: the writer that goes with it is gone now */
    set_word(lines, word);
    durable_set(&lines->area->writer, (uint64_t)lines->generation << 32 | ((uint32_t)fd + 1));
    word.is_writing = 1;
    word.has_position = has_position;
    set_word(lines, word);
}

void durable_lines_written(struct durable_lines *lines, struct buffer *batch, size_t bytes)
{
    union word word = word_of(lines);
    CHECK(bytes <= batch->len && word.begin == begin_of(lines, batch));
    size_t left = batch->len - bytes;
    size_t begin = left == 0 ? 0 : word.begin + bytes;
    word.begin = begin & 0xffffff;
    word.end = (begin + left) & 0xffffff;
    word.is_writing = 0;
    set_word(lines, word);
    *batch = batch_at(lines, begin, left);
    if (left == 0) {
        trim(lines);
    }
}

/* ---- The offer ---- */

void durable_lines_offer(struct durable_lines *lines, uint32_t record, const struct buffer *noted,
                         uint64_t sent_bytes)
{
    union word word = word_of(lines);
    CHECK(!word.is_offered && noted->len <= DURABLE_OFFER_BYTES);
    memcpy(lines->area->offer, noted->data, noted->len);
    durable_set(&lines->area->sent_bytes, sent_bytes);
    durable_set(&lines->area->offered, (uint64_t)record << 32 | noted->len);
    word.is_offered = 1;
    set_word(lines, word);
}

void durable_lines_withdraw(struct durable_lines *lines)
{
    union word word = word_of(lines);
    if (word.is_offered) {
        word.is_offered = 0;
        set_word(lines, word);
    }
}

/* ---- What a predecessor has left ---- */

bool durable_lines_are_open(const struct durable_lines *lines, uint32_t *generation, int *fd)
{
    union word word = word_of(lines);
    uint64_t writer = durable_get(&lines->area->writer);
    *generation = (uint32_t)(writer >> 32);
    *fd = (int)((uint32_t)writer - 1);
    return word.is_writing && word.has_position && *fd >= 0;
}

bool durable_lines_offered(const struct durable_lines *lines, uint32_t *record,
                           struct buffer *noted, uint64_t *sent_bytes)
{
    uint64_t offered = durable_get(&lines->area->offered);
    size_t bytes = (uint32_t)offered;
    if (!word_of(lines).is_offered || bytes > DURABLE_OFFER_BYTES) {
        return false;
    }
    if (noted != NULL) {
        *noted = (struct buffer){0};
        buffer_append(noted, lines->area->offer, bytes);
    }
    *record = (uint32_t)(offered >> 32);
    *sent_bytes = durable_get(&lines->area->sent_bytes);
    return true;
}
