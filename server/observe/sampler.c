#include "server/observe/sampler.h"

#include "common/base/log.h"
#include "common/base/memory.h"
#include "server/observe/ticks.h"

#include <event2/event.h>
#include <stdlib.h>
#include <time.h>

enum { FIRST_LOOKS = 2000 /* one each millisecond */ };

struct sampler {
    struct sampler_options options;
    struct state_identity identity;
    struct facts_reader *reader;
    struct windows *windows;
    struct procfs *procfs;
    struct stories *stories;
    struct events *events;
    struct viewers *viewers;
    struct ticks *ticks;
    struct state_view view;
    struct latency_copy latency; /* as of the last look or tick */
    struct event *second;
    struct event *tick;
    bool ticks_run;
    uint64_t watched_ms;      /* CLOCK_MONOTONIC: somebody watched */
    uint64_t shape;           /* of the processes, as they were told last */
    struct event_text *hello; /* made since the last tick; NULL: none was */
    struct event_text *full;  /* the same */
    struct buffer scratch;
};

/* ---- Events ---- */

static void add_event(struct sampler *sampler, const char *name)
{
    const struct buffer *text = &sampler->scratch;
    events_add(sampler->events, sampler->view.facts->now_ms, name,
               (struct span){text->data, text->len});
}

static struct json_writer begin_json(struct sampler *sampler)
{
    struct json_writer json;
    buffer_clear(&sampler->scratch);
    json_init(&json, &sampler->scratch);
    return json;
}

static void add_processes(struct sampler *sampler)
{
    struct json_writer json = begin_json(sampler);
    procfs_refresh(sampler->procfs, sampler->view.facts);
    state_json_put_processes_event(&json, &sampler->view);
    add_event(sampler, "processes");
}

static void add_recovery(struct sampler *sampler, const struct story *story)
{
    struct json_writer json = begin_json(sampler);
    json_object_begin(&json);
    json_put_uint(&json, "t", sampler->view.facts->time_ms);
    json_put_uint(&json, "number", story->number);
    json_put_milliseconds(&json, "recovery_ms", story->recovery_us);
    json_object_end(&json);
    add_event(sampler, "recovered");
}

static void tell_story(void *data, const struct story *story)
{
    struct sampler *sampler = data;
    if (story->kind == STORY_RECOVERED) {
        add_recovery(sampler, story);
    } else {
        events_add(sampler->events, sampler->view.facts->now_ms,
                   story->kind == STORY_DEATH ? "death" : "stuck", story->text);
    }
}

/* ---- Looking ---- */

/* Whether nothing changed meanwhile; else it has what the last such look had. */
static bool look(struct sampler *sampler, facts_latency_fn each)
{
    facts_read(sampler->reader);
    bool agreed = facts_read_latency(sampler->reader, &sampler->latency, each, sampler);
    sampler->view.viewers = viewers_count(sampler->viewers);
    return agreed;
}

/* There is no last one yet, and what is shown must not be less than what another observer has
 * shown before. The master may have stopped in the middle: that is not waited for. */
static void look_first(struct sampler *sampler)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < FIRST_LOOKS && !look(sampler, NULL); i++) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
    }
}

/* What is new becomes events while these are made, whoever has looked. */
static void refresh_stories(struct sampler *sampler)
{
    stories_refresh(sampler->stories, sampler->reader, sampler->ticks_run ? tell_story : NULL,
                    sampler);
}

const struct state_view *sampler_look(struct sampler *sampler)
{
    look(sampler, NULL);
    procfs_refresh(sampler->procfs, sampler->view.facts);
    refresh_stories(sampler);
    return &sampler->view;
}

const struct latency_copy *sampler_latency(const struct sampler *sampler)
{
    return &sampler->latency;
}

struct viewers *sampler_viewers(struct sampler *sampler)
{
    return sampler->viewers;
}

/* ---- Each second ---- */

