/* What is told of deaths and of stuck processes, as JSON, each rendered once: again only when its
 * cost, its recovery or its story has changed. */
#ifndef TWINHTTPD_SERVER_OBSERVE_STORIES_H
#define TWINHTTPD_SERVER_OBSERVE_STORIES_H

#include "common/base/json_writer.h"
#include "server/observe/facts.h"

enum story_kind {
    STORY_DEATH,     /* text: the record, for the first time or once more */
    STORY_STUCK,     /* text: the record */
    STORY_RECOVERED, /* no text: the successor of a death is ready */
};

/* Something new. text belongs to the stories, until the next refresh. */
struct story {
    enum story_kind kind;
    uint64_t number; /* of the death, or of the stuck process */
    uint64_t recovery_us;
    struct span text;
};
typedef void (*story_fn)(void *data, const struct story *story);

struct stories;

/* Freed by stories_destroy. */
struct stories *stories_create(void);
void stories_destroy(struct stories *stories);

/* Brings all of them up to date with the last reading; told (NULL: nobody) is called for each that
 * is new, or has changed. What is being written just now comes with a later refresh. */
void stories_refresh(struct stories *stories, const struct facts_reader *reader, story_fn told,
                     void *data);

/* The members "deaths" and "stuck_processes": arrays, the oldest first. */
void stories_put(const struct stories *stories, struct json_writer *json);

#endif
