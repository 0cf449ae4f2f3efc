#include "server/twinctl/top_view.h"

#include <stddef.h>

struct top_view *top_view_open(struct error *error)
{
    error_set(error, "this twinctl was built without ncurses; use --batch, or build it again where "
                     "libncurses-dev is installed");
    return NULL;
}

void top_view_close(struct top_view *view)
{
    (void)view;
}

void top_view_draw(struct top_view *view, const struct top_scene *scene)
{
    (void)view;
    (void)scene;
}

int top_view_key(struct top_view *view, int timeout_ms)
{
    (void)view;
    (void)timeout_ms;
    return TOP_HANG_UP;
}