static void note_slot(void *data, const struct facts_process *process,
                      const struct facts_slot *slot, const struct histogram_copy *requests)
{
    struct sampler *sampler = data;
    windows_note_slot(sampler->windows, slot->slot, process->generation,
                      sampler->view.facts->now_ms, requests);
}

static void on_second(evutil_socket_t fd, short what, void *data)
{
    struct sampler *sampler = data;
    (void)fd;
    (void)what;
    look(sampler, note_slot);
    windows_note(sampler->windows, sampler->view.facts->now_ms, &sampler->latency);
    windows_forget_others(sampler->windows, sampler->view.facts->now_ms);
    if (sampler->ticks_run) {
        add_processes(sampler);
    }
}

/* ---- Each tick ---- */

static uint64_t mix(uint64_t digest, uint64_t word)
{
    return (digest ^ word) * UINT64_C(0x100000001b3);
}

/* A number for which processes there are, and in which states. */
static uint64_t shape_of(const struct facts *facts)
{
    uint64_t shape = mix(mix(UINT64_C(0xcbf29ce484222325), facts->phase), facts->wanted);
    for (uint32_t i = 0; i < facts->process_count; i++) {
        const struct facts_process *process = &facts->processes[i];
        shape = mix(mix(shape, process->generation), process->state);
        shape = mix(mix(shape, (uint32_t)process->pid), process->count);
    }
    return shape;
}

static void release(struct event_text **event)
{
    if (*event != NULL) {
        event_text_release(*event);
        *event = NULL;
    }
}

static void stop_ticks(struct sampler *sampler)
{
    event_del(sampler->tick);
    sampler->ticks_run = false;
    events_forget(sampler->events);
    release(&sampler->hello);
    release(&sampler->full);
}

static void add_tick(struct sampler *sampler)
{
    struct json_writer json = begin_json(sampler);
    ticks_put(sampler->ticks, &json, sampler->view.facts, &sampler->latency, sampler->windows);
    add_event(sampler, "tick");
}

static void make_events(struct sampler *sampler)
{
    const struct facts *facts = sampler->view.facts;
    look(sampler, NULL);
    refresh_stories(sampler);
    uint64_t shape = shape_of(facts);
    if (shape != sampler->shape) {
        sampler->shape = shape;
        add_processes(sampler);
    }
    add_tick(sampler);
    events_expire(sampler->events, facts->now_ms);
    release(&sampler->hello); /* they are older than this */
    release(&sampler->full);
}

static void on_tick(evutil_socket_t fd, short what, void *data)
{
    struct sampler *sampler = data;
    (void)fd;
    (void)what;
    make_events(sampler);
    const uint64_t now_ms = sampler->view.facts->now_ms;
    viewers_publish(sampler->viewers, now_ms);
    if (viewers_count(sampler->viewers) > 0) {
        sampler->watched_ms = now_ms;
    } else if (now_ms - sampler->watched_ms > SAMPLER_LINGER_MS) {
        stop_ticks(sampler);
    }
}

static bool start_timer(struct event *timer, uint32_t interval_ms)
{
    const struct timeval interval = {interval_ms / 1000, (suseconds_t)(interval_ms % 1000) * 1000};
    return timer != NULL && event_add(timer, &interval) == 0;
}

/* What has happened until now stands in hello; only what comes is told. */
static void start_ticks(struct sampler *sampler)
{
    look(sampler, NULL);
    refresh_stories(sampler);
    ticks_restart(sampler->ticks, sampler->view.facts, &sampler->latency);
    sampler->shape = shape_of(sampler->view.facts);
    sampler->watched_ms = sampler->view.facts->now_ms;
    sampler->ticks_run = start_timer(sampler->tick, SAMPLER_INTERVAL_MS);
    if (!sampler->ticks_run) {
        log_write(LOG_ERROR, "no timer for what viewers are to see");
    }
}

/* ---- For viewers ---- */

