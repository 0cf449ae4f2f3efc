#include "server/observe/stories.h"

#include "common/base/memory.h"
#include "common/scoreboard/death_json.h"
#include "common/scoreboard/stuck_json.h"

#include <stdlib.h>

/* One that is remembered. */
struct told {
    bool there;
    uint64_t number;
    uint64_t digest; /* of a death, when it was rendered */
    bool recovered;
    struct buffer text;
};

struct stories {
    struct number_range deaths, stuck; /* as of the last refresh */
    struct told death[DEATH_RECORDS];
    struct told stuck_process[STUCK_RECORDS];
    struct death_record record; /* too large for a stack */
};

struct stories *stories_create(void)
{
    return memory_alloc_zeroed(1, sizeof(struct stories));
}

void stories_destroy(struct stories *stories)
{
    for (int i = 0; i < DEATH_RECORDS; i++) {
        buffer_free(&stories->death[i].text);
    }
    for (int i = 0; i < STUCK_RECORDS; i++) {
        buffer_free(&stories->stuck_process[i].text);
    }
    free(stories);
}

static bool is_told(const struct told *told, uint64_t number)
{
    return told->there && told->number == number;
}

static struct span text_of(const struct told *told)
{
    return (struct span){told->text.data, told->text.len};
}

static void begin(struct told *told, uint64_t number, struct json_writer *json)
{
    if (!is_told(told, number)) {
        told->there = true;
        told->recovered = false;
        told->number = number;
    }
    buffer_clear(&told->text);
    json_init(json, &told->text);
}

struct teller {
    story_fn tell;
    void *data;
};

static void tell(const struct teller *teller, const struct story *story)
{
    if (teller->tell != NULL) {
        teller->tell(teller->data, story);
    }
}

/* The digest is taken first: what changes meanwhile is rendered once more. */
static void refresh_death(struct stories *stories, const struct facts_reader *reader,
                          uint64_t number, const struct teller *teller)
{
    struct told *told = &stories->death[number % DEATH_RECORDS];
    struct death_record *record = &stories->record;
    uint64_t digest = facts_death_digest(reader, number);
    if ((is_told(told, number) && told->digest == digest) ||
        !facts_copy_death(reader, number, record)) {
        return;
    }
    struct json_writer json;
    record->number = number; /* whatever stands there by now */
    begin(told, number, &json);
    told->digest = digest;
    death_json_put(&json, record);
    tell(teller, &(struct story){.kind = STORY_DEATH, .number = number, .text = text_of(told)});
    if (record->recovery_ns != 0 && !told->recovered) {
        told->recovered = true;
        tell(teller, &(struct story){.kind = STORY_RECOVERED,
                                     .number = number,
                                     .recovery_us = record->recovery_ns / 1000});
    }
}

static void refresh_stuck(struct stories *stories, const struct facts_reader *reader,
                          uint64_t number, const struct teller *teller)
{
    struct told *told = &stories->stuck_process[number % STUCK_RECORDS];
    if (is_told(told, number)) {
        return;
    }
    /* Most of its room is never touched. */
    struct stuck_record *record = memory_alloc_zeroed(1, sizeof(*record));
    if (facts_copy_stuck(reader, number, record)) {
        struct json_writer json;
        begin(told, number, &json);
        stuck_json_put(&json, record);
        tell(teller, &(struct story){.kind = STORY_STUCK, .number = number, .text = text_of(told)});
    }
    free(record);
}

void stories_refresh(struct stories *stories, const struct facts_reader *reader, story_fn told,
                     void *data)
{
    const struct facts *facts = facts_last(reader);
    const struct teller teller = {told, data};
    stories->deaths = facts->deaths;
    stories->stuck = facts->stuck;
    for (uint64_t i = facts->deaths.first; i < facts->deaths.end; i++) {
        refresh_death(stories, reader, i, &teller);
    }
    for (uint64_t i = facts->stuck.first; i < facts->stuck.end; i++) {
        refresh_stuck(stories, reader, i, &teller);
    }
}

static void put_all(struct json_writer *json, const char *key, struct number_range numbers,
                    const struct told *told, uint64_t places)
{
    json_key(json, key);
    json_array_begin(json);
    for (uint64_t i = numbers.first; i < numbers.end; i++) {
        if (is_told(&told[i % places], i)) {
            json_write_raw(json, text_of(&told[i % places]));
        }
    }
    json_array_end(json);
}

void stories_put(const struct stories *stories, struct json_writer *json)
{
    put_all(json, "deaths", stories->deaths, stories->death, DEATH_RECORDS);
    put_all(json, "stuck_processes", stories->stuck, stories->stuck_process, STUCK_RECORDS);
}
