/* A death in words: in brief, as one sentence, as a row of the list, and with all that is known. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_STORY_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_STORY_H

#include "common/base/buffer.h"

#include <jansson.h>

/* Appends, without a line end: when, which process, of what, what it has cost; then, where a narrow
 * screen may cut it, under which request and where it was. */
void top_story_brief(const json_t *death, struct buffer *out);

/* The same as a sentence. */
void top_story_sentence(const json_t *death, struct buffer *out);

/* The titles of the list of deaths, and a row below them; without a line end. */
void top_story_titles(struct buffer *out);
void top_story_row(const json_t *death, struct buffer *out);

/* Appends lines: the requests that it was working on, the crash, the stack. */
void top_story_details(const json_t *death, struct buffer *out);

#endif