static void viewers_changed(void *data)
{
    struct sampler *sampler = data;
    if (!sampler->ticks_run && viewers_count(sampler->viewers) > 0) {
        start_ticks(sampler);
    }
}

static struct event_text *hold(struct event_text *event)
{
    event_text_hold(event);
    return event;
}

static struct span scratch_of(const struct sampler *sampler)
{
    return (struct span){sampler->scratch.data, sampler->scratch.len};
}

/* One for all who come before the next tick. */
static struct event_text *make_hello(void *data)
{
    struct sampler *sampler = data;
    if (sampler->hello == NULL || sampler->hello->number != events_newest(sampler->events)) {
        release(&sampler->hello);
        sampler_look(sampler);
        struct json_writer json = begin_json(sampler);
        state_json_put(&json, &sampler->view);
        sampler->hello = events_make(sampler->events, "hello", scratch_of(sampler));
    }
    return hold(sampler->hello);
}

static struct event_text *make_tick(void *data)
{
    struct sampler *sampler = data;
    if (sampler->full == NULL || sampler->full->number != events_newest(sampler->events)) {
        release(&sampler->full);
        struct json_writer json = begin_json(sampler);
        ticks_put_full(sampler->ticks, &json, sampler->view.facts, sampler->windows);
        sampler->full = events_make(sampler->events, "tick", scratch_of(sampler));
    }
    return hold(sampler->full);
}

/* ---- All of it ---- */

static void make_parts(struct sampler *sampler)
{
    const struct sampler_options *options = &sampler->options;
    const uint32_t capacity = options->scoreboard->slot_capacity;
    sampler->reader = facts_reader_create(options->scoreboard, options->bulletin, options->carried);
    sampler->windows = windows_create(capacity);
    sampler->procfs = procfs_create(options->procfs_root);
    sampler->stories = stories_create();
    sampler->events = events_create(options->boot);
    sampler->ticks = ticks_create(capacity);
    sampler->viewers = viewers_create(&(struct viewers_options){.base = options->base,
                                                                .events = sampler->events,
                                                                .make_tick = make_tick,
                                                                .make_hello = make_hello,
                                                                .changed = viewers_changed,
                                                                .data = sampler});
    sampler->view = (struct state_view){
        .identity = &sampler->identity,
        .facts = facts_last(sampler->reader),
        .windows = sampler->windows,
        .procfs = sampler->procfs,
        .stories = sampler->stories,
    };
}

struct sampler *sampler_create(const struct sampler_options *options)
{
    struct sampler *sampler = memory_alloc_zeroed(1, sizeof(*sampler));
    sampler->options = *options;
    sampler->identity = *options->identity;
    sampler->options.identity = &sampler->identity;
    make_parts(sampler);
    sampler->second = event_new(options->base, -1, EV_PERSIST, on_second, sampler);
    sampler->tick = event_new(options->base, -1, EV_PERSIST, on_tick, sampler);
    if (sampler->tick == NULL || !start_timer(sampler->second, 1000)) {
        log_write(LOG_ERROR, "no timer for what is to be observed");
        sampler_destroy(sampler);
        return NULL;
    }
    look_first(sampler);
    on_second(-1, 0, sampler); /* the first window begins here */
    return sampler;
}

static void free_timer(struct event *timer)
{
    if (timer != NULL) {
        event_free(timer);
    }
}

void sampler_destroy(struct sampler *sampler)
{
    viewers_destroy(sampler->viewers); /* they hold events */
    free_timer(sampler->second);
    free_timer(sampler->tick);
    release(&sampler->hello);
    release(&sampler->full);
    ticks_destroy(sampler->ticks);
    events_destroy(sampler->events);
    stories_destroy(sampler->stories);
    procfs_destroy(sampler->procfs);
    windows_destroy(sampler->windows);
    facts_reader_destroy(sampler->reader);
    buffer_free(&sampler->scratch);
    free(sampler);
}
