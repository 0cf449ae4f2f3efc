/* The picture in the terminal. Only top_view.c knows ncurses; where the build has not found it,
 * top_view_none.c says so instead. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_VIEW_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_VIEW_H

#include "common/base/error.h"
#include "server/twinctl/top_input.h"

struct top_view;

enum { TOP_NO_KEY = -1, TOP_HANG_UP = -2 };

/* What is to be seen. */
struct top_scene {
    const struct top_model *model; /* may be empty */
    const struct top_input *input;
    const char *news; /* a line: why the picture is old; "": it is not */
};

/* Takes the terminal over. NULL with one line in error: it cannot show the picture. */
struct top_view *top_view_open(struct error *error);

/* Gives the terminal back as it was. */
void top_view_close(struct top_view *view);

void top_view_draw(struct top_view *view, const struct top_scene *scene);

/* The next key, as enum top_key has them; TOP_NO_KEY after timeout_ms, TOP_KEY_OTHER also when the
 * size has changed, TOP_HANG_UP when there is no terminal any more, or Ctrl-C or SIGTERM has come.
 */
int top_view_key(struct top_view *view, int timeout_ms);

#endif
